//! What an answer must look like, and the grammar's text that says so.

use std::fmt::Write;

use serde_json::{Value, json};

use super::GrammarError;
use super::schema::prepare;
use crate::calls::CallFormat;

/// Calls of one answer that has to call: a weak model would go on until its limit.
const CALLS_MAX: u32 = 8;

/// Thinking in front of what the grammar demands; itself it is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thought {
    None,
    /// The model may begin with `<think>`.
    Possible,
    /// The prompt has begun it.
    Begun,
}

/// A tool whose calls the grammar admits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// `None`: any object.
    pub(crate) parameters: Option<Value>,
    /// Whether a keyword of its schema that cannot be enforced is refused.
    pub(crate) strict: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Calls {
    pub(crate) format: CallFormat,
    pub(crate) tools: Vec<Tool>,
    /// Whether one answer may hold several.
    pub(crate) many: bool,
}

/// What stands behind the thought: a call of one of these tools, or JSON of this schema, or either.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub(crate) thought: Thought,
    pub(crate) calls: Option<Calls>,
    pub(crate) schema: Option<Value>,
}

impl Shape {
    /// The grammar in llguidance's variant of Lark. Markers are plain text in it, whatever the
    /// tokenizer calls them: see `Vocabulary::words`.
    pub(super) fn lark(&self) -> Result<String, GrammarError> {
        let mut text = String::from("start: ");
        text.push_str(match self.thought {
            Thought::None => "answer\n",
            Thought::Possible => "(\"<think>\" thought gap)? answer\n",
            Thought::Begun => "thought gap answer\n",
        });
        if self.thought != Thought::None {
            text.push_str("thought[suffix=\"</think>\"]: /(?s:.*)/\ngap: /[ \\n]{0,4}/\n");
        }
        text.push_str(match (&self.calls, &self.schema) {
            (Some(_), Some(_)) => "answer: calls | json\n",
            (Some(_), None) => "answer: calls\n",
            (None, _) => "answer: json\n",
        });
        if let Some(calls) = &self.calls {
            calls.lark(&mut text)?;
        }
        if let Some(schema) = &self.schema {
            rule(&mut text, "json", &format!("%json {}", prepare(schema, true)?));
        }
        Ok(text)
    }
}

impl Calls {
    fn lark(&self, text: &mut String) -> Result<(), GrammarError> {
        let marker = quoted(self.format.marker());
        match self.format {
            CallFormat::Hermes => {
                rule(text, "calls", &format!("call {}", self.more("\n", "call")));
                let (open, close) = (quoted("<tool_call>\n"), quoted("\n</tool_call>"));
                rule(text, "call", &format!("{open} body {close}"));
            }
            CallFormat::Mistral => {
                let calls = format!("{marker} / ?/ \"[\" body {} \"]\"", self.more(", ", "body"));
                rule(text, "calls", &calls);
            }
            CallFormat::Llama => rule(text, "calls", &format!("{marker}? body")),
        }
        self.bodies(text)
    }

    /// The grammar of what stands behind a marker: one call, or all where one marker has them.
    pub(super) fn behind_marker(&self) -> Result<String, GrammarError> {
        let mut text = String::new();
        match self.format {
            CallFormat::Hermes => rule(
                &mut text,
                "start",
                &format!("{} body {}", quoted("\n"), quoted("\n</tool_call>")),
            ),
            CallFormat::Mistral => {
                rule(
                    &mut text,
                    "start",
                    &format!("/ ?/ \"[\" body {} \"]\"", self.more(", ", "body")),
                );
            }
            CallFormat::Llama => rule(&mut text, "start", "body"),
        }
        self.bodies(&mut text)?;
        Ok(text)
    }

    /// Further ones behind the first, where there may be any.
    fn more(&self, separator: &str, call: &str) -> String {
        let more = CALLS_MAX - 1;
        if self.many {
            format!("({} {call}){{0,{more}}}", quoted(separator))
        } else {
            String::new()
        }
    }

    fn bodies(&self, text: &mut String) -> Result<(), GrammarError> {
        let bodies: Vec<String> = (0..self.tools.len()).map(|n| format!("body_{n}")).collect();
        let bodies = bodies.join(" | ");
        match self.format {
            // Llama may say what kind of a call it is.
            CallFormat::Llama => {
                let kind = quoted("\"type\": \"function\", ");
                rule(text, "body", &format!("\"{{\" {kind}? ({bodies})"));
            }
            CallFormat::Hermes | CallFormat::Mistral => {
                rule(text, "body", &format!("\"{{\" ({bodies})"));
            }
        }
        for (n, tool) in self.tools.iter().enumerate() {
            let name = serde_json::to_string(&tool.name).expect("a string has a text form");
            let arguments = match self.format {
                CallFormat::Llama => "parameters",
                CallFormat::Hermes | CallFormat::Mistral => "arguments",
            };
            let open = quoted(&format!("\"name\": {name}, \"{arguments}\": "));
            rule(text, &format!("body_{n}"), &format!("{open} arguments_{n} \"}}\""));
            let any = json!({ "type": "object" });
            let schema = prepare(tool.parameters.as_ref().unwrap_or(&any), tool.strict)?;
            rule(text, &format!("arguments_{n}"), &format!("%json {schema}"));
        }
        Ok(())
    }
}

fn rule(text: &mut String, name: &str, body: &str) {
    writeln!(text, "{name}: {body}").expect("a string takes all text");
}

/// A literal. JSON's escapes are Lark's.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string has a text form")
}
