//! Chat completions: from the request to its plan.

use cocoon_openai_wire::chat::{ChatRequest, Effort, ResponseFormat};
use cocoon_openai_wire::error::InvalidRequest;
use serde_json::{Map, Value};

use super::conversation::flatten;
use super::limits::Limits;
use super::plan::{Asked, Jobs, Plan, Shape, params, share};
use super::tools::{DIALECT, Offer, offer};
use super::unserved;
use crate::engine::{Constraint, Input, Job, Reasoning, Sampling};

/// What of a chat completion request the rendering of its answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChatShape {
    pub(super) is_stream: bool,
    pub(super) has_usage_chunk: bool,
    pub(super) is_padded: bool,
    pub(super) has_logprobs: bool,
    /// Calls are written in the deprecated form, as the request wrote its functions.
    pub(super) has_functions: bool,
    pub(super) choices: u32,
}

pub(super) fn plan(asked: &Asked<'_>) -> Result<Plan, InvalidRequest> {
    let chat = ChatRequest::parse_peeked(asked.peek, asked.body)?;
    honour(&chat.extra)?;
    asked.limits.check_stops(&chat.stop)?;
    asked.limits.check_bias(&chat.logit_bias)?;
    let limit = share(asked.head, asked.peek.max_tokens, chat.n);
    let shape = ChatShape {
        is_stream: chat.stream,
        has_usage_chunk: chat.stream_options.include_usage,
        is_padded: chat.stream_options.include_obfuscation,
        has_logprobs: chat.logprobs,
        has_functions: chat.has_functions,
        choices: chat.n,
    };
    let param = if chat.has_functions { "function_call" } else { "tool_choice" };
    let Offer { tools, choice, dropped } =
        offer(chat.tools, chat.tool_choice, param, asked.limits)?;
    let job = Job {
        request_id: asked.head.request_id,
        model: asked.card.name.clone(),
        input: Input::Chat { messages: flatten(chat.messages)?, tools },
        tool_choice: choice,
        // The deprecated form has room for one.
        parallel_tool_calls: chat.parallel_tool_calls && !chat.has_functions,
        reasoning: reasoning(chat.reasoning_effort),
        sampling: Sampling {
            temperature: chat.temperature.unwrap_or(1.0),
            top_p: chat.top_p.unwrap_or(1.0),
            seed: chat.seed.map(i64::cast_unsigned),
            presence_penalty: chat.presence_penalty.unwrap_or(0.0),
            frequency_penalty: chat.frequency_penalty.unwrap_or(0.0),
            logit_bias: chat.logit_bias,
        },
        stop: chat.stop,
        constraint: constraint(chat.response_format, asked.limits)?,
        logprobs: chat.logprobs.then_some(chat.top_logprobs),
        max_tokens: limit,
    };
    let params = params(&job);
    let (jobs, shape) = (Jobs::repeated(job, chat.n), Shape::Chat(shape));
    Ok(Plan { jobs, shape, limit, dropped_tools: dropped, params })
}

/// Refuses what would change the answer and cannot be kept. What clients send routinely is taken
/// and ignored, as is any field that nobody knows: the contract lists what is.
fn honour(extra: &Map<String, Value>) -> Result<(), InvalidRequest> {
    let is_text = |value: &Value| value.as_str() == Some("text");
    if let Some(modalities) = extra.get("modalities").filter(|value| !value.is_null())
        && !modalities.as_array().is_some_and(|all| all.iter().all(is_text))
    {
        let why = "Only the modality 'text' is supported.";
        return Err(InvalidRequest::unsupported("modalities", why));
    }
    unserved::check(extra, unserved::CHAT)
}

/// Engines know fewer steps than the API.
pub(super) fn reasoning(effort: Option<Effort>) -> Reasoning {
    match effort {
        None => Reasoning::Default,
        Some(Effort::None) => Reasoning::Off,
        Some(Effort::Minimal | Effort::Low) => Reasoning::Low,
        Some(Effort::Medium) => Reasoning::Medium,
        Some(Effort::High | Effort::Xhigh | Effort::Max) => Reasoning::High,
    }
}

/// A schema is enforced whether it says `strict` or not.
fn constraint(format: ResponseFormat, limits: &Limits) -> Result<Constraint, InvalidRequest> {
    let named = match format {
        ResponseFormat::Text => return Ok(Constraint::None),
        ResponseFormat::JsonObject => return Ok(Constraint::JsonObject),
        ResponseFormat::JsonSchema(named) => named,
    };
    let Some(mut schema) = named.schema else { return Ok(Constraint::JsonObject) };
    schema.shift_remove(DIALECT);
    let schema = Value::Object(schema);
    limits.check_schema("response_format.json_schema.schema", &schema)?;
    Ok(Constraint::JsonSchema(schema))
}
