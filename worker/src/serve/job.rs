//! From a client's request to a job for the engine.
//!
//! A parameter that would change the answer and cannot be honoured is refused by name; one that
//! clients send routinely and that changes nothing of substance (`user`, `store`, `metadata`,
//! `service_tier`, `parallel_tool_calls`, `reasoning_effort`, …) is taken and ignored, as is any
//! field that nobody knows.

use bytes::Bytes;
use cocoon_openai_wire::chat::{
    self, ChatRequest, Content, Message, Part, ResponseFormat, Role, Tool,
};
use cocoon_openai_wire::error::InvalidRequest;
use serde::Serialize;
use serde_json::{Map, Value};

use super::head::Head;
use crate::engine::{Constraint, Job, ModelCard, Sampling, ToolChoice};

/// A job, and the shape that its answer must have.
pub(super) struct Plan {
    pub(super) job: Job,
    pub(super) shape: Shape,
    /// Completion tokens at most, at least 1.
    pub(super) limit: u32,
    /// A stable text of the parameters, for the receipt's commitment.
    pub(super) params: Vec<u8>,
}

/// What of a request the rendering of its answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) is_stream: bool,
    pub(super) has_usage_chunk: bool,
    pub(super) is_padded: bool,
    pub(super) has_logprobs: bool,
}

impl Plan {
    pub(super) fn new(
        chat: ChatRequest,
        raw: Bytes,
        head: &Head,
        card: &ModelCard,
    ) -> Result<Self, InvalidRequest> {
        honour(&chat)?;
        let asked =
            chat.max_tokens.map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(u32::MAX));
        let limit = asked.min(head.tokens_max);
        let shape = Shape {
            is_stream: chat.stream,
            has_usage_chunk: chat.stream_options.include_usage,
            is_padded: chat.stream_options.include_obfuscation,
            has_logprobs: chat.logprobs,
        };
        let job = Job {
            request_id: head.request_id,
            model: card.name.clone(),
            messages: messages(chat.messages)?,
            tools: tools(chat.tools),
            tool_choice: match chat.tool_choice {
                chat::ToolChoice::None => ToolChoice::None,
                _ => ToolChoice::Auto,
            },
            sampling: Sampling {
                temperature: chat.temperature.unwrap_or(1.0),
                top_p: chat.top_p.unwrap_or(1.0),
                seed: chat.seed.map(i64::cast_unsigned),
                presence_penalty: chat.presence_penalty.unwrap_or(0.0),
                frequency_penalty: chat.frequency_penalty.unwrap_or(0.0),
                logit_bias: chat.logit_bias,
            },
            stop: chat.stop,
            constraint: match chat.response_format {
                ResponseFormat::Text => Constraint::None,
                ResponseFormat::JsonObject | ResponseFormat::JsonSchema { schema: None } => {
                    Constraint::JsonObject
                }
                ResponseFormat::JsonSchema { schema: Some(schema) } => {
                    Constraint::JsonSchema(schema)
                }
            },
            logprobs: chat.logprobs.then_some(chat.top_logprobs),
            max_tokens: limit,
            raw,
        };
        let params = params(&job);
        Ok(Self { job, shape, limit, params })
    }
}

/// Refuses what would change the answer and cannot be kept.
fn honour(chat: &ChatRequest) -> Result<(), InvalidRequest> {
    let unsupported = |param: &str, why: &str| Err(InvalidRequest::unsupported(param, why));
    if chat.n > 1 {
        return unsupported("n", "Only one choice per request is supported: 'n' must be 1.");
    }
    match &chat.tool_choice {
        chat::ToolChoice::Auto | chat::ToolChoice::None => {}
        chat::ToolChoice::Required | chat::ToolChoice::Named { .. } => {
            let why = "Forced tool calls are not supported: 'tool_choice' must be auto or none.";
            return unsupported("tool_choice", why);
        }
    }
    let given = |name: &str| chat.extra.get(name).filter(|value| !value.is_null());
    let is_text = |value: &Value| value.as_str() == Some("text");
    if let Some(modalities) = given("modalities")
        && !modalities.as_array().is_some_and(|all| all.iter().all(is_text))
    {
        return unsupported("modalities", "Only the modality 'text' is supported.");
    }
    if given("functions").is_some_and(|value| value.as_array().is_none_or(|all| !all.is_empty())) {
        return unsupported("functions", "'functions' is deprecated: use 'tools'.");
    }
    if given("function_call").is_some_and(|value| !matches!(value.as_str(), Some("auto" | "none")))
    {
        return unsupported("function_call", "'function_call' is deprecated: use 'tool_choice'.");
    }
    for param in ["audio", "web_search_options", "moderation"] {
        if given(param).is_some() {
            return unsupported(param, &format!("'{param}' is not supported."));
        }
    }
    Ok(())
}

fn messages(messages: Vec<Message>) -> Result<Vec<Value>, InvalidRequest> {
    let flatten = |(index, message): (usize, Message)| {
        let path = format!("messages[{index}]");
        let role = match message.role {
            // Templates know no developer; what one says has a system message's weight.
            Role::Developer => Role::System,
            Role::Function => {
                let why = "The role 'function' is deprecated: use 'tool'.";
                return Err(InvalidRequest::unsupported(format!("{path}.role"), why));
            }
            role => role,
        };
        let mut flat = Map::new();
        flat.insert("role".to_owned(), role.as_str().into());
        flat.insert("content".to_owned(), content(message.content, &path)?);
        let texts = [
            ("name", message.name),
            ("reasoning_content", message.reasoning_content),
            ("tool_call_id", message.tool_call_id),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                flat.insert(key.to_owned(), text.into());
            }
        }
        if !message.tool_calls.is_empty() {
            let calls = serde_json::to_value(message.tool_calls).expect("calls are plain text");
            flat.insert("tool_calls".to_owned(), calls);
        }
        Ok(Value::Object(flat))
    };
    messages.into_iter().enumerate().map(flatten).collect()
}

/// One string, the parts joined by line breaks; `null` where there is no content.
fn content(content: Option<Content>, path: &str) -> Result<Value, InvalidRequest> {
    let parts = match content {
        None => return Ok(Value::Null),
        Some(Content::Text(text)) => return Ok(text.into()),
        Some(Content::Parts(parts)) => parts,
    };
    let texts = parts
        .into_iter()
        .enumerate()
        .map(|(index, part)| match part {
            Part::Text(text) | Part::Refusal(text) => Ok(text),
            Part::Other { .. } => {
                let param = format!("{path}.content[{index}]");
                Err(InvalidRequest::unsupported(param, "Only parts of text are supported."))
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(texts.join("\n").into())
}

/// The functions. Tools of other types are left out: clients offer them everywhere, and an
/// answer that does not call them is a good one.
fn tools(tools: Vec<Tool>) -> Vec<Value> {
    tools
        .into_iter()
        .filter_map(|tool| match tool {
            Tool::Function { tool, .. } => Some(tool),
            Tool::Other { .. } => None,
        })
        .collect()
}

/// The parameters as JSON with fixed keys in a fixed order: whoever holds the salt can check
/// the receipt's commitment to them.
fn params(job: &Job) -> Vec<u8> {
    #[derive(Serialize)]
    struct Params<'a> {
        temperature: f32,
        top_p: f32,
        seed: Option<u64>,
        presence_penalty: f32,
        frequency_penalty: f32,
        max_tokens: u32,
        stop: &'a [String],
        logprobs: Option<u8>,
    }
    let params = Params {
        temperature: job.sampling.temperature,
        top_p: job.sampling.top_p,
        seed: job.sampling.seed,
        presence_penalty: job.sampling.presence_penalty,
        frequency_penalty: job.sampling.frequency_penalty,
        max_tokens: job.max_tokens,
        stop: &job.stop,
        logprobs: job.logprobs,
    };
    serde_json::to_vec(&params).expect("parameters are finite numbers and text")
}
