//! A Responses request as a typed view.

use serde::Serialize;
use serde_json::{Map, Value};

use super::item::{Item, MessageRole};
use super::tool::{Tool, ToolChoice};
use crate::chat::{Content, Effort, TOP_LOGPROBS_MAX, effort, stream_options};
use crate::endpoint::Endpoint;
use crate::error::InvalidRequest;
use crate::fields::{Checked, Fields};
use crate::peek::{self, Peek};

/// The entry of `include` that asks for log probabilities.
pub const INCLUDE_LOGPROBS: &str = "message.output_text.logprobs";
/// Pairs in `metadata`.
pub const METADATA_PAIRS_MAX: usize = 16;
/// Characters of a key, and of a value, in `metadata`.
const METADATA_KEY_CHARS_MAX: usize = 64;
const METADATA_VALUE_CHARS_MAX: usize = 512;

/// What a client asks for. Types and ranges are checked; whether it can be honoured is not.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponsesRequest {
    pub model: String,
    /// A plain string is one message of the user.
    pub input: Vec<Item>,
    /// Comes before every item of the input, with the weight of a system message.
    pub instructions: Option<String>,
    pub stream: bool,
    /// `stream_options.include_obfuscation`: on unless switched off.
    pub include_obfuscation: bool,
    /// Reasoning included; at least 1.
    pub max_output_tokens: Option<u64>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    /// `include` has [`INCLUDE_LOGPROBS`]; every other entry is ignored.
    pub logprobs: bool,
    /// 0 to 20; of use only with `logprobs`.
    pub top_logprobs: u8,
    pub text_format: TextFormat,
    pub verbosity: Option<Verbosity>,
    pub tools: Vec<Tool>,
    pub tool_choice: ToolChoice,
    /// On unless switched off.
    pub parallel_tool_calls: bool,
    pub effort: Option<Effort>,
    pub summary: Option<Summary>,
    /// Bounds calls of hosted tools, of which there are none.
    pub max_tool_calls: Option<u64>,
    /// At most [`METADATA_PAIRS_MAX`] texts.
    pub metadata: Map<String, Value>,
    pub safety_identifier: Option<String>,
    pub prompt_cache_key: Option<String>,
    pub user: Option<String>,
    pub previous_response_id: Option<String>,
    pub background: bool,
    /// Every field that this view does not name, as it came; `null`s included.
    pub extra: Map<String, Value>,
}

/// The shape that the answer's text must have.
#[derive(Debug, Clone, PartialEq)]
pub enum TextFormat {
    Text,
    JsonObject,
    JsonSchema {
        name: String,
        description: Option<String>,
        schema: Map<String, Value>,
        /// Absent counts as false.
        strict: bool,
    },
}

/// How long-winded the answer may be: a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verbosity {
    Low,
    Medium,
    High,
}

/// What kind of summary of its thoughts the client would like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Summary {
    Auto,
    Concise,
    Detailed,
}

impl ResponsesRequest {
    /// Reads a body that [`peek::read`] takes; both always agree about model, stream and limit.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidRequest> {
        Self::parse_peeked(&peek::read(Endpoint::Responses, body)?, body)
    }

    /// The same for a body that was looked at already, as `peek`.
    pub fn parse_peeked(peek: &Peek<'_>, body: &[u8]) -> Result<Self, InvalidRequest> {
        let map = serde_json::from_slice(body).map_err(|error| peek::unreadable(&error))?;
        let mut fields = Fields::top(map);
        for known in ["model", "stream", "max_output_tokens"] {
            fields.take(known);
        }
        let (text_format, verbosity) = text(&mut fields)?;
        let (effort, summary) = reasoning(&mut fields)?;
        let request = Self {
            model: peek.model.clone().into_owned(),
            input: input(&mut fields)?,
            instructions: fields.text("instructions")?,
            stream: peek.stream,
            include_obfuscation: stream_options(&mut fields, false)?.include_obfuscation,
            max_output_tokens: peek.max_tokens,
            temperature: fields.number("temperature", 0.0..=2.0)?,
            top_p: fields.number("top_p", 0.0..=1.0)?,
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?,
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?,
            logprobs: logprobs(&mut fields)?,
            top_logprobs: top_logprobs(&mut fields)?,
            text_format,
            verbosity,
            tools: tools(&mut fields)?,
            tool_choice: ToolChoice::parse(&mut fields)?,
            parallel_tool_calls: fields.boolean("parallel_tool_calls")?.unwrap_or(true),
            effort,
            summary,
            max_tool_calls: max_tool_calls(&mut fields)?,
            metadata: metadata(&mut fields)?,
            safety_identifier: fields.text("safety_identifier")?,
            prompt_cache_key: fields.text("prompt_cache_key")?,
            user: fields.text("user")?,
            previous_response_id: fields.text("previous_response_id")?,
            background: fields.boolean("background")?.unwrap_or(false),
            extra: checked_rest(fields)?,
        };
        Ok(request)
    }
}

fn input(fields: &mut Fields) -> Checked<Vec<Item>> {
    match fields.take("input") {
        None => Err(fields.missing("input")),
        Some(Value::String(text)) => {
            let content = Content::Text(text);
            Ok(vec![Item::Message { role: MessageRole::User, content }])
        }
        Some(Value::Array(items)) => {
            items.into_iter().enumerate().map(|(index, item)| Item::parse(index, item)).collect()
        }
        Some(other) => Err(fields.wrong_type("input", "a string or an array of items", &other)),
    }
}

fn tools(fields: &mut Fields) -> Checked<Vec<Tool>> {
    let tools = fields.array("tools")?.unwrap_or_default();
    tools.into_iter().enumerate().map(|(index, tool)| Tool::parse(index, tool)).collect()
}

fn text(fields: &mut Fields) -> Checked<(TextFormat, Option<Verbosity>)> {
    let Some(mut text) = fields.object("text")? else { return Ok((TextFormat::Text, None)) };
    // A hint, so a word that nobody knows yet is no reason to refuse.
    let verbosity = match text.text("verbosity")?.as_deref() {
        Some("low") => Some(Verbosity::Low),
        Some("medium") => Some(Verbosity::Medium),
        Some("high") => Some(Verbosity::High),
        _ => None,
    };
    let Some(mut format) = text.object("format")? else {
        return Ok((TextFormat::Text, verbosity));
    };
    let Some(kind) = format.text("type")? else { return Err(format.missing("type")) };
    let format = match kind.as_str() {
        "text" => TextFormat::Text,
        "json_object" => TextFormat::JsonObject,
        "json_schema" => {
            let Some(name) = format.text("name")? else { return Err(format.missing("name")) };
            let Some(schema) = format.object("schema")? else {
                return Err(format.missing("schema"));
            };
            TextFormat::JsonSchema {
                name,
                description: format.text("description")?,
                schema: schema.rest(),
                strict: format.boolean("strict")?.unwrap_or(false),
            }
        }
        _ => return Err(format.invalid("type", "supported are text, json_object and json_schema")),
    };
    Ok((format, verbosity))
}

fn reasoning(fields: &mut Fields) -> Checked<(Option<Effort>, Option<Summary>)> {
    let Some(mut reasoning) = fields.object("reasoning")? else { return Ok((None, None)) };
    let effort = effort(&mut reasoning, "effort")?;
    let older = reasoning.text("generate_summary")?;
    let summary = match reasoning.text("summary")?.or(older).as_deref() {
        Some("auto") => Some(Summary::Auto),
        Some("concise") => Some(Summary::Concise),
        Some("detailed") => Some(Summary::Detailed),
        _ => None,
    };
    Ok((effort, summary))
}

fn logprobs(fields: &mut Fields) -> Checked<bool> {
    let mut logprobs = false;
    for entry in fields.array("include")?.unwrap_or_default() {
        match entry {
            Value::String(entry) => logprobs |= entry == INCLUDE_LOGPROBS,
            other => return Err(fields.wrong_type("include", "strings", &other)),
        }
    }
    Ok(logprobs)
}

fn top_logprobs(fields: &mut Fields) -> Checked<u8> {
    let top = fields.integer("top_logprobs")?.unwrap_or(0);
    match u8::try_from(top) {
        Ok(top) if top <= TOP_LOGPROBS_MAX => Ok(top),
        _ => Err(fields.invalid("top_logprobs", "expected a value from 0 to 20")),
    }
}

fn max_tool_calls(fields: &mut Fields) -> Checked<Option<u64>> {
    let Some(most) = fields.integer("max_tool_calls")? else { return Ok(None) };
    let most = u64::try_from(most);
    most.map(Some).map_err(|_| fields.invalid("max_tool_calls", "it is below 0"))
}

fn metadata(fields: &mut Fields) -> Checked<Map<String, Value>> {
    let Some(metadata) = fields.object("metadata")? else { return Ok(Map::new()) };
    let metadata = metadata.rest();
    if metadata.len() > METADATA_PAIRS_MAX {
        return Err(fields.invalid("metadata", "at most 16 pairs are allowed"));
    }
    for (key, value) in &metadata {
        let Value::String(text) = value else {
            return Err(fields.wrong_type("metadata", "strings as values", value));
        };
        if key.chars().count() > METADATA_KEY_CHARS_MAX
            || text.chars().count() > METADATA_VALUE_CHARS_MAX
        {
            let why = "a key has at most 64 characters and a value 512";
            return Err(fields.invalid("metadata", why));
        }
    }
    Ok(metadata)
}

/// What no field is made of but has a type all the same, so that nobody relies on a mistake.
fn checked_rest(mut fields: Fields) -> Checked<Map<String, Value>> {
    let truncation = fields.text("truncation")?;
    if truncation.as_deref().is_some_and(|word| !["auto", "disabled"].contains(&word)) {
        return Err(fields.invalid("truncation", "supported are auto and disabled"));
    }
    fields.boolean("store")?;
    fields.text("service_tier")?;
    Ok(fields.rest())
}
