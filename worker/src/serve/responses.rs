//! The Responses API, stateless: from the request to its plan, and from events to its answer.
//!
//! `conversation` makes messages of the input's items, `tools` sorts out what the model is told
//! of, `transcript` renders the answer, whole or streamed, out of `items`. What needs storage or a
//! platform's own machinery is refused by name: `previous_response_id`, `conversation`, stored
//! `prompt`s, references to items, `background`. `store` is taken, and the answer says that
//! nothing was stored; so is `truncation`, and what exceeds the context is refused all the same.

mod conversation;
mod items;
mod tools;
mod transcript;

use cocoon_openai_wire::error::InvalidRequest;
use cocoon_openai_wire::responses::{Echo, ResponsesRequest, TextFormat};
use serde_json::Value;

use self::conversation::conversation;
pub(super) use self::transcript::ResponsesTranscript;
use super::chat::reasoning;
use super::limits::Limits;
use super::plan::{Asked, Jobs, Plan, Shape, params, share};
use super::tools::{DIALECT, Offer, note, offer};
use super::unserved;
use crate::engine::{Constraint, Input, Job, Sampling};

/// JSON of the parameters that every answer repeats, three times in a stream.
const ECHO_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What of a request the rendering of its answer depends on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ResponsesShape {
    pub(super) is_stream: bool,
    pub(super) is_padded: bool,
    pub(super) has_logprobs: bool,
    /// Thoughts are told as their summary too: many clients read nothing else of them.
    pub(super) has_summary: bool,
    /// Names of tools that take free text.
    pub(super) customs: Vec<String>,
    pub(super) echo: Echo,
}

pub(super) fn plan(asked: &Asked<'_>) -> Result<Plan, InvalidRequest> {
    let mut request = ResponsesRequest::parse_peeked(asked.peek, asked.body)?;
    honour(&request)?;
    let choice = tools::choice_as_chat(&request.tool_choice, &request.tools);
    let Offer { tools, choice, mut dropped } =
        offer(tools::as_chat(&request.tools), choice, "tool_choice", asked.limits)?;
    request.tools.retain(tools::is_served);
    let echo = Echo::of(&request);
    if asked.body.len() > ECHO_BYTES_MAX {
        check_echo(&echo)?;
    }
    let customs = tools::customs(&request.tools);
    let conversation = conversation(request.instructions, request.input)?;
    for kind in conversation.dropped {
        note(&mut dropped, kind);
    }
    let limit = share(asked.head, asked.peek.max_tokens, asked.peek.choices);
    let job = Job {
        request_id: asked.head.request_id,
        model: asked.card.name.clone(),
        input: Input::Chat { messages: conversation.messages, tools },
        tool_choice: choice,
        parallel_tool_calls: request.parallel_tool_calls,
        reasoning: reasoning(request.effort),
        sampling: Sampling {
            temperature: echo.temperature,
            top_p: echo.top_p,
            seed: None,
            presence_penalty: echo.presence_penalty,
            frequency_penalty: echo.frequency_penalty,
            logit_bias: Vec::new(),
        },
        stop: Vec::new(),
        constraint: constraint(request.text_format, asked.limits)?,
        logprobs: request.logprobs.then_some(request.top_logprobs),
        max_tokens: limit,
    };
    let params = params(&job);
    let shape = ResponsesShape {
        is_stream: request.stream,
        is_padded: request.include_obfuscation,
        has_logprobs: request.logprobs,
        has_summary: request.summary.is_some(),
        customs,
        echo,
    };
    let (jobs, shape) = (Jobs::one(job), Shape::Responses(Box::new(shape)));
    Ok(Plan { jobs, shape, limit, dropped_tools: dropped, params })
}

/// Refuses what nobody can do who stores nothing.
fn honour(request: &ResponsesRequest) -> Result<(), InvalidRequest> {
    if request.previous_response_id.is_some() {
        let message = "The previous response was not found: responses are not stored. Send the \
                       whole conversation as 'input'.";
        let code = "previous_response_not_found";
        return Err(InvalidRequest::param(code, "previous_response_id", message));
    }
    let unsupported = |param: &str, why: &str| Err(InvalidRequest::unsupported(param, why));
    if request.background {
        let why = "Responses are not stored, so none can be made in the background.";
        return unsupported("background", why);
    }
    let is_one = |n: &Value| n.is_null() || n.as_u64() == Some(1);
    if !request.extra.get("n").is_none_or(is_one) {
        return unsupported("n", "This endpoint makes one answer; chat completions make more.");
    }
    unserved::check(&request.extra, unserved::RESPONSES)
}

/// A parameter that no prompt bounds, such as an identifier, must not grow the answer.
fn check_echo(echo: &Echo) -> Result<(), InvalidRequest> {
    let bytes = serde_json::to_vec(echo).map_or(usize::MAX, |json| json.len());
    if bytes <= ECHO_BYTES_MAX {
        return Ok(());
    }
    let message = format!("The parameters beside 'input' have more than {ECHO_BYTES_MAX} bytes.");
    Err(InvalidRequest::body("parameters_too_large", message))
}

/// A schema is enforced whether it says `strict` or not.
fn constraint(format: TextFormat, limits: &Limits) -> Result<Constraint, InvalidRequest> {
    let (name, description, mut schema) = match format {
        TextFormat::Text => return Ok(Constraint::None),
        TextFormat::JsonObject => return Ok(Constraint::JsonObject),
        TextFormat::JsonSchema { name, description, schema, .. } => (name, description, schema),
    };
    limits.check_tool_name("text.format.name", &name)?;
    if let Some(description) = &description {
        limits.check_tool_description("text.format.description", description)?;
    }
    schema.shift_remove(DIALECT);
    let schema = Value::Object(schema);
    limits.check_schema("text.format.schema", &schema)?;
    Ok(Constraint::JsonSchema(schema))
}
