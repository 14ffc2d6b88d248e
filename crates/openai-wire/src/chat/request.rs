//! A chat completion request as a typed view.

use serde::Serialize;
use serde_json::{Map, Value};

use super::format::{ResponseFormat, response_format};
use super::message::Message;
use super::tool::{Tool, ToolChoice, function_call, functions, tool_choice, tools};
use crate::error::InvalidRequest;
use crate::fields::{Checked, Fields, number_within};
use crate::peek::{self, Peek};

/// Alternatives reported for one token.
pub const TOP_LOGPROBS_MAX: u8 = 20;

/// What a client asks for. Types and ranges are checked; whether it can be honoured is not.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    pub model: String,
    /// At least one.
    pub messages: Vec<Message>,
    pub stream: bool,
    pub stream_options: StreamOptions,
    /// `max_completion_tokens`, else `max_tokens`; at least 1.
    pub max_tokens: Option<u64>,
    /// 1 to 128.
    pub n: u32,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub seed: Option<i64>,
    pub stop: Vec<String>,
    pub logit_bias: Vec<(u32, f32)>,
    pub logprobs: bool,
    pub top_logprobs: u8,
    pub response_format: ResponseFormat,
    pub tools: Vec<Tool>,
    pub tool_choice: ToolChoice,
    /// The tools came as `functions`, and so the answer's call is a `function_call`.
    pub has_functions: bool,
    /// On unless switched off.
    pub parallel_tool_calls: bool,
    /// `reasoning_effort`, else what `reasoning` or `chat_template_kwargs.enable_thinking` say:
    /// the names that other servers have for it.
    pub reasoning_effort: Option<Effort>,
    /// Every field that this view does not name, as it came; `null`s included.
    pub extra: Map<String, Value>,
}

/// How much to think before the answer, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    pub include_usage: bool,
    /// On unless switched off.
    pub include_obfuscation: bool,
}

impl ChatRequest {
    /// Reads a body that [`peek::chat`] takes; both always agree about model, stream and limits.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidRequest> {
        Self::parse_peeked(&peek::chat(body)?, body)
    }

    /// The same for a body that was looked at already, as `peek`.
    pub fn parse_peeked(peek: &Peek<'_>, body: &[u8]) -> Result<Self, InvalidRequest> {
        let map = serde_json::from_slice(body).map_err(|error| peek::unreadable(&error))?;
        let mut fields = Fields::top(map);
        for known in ["model", "stream", "max_tokens", "max_completion_tokens", "n"] {
            fields.take(known);
        }
        let messages = fields.array("messages")?.unwrap_or_default();
        let messages = messages
            .into_iter()
            .enumerate()
            .map(|(index, value)| Message::parse(index, value))
            .collect::<Checked<_>>()?;
        let (logprobs, top_logprobs) = logprobs(&mut fields)?;
        let (tools, tool_choice, has_functions) = offer(&mut fields)?;
        Ok(Self {
            model: peek.model.clone().into_owned(),
            messages,
            stream: peek.stream,
            stream_options: stream_options(&mut fields, peek.include_usage)?,
            max_tokens: peek.max_tokens,
            n: peek.choices,
            temperature: fields.number("temperature", 0.0..=2.0)?,
            top_p: fields.number("top_p", 0.0..=1.0)?,
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?,
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?,
            seed: fields.integer("seed")?,
            stop: stop(&mut fields)?,
            logit_bias: logit_bias(&mut fields)?,
            logprobs,
            top_logprobs,
            response_format: response_format(&mut fields)?,
            tools,
            tool_choice,
            has_functions,
            parallel_tool_calls: fields.boolean("parallel_tool_calls")?.unwrap_or(true),
            reasoning_effort: reasoning(&mut fields)?,
            extra: fields.rest(),
        })
    }
}

/// Tools and the choice among them, and whether they came under their deprecated names. Those
/// count only where there are no tools.
fn offer(fields: &mut Fields) -> Checked<(Vec<Tool>, ToolChoice, bool)> {
    let (tools, choice) = (tools(fields)?, tool_choice(fields)?);
    let (functions, call) = (functions(fields)?, function_call(fields)?);
    if !tools.is_empty() || functions.is_empty() {
        return Ok((tools, choice, false));
    }
    Ok((functions, call.unwrap_or(ToolChoice::Auto), true))
}

/// How much to think, by the first of its names that says so. All are read, so that none is wrong
/// unnoticed.
fn reasoning(fields: &mut Fields) -> Checked<Option<Effort>> {
    let switched = |is_on| if is_on { Effort::Medium } else { Effort::None };
    let plain = effort(fields, "reasoning_effort")?;
    let nested = match fields.object("reasoning")? {
        None => None,
        Some(mut reasoning) => {
            let is_on = reasoning.boolean("enabled")?;
            effort(&mut reasoning, "effort")?.or(is_on.map(switched))
        }
    };
    let of_template = match fields.object("chat_template_kwargs")? {
        None => None,
        Some(mut switches) => switches.boolean("enable_thinking")?.map(switched),
    };
    Ok(plain.or(nested).or(of_template))
}

/// Reads an effort, by whatever name a request gives it.
pub(crate) fn effort(fields: &mut Fields, key: &str) -> Checked<Option<Effort>> {
    let Some(word) = fields.text(key)? else { return Ok(None) };
    Ok(Some(match word.as_str() {
        "none" => Effort::None,
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::Xhigh,
        "max" => Effort::Max,
        _ => {
            let why = "supported are none, minimal, low, medium, high, xhigh and max";
            return Err(fields.invalid(key, why));
        }
    }))
}

pub(crate) fn stream_options(fields: &mut Fields, include_usage: bool) -> Checked<StreamOptions> {
    let include_obfuscation = match fields.object("stream_options")? {
        Some(mut options) => options.boolean("include_obfuscation")?.unwrap_or(true),
        None => true,
    };
    Ok(StreamOptions { include_usage, include_obfuscation })
}

pub(crate) fn stop(fields: &mut Fields) -> Checked<Vec<String>> {
    let stops = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                other => Err(fields.wrong_type("stop", "strings", &other)),
            })
            .collect::<Checked<_>>()?,
        Some(other) => {
            return Err(fields.wrong_type("stop", "a string or an array of strings", &other));
        }
    };
    if stops.iter().any(String::is_empty) {
        return Err(fields.invalid("stop", "a sequence is empty"));
    }
    Ok(stops)
}

pub(crate) fn logit_bias(fields: &mut Fields) -> Checked<Vec<(u32, f32)>> {
    let Some(bias) = fields.object("logit_bias")? else { return Ok(Vec::new()) };
    let entries = bias.rest();
    entries
        .into_iter()
        .map(|(key, value)| {
            let token =
                key.parse().map_err(|_| fields.invalid("logit_bias", "a key is no token id"))?;
            Ok((token, number_within("logit_bias", &value, -100.0..=100.0)?))
        })
        .collect()
}

fn logprobs(fields: &mut Fields) -> Checked<(bool, u8)> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let Some(top) = fields.integer("top_logprobs")? else { return Ok((wanted, 0)) };
    match u8::try_from(top) {
        Ok(0) if !wanted => Ok((false, 0)),
        Ok(_) if !wanted => Err(fields.invalid("top_logprobs", "it needs 'logprobs' to be true")),
        Ok(top) if top <= TOP_LOGPROBS_MAX => Ok((true, top)),
        _ => Err(fields.invalid("top_logprobs", "expected a value from 0 to 20")),
    }
}
