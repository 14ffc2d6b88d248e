//! A job as the engine reads it: token ids, and what the answer may be.

use std::sync::Arc;

use cocoon_engine_wire::{self as wire, Constraint, Failure, Generate, Reasoning, ToolChoice};
use serde_json::{Value, json};

use super::{Engine, count};
use crate::grammar::{Calls, GrammarError, Guide, Shape, Thought, Tool};
use crate::splitter::Parts;
use crate::template::Conversation;

pub(super) struct Prompt {
    pub(super) ids: Vec<u32>,
    pub(super) parts: Parts,
    /// At most one call is made.
    pub(super) one_call: bool,
    pub(super) guide: Option<Guide>,
    /// The parameter that a guide comes from.
    pub(super) demanded_by: &'static str,
}

impl Prompt {
    /// Renders, tokenises, compiles: takes a while.
    pub(super) fn new(engine: &Engine, job: &Generate) -> Result<Self, Failure> {
        let constraint = schema(job)?;
        let prompt = match &job.prompt {
            wire::Prompt::Chat { messages, tools, reasoning } => {
                let tools = match job.tool_choice {
                    ToolChoice::None => Vec::new(),
                    _ => parse(tools, "tools")?,
                };
                chat(engine, job, parse(messages, "messages")?, tools, *reasoning, constraint)?
            }
            wire::Prompt::Text(text) => {
                let ids = engine.vocabulary.encode_plain(text).ok_or(Failure::Engine)?;
                plain(engine, ids, constraint)?
            }
            wire::Prompt::Tokens(ids) => plain(engine, ids.clone(), constraint)?,
            wire::Prompt::Embed(_) => {
                return Err(invalid("model", "the model generates text and makes no embeddings"));
            }
        };
        Ok(prompt)
    }
}

/// A prompt that leaves no room has no use for a grammar, so this comes before compiling one.
fn check_length(engine: &Engine, ids: &[u32]) -> Result<(), Failure> {
    let limit = u64::from(engine.context_length);
    if count(ids.len()) >= limit {
        return Err(Failure::ContextLength { prompt: count(ids.len()), limit });
    }
    Ok(())
}

/// Text that goes on from where it stands: no template, no calls, no thinking.
fn plain(engine: &Engine, mut ids: Vec<u32>, schema: Option<Value>) -> Result<Prompt, Failure> {
    if ids.is_empty() {
        ids.push(engine.begin.ok_or_else(|| invalid("prompt", "the prompt is empty"))?);
    }
    known(engine, &ids, "prompt")?;
    check_length(engine, &ids)?;
    let guide = match schema {
        None => None,
        Some(schema) => {
            let shape = Shape { thought: Thought::None, calls: None, schema: Some(schema) };
            Some(compile(engine, &shape)?)
        }
    };
    let parts = Parts::default();
    Ok(Prompt { ids, parts, one_call: false, guide, demanded_by: RESPONSE_FORMAT })
}

const RESPONSE_FORMAT: &str = "response_format";
const TOOLS: &str = "tools";

fn chat(
    engine: &Engine,
    job: &Generate,
    messages: Vec<Value>,
    tools: Vec<Value>,
    reasoning: Reasoning,
    schema: Option<Value>,
) -> Result<Prompt, Failure> {
    let template = &engine.template;
    if !tools.is_empty() && !template.shows_tools {
        return Err(invalid("tools", "this model has no tools"));
    }
    if !tools.is_empty() && template.calls.is_none() {
        return Err(invalid("tools", "this model's way of calling tools is not known here"));
    }
    let known_tools: Vec<Tool> = tools.iter().filter_map(tool).collect();
    let forced = forced_tools(&job.tool_choice, &known_tools)?;
    let text = template.render(Conversation { messages, tools, reasoning }).map_err(|error| {
        tracing::info!("the chat template refused a conversation: {:?}", error.kind());
        invalid("messages", "the model's chat template does not accept this conversation")
    })?;
    let ids = engine.vocabulary.encode(&text).ok_or(Failure::Engine)?;
    if ids.is_empty() {
        return Err(invalid("messages", "the conversation is empty"));
    }
    known(engine, &ids, "messages")?;
    check_length(engine, &ids)?;
    let thinking = template.thinks && text.trim_end().ends_with("<think>");
    let thought = match (template.thinks && reasoning != Reasoning::Off, thinking) {
        (_, true) => Thought::Begun,
        (true, false) => Thought::Possible,
        (false, false) => Thought::None,
    };
    let one_call = !job.parallel_tool_calls || matches!(job.tool_choice, ToolChoice::Named(_));
    let is_strict =
        forced.is_none() && schema.is_none() && known_tools.iter().any(|tool| tool.strict);
    let parts = Parts {
        thinks: template.thinks,
        thinking,
        format: template.calls,
        tools: Arc::new(known_tools.iter().map(|tool| tool.name.clone()).collect()),
        calls_are_sure: forced.is_some() || is_strict,
    };
    let calls = |tools: Vec<Tool>| {
        let calls = template.calls.map(|format| Calls { format, tools, many: !one_call });
        calls.filter(|calls| !calls.tools.is_empty())
    };
    let (guide, demanded_by) = match (forced, schema) {
        (Some(forced), _) => {
            let calls = calls(forced).ok_or_else(|| {
                invalid("tool_choice", "this model cannot be made to call a tool")
            })?;
            let shape = Shape { thought, calls: Some(calls), schema: None };
            (Some(compile(engine, &shape)?), TOOLS)
        }
        // Who may call may do so in place of the JSON.
        (None, Some(schema)) => {
            let shape = Shape { thought, calls: calls(known_tools), schema: Some(schema) };
            (Some(compile(engine, &shape)?), RESPONSE_FORMAT)
        }
        // Text is free, and so is a call unless a tool demands its schema.
        (None, None) => {
            let calls = calls(known_tools).filter(|_| is_strict);
            let watch = |calls| engine.grammars.watch(&calls, parts.clone());
            let guide = calls.map(watch).transpose().map_err(|error| refused(TOOLS, &error))?;
            (guide, TOOLS)
        }
    };
    Ok(Prompt { ids, parts, one_call, guide, demanded_by })
}

/// The tools of which one must be called; `None` where none must.
fn forced_tools(choice: &ToolChoice, tools: &[Tool]) -> Result<Option<Vec<Tool>>, Failure> {
    match choice {
        ToolChoice::Auto | ToolChoice::None => Ok(None),
        ToolChoice::Required if tools.is_empty() => {
            Err(invalid("tool_choice", "'tool_choice' demands a call and there are no tools"))
        }
        ToolChoice::Required => Ok(Some(tools.to_vec())),
        ToolChoice::Named(name) => {
            let named = tools.iter().find(|tool| tool.name == *name).cloned();
            let named = named.ok_or_else(|| {
                invalid("tool_choice", "'tool_choice' names a function that is not among the tools")
            })?;
            Ok(Some(vec![named]))
        }
    }
}

fn tool(definition: &Value) -> Option<Tool> {
    let function = definition.get("function")?;
    Some(Tool {
        name: function.get("name")?.as_str()?.to_owned(),
        parameters: function.get("parameters").filter(|value| value.is_object()).cloned(),
        strict: function.get("strict").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// The schema that the answer must match.
fn schema(job: &Generate) -> Result<Option<Value>, Failure> {
    match job.constraint() {
        Ok(Constraint::None) => Ok(None),
        Ok(Constraint::JsonObject) => Ok(Some(json!({ "type": "object" }))),
        Ok(Constraint::JsonSchema(schema)) => Ok(Some(schema)),
        Err(_) => Err(invalid(RESPONSE_FORMAT, "the schema is too deep")),
    }
}

fn compile(engine: &Engine, shape: &Shape) -> Result<Guide, Failure> {
    engine.grammars.compile(shape).map_err(|error| {
        let is_schemas_fault = shape.schema.is_some()
            && (shape.calls.is_none() || engine.grammars.compile(&alone(shape)).is_err());
        refused(if is_schemas_fault { RESPONSE_FORMAT } else { TOOLS }, &error)
    })
}

fn refused(param: &str, error: &GrammarError) -> Failure {
    let what = if param == TOOLS { "a tool's schema" } else { "the schema" };
    let (message, param) = (format!("{what} {error}"), Some(param.to_owned()));
    match error {
        GrammarError::Keyword(_) => Failure::Unsupported { message, param },
        GrammarError::Refused => Failure::Invalid { message, param },
    }
}

/// The shape without its calls.
fn alone(shape: &Shape) -> Shape {
    Shape { thought: shape.thought, calls: None, schema: shape.schema.clone() }
}

/// What a job ends with whose grammar took more work at one token than any may.
pub(super) fn too_hard(param: &'static str) -> Failure {
    invalid(param, "the schema is too complex to generate by")
}

fn known(engine: &Engine, ids: &[u32], param: &str) -> Result<(), Failure> {
    if ids.iter().any(|id| *id >= engine.vocab) {
        return Err(invalid(param, "a token lies outside the model's vocabulary"));
    }
    Ok(())
}

fn invalid(param: &str, message: &str) -> Failure {
    Failure::Invalid { message: message.to_owned(), param: Some(param.to_owned()) }
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, param: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|_| invalid(param, "is not what the model can read"))
}
