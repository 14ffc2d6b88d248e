//! The ways in which models write that they call a tool.
//!
//! A chat template shows its model one of them, and so says which one to read and, where a call is
//! demanded, to hold the model to.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Deserializer;
use serde_json::value::RawValue;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFormat {
    /// Qwen, Hermes: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, any number of them.
    Hermes,
    /// Mistral: `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, and nothing behind.
    Mistral,
    /// Llama 3: the whole answer is `{"name": …, "parameters": {…}}`, perhaps behind
    /// `<|python_tag|>`, several of them with `;` between.
    Llama,
}

/// One call as the model wrote it; `arguments` is JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) arguments: String,
}

impl CallFormat {
    /// The one that these templates show, if it is one of ours.
    pub(crate) fn shown_by(mentions: impl Fn(&str) -> bool) -> Option<Self> {
        // Qwen's coders and GLM write XML between the same markers, newer Mistrals no JSON object.
        const FOREIGN: [&str; 4] = ["<function=", "<arg_key>", "[ARGS]", "tool\u{2581}calls"];
        if FOREIGN.into_iter().any(&mentions) {
            None
        } else if mentions("<tool_call>") {
            Some(Self::Hermes)
        } else if mentions("[TOOL_CALLS]") {
            Some(Self::Mistral)
        } else if mentions("<|python_tag|>")
            || mentions("{\"name\": function name, \"parameters\":")
        {
            Some(Self::Llama)
        } else {
            None
        }
    }

    /// What stands before a call wherever in an answer it begins.
    pub(crate) const fn marker(self) -> &'static str {
        match self {
            Self::Hermes => "<tool_call>",
            Self::Mistral => "[TOOL_CALLS]",
            Self::Llama => "<|python_tag|>",
        }
    }
}

/// Whether an answer that begins with `text` may be a call without a marker, as far as it goes:
/// `None` until that is certain.
pub(crate) fn begins_call(text: &str) -> Option<bool> {
    const BEGINNINGS: [&str; 2] = ["{\"name\":\"", "{\"type\":\"function\",\"name\":\""];
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).take(64).collect();
    if BEGINNINGS.iter().any(|beginning| compact.starts_with(beginning)) {
        return Some(true);
    }
    let may_become = BEGINNINGS.iter().any(|beginning| beginning.starts_with(&compact));
    (!may_become).then_some(false)
}

/// The calls that `body` begins with, and the text behind them. `None` where it does not begin
/// with one, or calls what is not among `tools`.
pub(crate) fn read<'b>(body: &'b str, tools: &BTreeSet<String>) -> Option<(Vec<Call>, &'b str)> {
    let mut calls = Vec::new();
    let mut rest = skip(body);
    while rest.starts_with('{') {
        let mut values = Deserializer::from_str(rest).into_iter::<Written>();
        let Some(Ok(written)) = values.next() else { break };
        rest = skip(&rest[values.byte_offset()..]);
        if !tools.contains(&written.name) {
            return None;
        }
        calls.push(Call { arguments: written.arguments(), name: written.name });
    }
    (!calls.is_empty()).then_some((calls, rest))
}

/// The call in which `body` breaks off, its arguments as far as they go. `None` where not even the
/// name of a tool is whole.
pub(crate) fn read_broken(body: &str, tools: &BTreeSet<String>) -> Option<Call> {
    let mut rest = skip(body).strip_prefix('{')?;
    let mut name = None;
    loop {
        let (key, behind) = string(rest)?;
        rest = behind.trim_start().strip_prefix(':')?.trim_start();
        if matches!(key.as_str(), "arguments" | "parameters") {
            let name = name.filter(|name| tools.contains(name))?;
            return Some(Call { name, arguments: rest.to_owned() });
        }
        let (value, behind) = string(rest)?;
        if key == "name" {
            name = Some(value);
        }
        rest = behind.trim_start().strip_prefix(',')?;
    }
}

/// The JSON string at the beginning, and what stands behind it.
fn string(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let mut values = Deserializer::from_str(text).into_iter::<String>();
    let value = values.next()?.ok()?;
    Some((value, &text[values.byte_offset()..]))
}

/// Without the layout between calls.
fn skip(text: &str) -> &str {
    text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '[' | ']'))
}

#[derive(Deserialize)]
struct Written {
    name: String,
    #[serde(alias = "parameters")]
    arguments: Option<Box<RawValue>>,
}

impl Written {
    /// Some models write the arguments as a string of JSON.
    fn arguments(&self) -> String {
        let Some(raw) = &self.arguments else { return "{}".to_owned() };
        serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
    }
}
