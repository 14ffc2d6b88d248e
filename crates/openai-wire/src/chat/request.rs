//! A chat completion request as a typed view.

use serde_json::{Map, Value};

use super::message::Message;
use crate::error::InvalidRequest;
use crate::fields::{Checked, Fields, number_within};
use crate::peek;

/// Stop sequences in one request.
pub const STOPS_MAX: usize = 4;
/// Bytes in one stop sequence: an answer is held back by as much while it may still match.
pub const STOP_BYTES_MAX: usize = 1024;
/// Tokens with a bias in one request.
pub const LOGIT_BIAS_MAX: usize = 1024;
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
    /// Every field that this view does not name, as it came; `null`s included.
    pub extra: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    pub include_usage: bool,
    /// On unless switched off.
    pub include_obfuscation: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ResponseFormat {
    Text,
    JsonObject,
    /// `None` where the client named no schema.
    JsonSchema {
        schema: Option<Value>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Tool {
    /// The whole tool as it came, its name checked.
    Function {
        name: String,
        tool: Value,
    },
    Other {
        kind: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    Required,
    /// `{"type": …}`: a named function, allowed tools, or what comes next.
    Named {
        kind: String,
    },
}

impl ChatRequest {
    /// Reads a body that [`peek::chat`] takes; both always agree about model, stream and limits.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidRequest> {
        let peek = peek::chat(body)?;
        let map = serde_json::from_slice(body).map_err(|error| peek::unreadable(&error))?;
        let mut fields = Fields::top(map);
        for known in ["model", "stream", "max_tokens", "max_completion_tokens", "n"] {
            fields.take(known);
        }
        let messages = fields.array("messages")?.unwrap_or_default();
        let messages = messages
            .into_iter()
            .enumerate()
            .map(|(index, value)| Message::parse(format!("messages[{index}]"), value))
            .collect::<Checked<_>>()?;
        let (logprobs, top_logprobs) = logprobs(&mut fields)?;
        let request = Self {
            model: peek.model.into_owned(),
            messages,
            stream: peek.stream,
            stream_options: stream_options(&mut fields, peek.include_usage)?,
            max_tokens: peek.max_tokens,
            n: peek.n,
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
            tools: tools(&mut fields)?,
            tool_choice: tool_choice(&mut fields)?,
            extra: fields.rest(),
        };
        Ok(request)
    }
}

fn stream_options(fields: &mut Fields, include_usage: bool) -> Checked<StreamOptions> {
    let include_obfuscation = match fields.object("stream_options")? {
        Some(mut options) => options.boolean("include_obfuscation")?.unwrap_or(true),
        None => true,
    };
    Ok(StreamOptions { include_usage, include_obfuscation })
}

fn stop(fields: &mut Fields) -> Checked<Vec<String>> {
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
    if stops.len() > STOPS_MAX {
        return Err(fields.invalid("stop", "at most 4 sequences are allowed"));
    }
    if stops.iter().any(|text| text.is_empty() || text.len() > STOP_BYTES_MAX) {
        return Err(fields.invalid("stop", "a sequence has 1 to 1024 bytes"));
    }
    Ok(stops)
}

fn logit_bias(fields: &mut Fields) -> Checked<Vec<(u32, f32)>> {
    let Some(bias) = fields.object("logit_bias")? else { return Ok(Vec::new()) };
    let entries = bias.rest();
    if entries.len() > LOGIT_BIAS_MAX {
        return Err(fields.invalid("logit_bias", "at most 1024 tokens are allowed"));
    }
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

fn response_format(fields: &mut Fields) -> Checked<ResponseFormat> {
    let Some(mut format) = fields.object("response_format")? else {
        return Ok(ResponseFormat::Text);
    };
    let Some(kind) = format.text("type")? else { return Err(format.missing("type")) };
    match kind.as_str() {
        "text" => Ok(ResponseFormat::Text),
        "json_object" => Ok(ResponseFormat::JsonObject),
        "json_schema" => {
            let Some(mut named) = format.object("json_schema")? else {
                return Err(format.missing("json_schema"));
            };
            let schema = named.take("schema");
            match schema {
                None | Some(Value::Object(_)) => Ok(ResponseFormat::JsonSchema { schema }),
                Some(other) => Err(named.wrong_type("schema", "an object", &other)),
            }
        }
        _ => Err(format.invalid("type", "supported are text, json_object and json_schema")),
    }
}

fn tools(fields: &mut Fields) -> Checked<Vec<Tool>> {
    let tools = fields.array("tools")?.unwrap_or_default();
    let parse = |(index, tool): (usize, Value)| {
        let mut view = Fields::at(format!("tools[{index}]"), tool.clone())?;
        let Some(kind) = view.text("type")? else { return Err(view.missing("type")) };
        if kind != "function" {
            return Ok(Tool::Other { kind });
        }
        let Some(mut function) = view.object("function")? else {
            return Err(view.missing("function"));
        };
        let Some(name) = function.text("name")? else { return Err(function.missing("name")) };
        function.object("parameters")?;
        Ok(Tool::Function { name, tool })
    };
    tools.into_iter().enumerate().map(parse).collect()
}

fn tool_choice(fields: &mut Fields) -> Checked<ToolChoice> {
    match fields.take("tool_choice") {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => Err(fields.invalid("tool_choice", "supported are none, auto and required")),
        },
        Some(value) => {
            let mut choice = Fields::at(fields.name("tool_choice"), value)?;
            match choice.text("type")? {
                Some(kind) => Ok(ToolChoice::Named { kind }),
                None => Err(choice.missing("type")),
            }
        }
    }
}
