//! The model's chat template, rendered as Hugging Face's tokenizers render it.
//!
//! Templates are written for Python's Jinja2: minijinja with `pycompat` runs them, `tojson` prints
//! JSON with Python's spacing and escapes nothing, and a call's arguments are handed over as an
//! object although OpenAI's messages carry them as text.

use std::io::Write;

use anyhow::{Context, bail};
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::folder::token_text;

pub(crate) struct Template {
    environment: Environment<'static>,
    has_tool_variant: bool,
    bos: Option<String>,
    eos: Option<String>,
    unk: Option<String>,
    /// The template speaks of thinking, so the answer may begin with it.
    pub(crate) thinks: bool,
    /// The template shows calls the way the splitter reads them.
    pub(crate) calls_tools: bool,
}

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

impl Template {
    /// `file` is chat_template.jinja, which wins over the one inside tokenizer_config.json.
    pub(crate) fn new(file: Option<String>, tokenizer_config: &Value) -> anyhow::Result<Self> {
        let sources = match (file, tokenizer_config.get("chat_template")) {
            (Some(text), _) => vec![(DEFAULT.to_owned(), text)],
            (None, Some(Value::String(text))) => vec![(DEFAULT.to_owned(), text.clone())],
            (None, Some(Value::Array(named))) => named.iter().filter_map(named_template).collect(),
            _ => bail!("the model has no chat template"),
        };
        let mut environment = Environment::new();
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        let mentions = |text: &str| sources.iter().any(|(_, source)| source.contains(text));
        let thinks = mentions("<think>") && mentions("</think>");
        let calls_tools = mentions("<tool_call>");
        let has_tool_variant = sources.iter().any(|(name, _)| name == TOOL_USE);
        for (name, source) in sources {
            // A reversing slice is the one common idiom that minijinja does not know.
            let source = source.replace("[::-1]", "|reverse");
            environment
                .add_template_owned(name, source)
                .context("the chat template does not parse")?;
        }
        environment.get_template(DEFAULT).context("the model has no default chat template")?;
        let token = |name| token_text(tokenizer_config, name);
        let (bos, eos, unk) = (token("bos_token"), token("eos_token"), token("unk_token"));
        Ok(Self { environment, has_tool_variant, bos, eos, unk, thinks, calls_tools })
    }

    /// The prompt's text. An error is the conversation's fault: the template refused it.
    pub(crate) fn render(&self, messages: Vec<Value>, tools: Vec<Value>) -> Result<String, Error> {
        let messages: Vec<Value> = messages.into_iter().map(with_parsed_arguments).collect();
        let tools = Some(tools).filter(|tools| !tools.is_empty());
        let name = if tools.is_some() && self.has_tool_variant { TOOL_USE } else { DEFAULT };
        self.environment.get_template(name)?.render(context! {
            messages,
            tools,
            add_generation_prompt => true,
            bos_token => self.bos,
            eos_token => self.eos,
            unk_token => self.unk,
        })
    }
}

fn named_template(entry: &Value) -> Option<(String, String)> {
    let text = |name: &str| Some(entry.get(name)?.as_str()?.to_owned());
    Some((text("name")?, text("template")?))
}

/// Templates print a call's arguments with `tojson`; text would come out quoted twice.
fn with_parsed_arguments(mut message: Value) -> Value {
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        let parsed = arguments.as_str().map(serde_json::from_str::<Value>);
        if let Some(Ok(object @ Value::Object(_))) = parsed {
            *arguments = object;
        }
    }
    message
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: &str) -> Result<String, Error> {
    let mut text = String::new();
    let now = chrono::Utc::now().format(format);
    std::fmt::Write::write_fmt(&mut text, format_args!("{now}"))
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "strftime_now got a bad format"))?;
    Ok(text)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that minijinja calls")]
fn to_json(value: minijinja::Value, options: Kwargs) -> Result<minijinja::Value, Error> {
    let mut text = Vec::new();
    let written = match options.get::<Option<usize>>("indent")? {
        Some(indent) => {
            let indent = b" ".repeat(indent.min(16));
            value.serialize(&mut Serializer::with_formatter(
                &mut text,
                PrettyFormatter::with_indent(&indent),
            ))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut text, Spaced)),
    };
    let text = written.ok().and_then(|()| String::from_utf8(text).ok());
    let text = text.ok_or_else(|| Error::new(ErrorKind::BadSerialization, "is not JSON"))?;
    Ok(minijinja::Value::from_safe_string(text))
}

/// Python's default: a space after each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(source: &str) -> Template {
        let config = json!({"chat_template": source, "bos_token": {"content": "<s>"}});
        Template::new(None, &config).unwrap()
    }

    #[test]
    fn python_idioms_render() {
        let cases = [
            ("{{ bos_token }}{{ messages[0].content.strip() }}", "<s>hi"),
            ("{{ messages[0] | tojson }}", r#"{"content": " hi ", "role": "user"}"#),
            ("{% for m in messages[::-1] %}{{ m.role }}{% endfor %}", "user"),
            ("{% if tools %}tools{% else %}none{% endif %}", "none"),
            ("{{ messages[0].content.startswith(' h') }}", "True"),
        ];
        for (source, expected) in cases {
            let messages = vec![json!({"content": " hi ", "role": "user"})];
            assert_eq!(template(source).render(messages, Vec::new()).unwrap(), expected);
        }
    }

    #[test]
    fn arguments_are_an_object_and_nothing_is_escaped() {
        let call = json!({"function": {"name": "f", "arguments": "{\"a\":\"<b>'&\"}"}});
        let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        let source = "{{ messages[0].tool_calls[0].function.arguments | tojson }}";
        let text = template(source).render(vec![message], Vec::new()).unwrap();
        assert_eq!(text, r#"{"a": "<b>'&"}"#);
    }

    #[test]
    fn a_refusing_template_is_an_error() {
        let refusing = template("{{ raise_exception('no') }}");
        assert!(refusing.render(Vec::new(), Vec::new()).is_err());
        assert!(template("{{ strftime_now('%Q%!') }}").render(Vec::new(), Vec::new()).is_err());
    }
}
