//! The model's chat template, rendered as Hugging Face's tokenizers render it.
//!
//! Templates are written for Python's Jinja2: minijinja with `pycompat` runs them, `tojson` prints
//! JSON with Python's spacing and escapes nothing, objects keep the order of their keys, and a
//! call's arguments are handed over as an object although OpenAI's messages carry them as text.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, bail};
use cocoon_engine_wire::Reasoning;
use indexmap::IndexMap;
use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr};
use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::calls::CallFormat;
use crate::folder::token_text;

pub(crate) struct Template {
    environment: Environment<'static>,
    has_tool_variant: bool,
    bos: Option<String>,
    eos: Option<String>,
    unk: Option<String>,
    /// The template speaks of thinking, so the answer may begin with it.
    pub(crate) thinks: bool,
    /// The template shows tools to the model.
    pub(crate) shows_tools: bool,
    /// How the model was taught to call them; `None` where that is no way that we can read.
    pub(crate) calls: Option<CallFormat>,
}

/// What a prompt is made from.
pub(crate) struct Conversation {
    pub(crate) messages: Vec<Value>,
    pub(crate) tools: Vec<Value>,
    pub(crate) reasoning: Reasoning,
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
        let shows_tools = mentions("tools");
        let calls = CallFormat::shown_by(mentions);
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
        Ok(Self { environment, has_tool_variant, bos, eos, unk, thinks, shows_tools, calls })
    }

    /// The prompt's text. An error is the conversation's fault: the template refused it.
    pub(crate) fn render(&self, conversation: Conversation) -> Result<String, Error> {
        let messages = conversation.messages.into_iter().map(with_parsed_arguments);
        let messages: Vec<minijinja::Value> = messages.map(ordered).collect();
        let tools: Vec<minijinja::Value> = conversation.tools.into_iter().map(ordered).collect();
        let tools = Some(tools).filter(|tools| !tools.is_empty());
        let name = if tools.is_some() && self.has_tool_variant { TOOL_USE } else { DEFAULT };
        let (enable_thinking, reasoning_effort) = thinking(conversation.reasoning);
        self.environment.get_template(name)?.render(context! {
            messages,
            tools,
            enable_thinking,
            reasoning_effort,
            add_generation_prompt => true,
            bos_token => self.bos,
            eos_token => self.eos,
            unk_token => self.unk,
        })
    }
}

/// `enable_thinking` and `reasoning_effort`, the switches that templates have; most have one or
/// none. Undefined leaves the template to its own default.
fn thinking(reasoning: Reasoning) -> (minijinja::Value, minijinja::Value) {
    let on = |effort: &str| (true.into(), effort.into());
    match reasoning {
        Reasoning::Default => (minijinja::Value::UNDEFINED, minijinja::Value::UNDEFINED),
        // The least that a template knows which only has efforts.
        Reasoning::Off => (false.into(), "low".into()),
        Reasoning::Low => on("low"),
        Reasoning::Medium => on("medium"),
        Reasoning::High => on("high"),
    }
}

/// A JSON object whose keys stay in their order; minijinja's own maps sort them.
#[derive(Debug)]
struct Ordered(IndexMap<String, minijinja::Value>);

impl Object for Ordered {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        self.0.get(key.as_str()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(minijinja::Value::from).collect())
    }
}

fn ordered(value: Value) -> minijinja::Value {
    match value {
        Value::Object(object) => {
            let object = object.into_iter().map(|(key, value)| (key, ordered(value)));
            minijinja::Value::from_object(Ordered(object.collect()))
        }
        Value::Array(values) => values.into_iter().map(ordered).collect(),
        other => minijinja::Value::from_serialize(other),
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

    fn render(source: &str, messages: Vec<Value>, tools: Vec<Value>) -> Result<String, Error> {
        let reasoning = Reasoning::Default;
        template(source).render(Conversation { messages, tools, reasoning })
    }

    #[test]
    fn python_idioms_render() {
        let cases = [
            ("{{ bos_token }}{{ messages[0].content.strip() }}", "<s>hi"),
            ("{{ messages[0] | tojson }}", r#"{"role": "user", "content": " hi "}"#),
            ("{% for m in messages[::-1] %}{{ m.role }}{% endfor %}", "user"),
            ("{% if tools %}tools{% else %}none{% endif %}", "none"),
            ("{{ messages[0].content.startswith(' h') }}", "True"),
            (
                "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}",
                "role=user;content= hi ;",
            ),
            ("{% for k, v in messages[0] | items %}{{ k }},{% endfor %}", "role,content,"),
            ("{{ messages[0].get('content') }}{{ messages[0].get('no', '-') }}", " hi -"),
            (
                "{{ messages[0] is mapping }} {{ 'role' in messages[0] }} {{ messages | length }}",
                "True True 1",
            ),
            ("{{ messages[0]['role'] }}{{ messages[0].name is defined }}", "userFalse"),
        ];
        for (source, expected) in cases {
            let messages = vec![json!({"role": "user", "content": " hi "})];
            assert_eq!(render(source, messages, Vec::new()).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn tools_keep_the_order_of_their_keys() {
        let text = r#"{"type": "function", "function": {"name": "f", "parameters": {"properties": {"z": {"type": "string"}, "a": {}, "m": {"b": 1, "a": [1, null, true, 2.5]}}}}}"#;
        let tool: Value = serde_json::from_str(text).unwrap();
        assert_eq!(render("{{ tools[0] | tojson }}", Vec::new(), vec![tool]).unwrap(), text);
    }

    #[test]
    fn thinking_is_switched_where_the_template_has_a_switch() {
        let switch =
            "{% if enable_thinking is defined %}{{ enable_thinking }}{% else %}-{% endif %}";
        let effort = "{{ reasoning_effort | default('medium') }}";
        let cases = [
            (Reasoning::Default, "-", "medium"),
            (Reasoning::Off, "False", "low"),
            (Reasoning::Low, "True", "low"),
            (Reasoning::Medium, "True", "medium"),
            (Reasoning::High, "True", "high"),
        ];
        for (reasoning, enabled, level) in cases {
            let ask = |source: &str| {
                let conversation =
                    Conversation { messages: Vec::new(), tools: Vec::new(), reasoning };
                template(source).render(conversation).unwrap()
            };
            assert_eq!((ask(switch), ask(effort)), (enabled.to_owned(), level.to_owned()));
        }
    }

    #[test]
    fn the_way_of_calling_is_the_templates() {
        let cases = [
            ("{{ tools }}<tool_call>", Some(CallFormat::Hermes), true),
            ("{{ tools }}[TOOL_CALLS]", Some(CallFormat::Mistral), true),
            ("{{ tools }}[TOOL_CALLS]f[ARGS]", None, true),
            ("{{ tools }}<tool_call>\n<function=f>", None, true),
            ("{{ tools }}<tool_call>f\n<arg_key>", None, true),
            ("{{ tools }}<｜tool▁calls▁begin｜>", None, true),
            ("{{ tools }}<|python_tag|>", Some(CallFormat::Llama), true),
            ("{{ messages }}", None, false),
        ];
        for (source, calls, shows_tools) in cases {
            let template = template(source);
            assert_eq!((template.calls, template.shows_tools), (calls, shows_tools), "{source}");
        }
    }

    #[test]
    fn arguments_are_an_object_and_nothing_is_escaped() {
        let call = json!({"function": {"name": "f", "arguments": "{\"a\":\"<b>'&\"}"}});
        let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        let source = "{{ messages[0].tool_calls[0].function.arguments | tojson }}";
        assert_eq!(render(source, vec![message], Vec::new()).unwrap(), r#"{"a": "<b>'&"}"#);
    }

    #[test]
    fn a_refusing_template_is_an_error() {
        assert!(render("{{ raise_exception('no') }}", Vec::new(), Vec::new()).is_err());
        assert!(render("{{ strftime_now('%Q%!') }}", Vec::new(), Vec::new()).is_err());
    }
}
