//! The answer object and what it is made of.

use serde::Serialize;
use serde_json::{Map, Value};

use super::request::{ResponsesRequest, Summary, TextFormat, Verbosity};
use super::tool::Tool;
use crate::chat::{Effort, TokenLogprob};
use crate::error::{ErrorObject, kind};

/// A whole answer, or one in progress.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Response<'a> {
    /// `resp_` and the request's id in hexadecimal.
    pub id: &'a str,
    /// [`Response::OBJECT`].
    pub object: &'static str,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds; only where the status is `completed`.
    pub completed_at: Option<u64>,
    pub status: Status,
    pub error: Option<ResponseError>,
    pub incomplete_details: Option<IncompleteDetails>,
    pub output: &'a [OutputItem],
    /// `null` until the answer has ended.
    pub usage: Option<Usage>,
    #[serde(flatten)]
    pub echo: &'a Echo,
}

impl<'a> Response<'a> {
    pub const OBJECT: &'static str = "response";

    /// An answer in progress, without any output yet.
    pub fn begun(id: &'a str, created_at: u64, echo: &'a Echo) -> Self {
        Self {
            id,
            object: Self::OBJECT,
            created_at,
            completed_at: None,
            status: Status::InProgress,
            error: None,
            incomplete_details: None,
            output: &[],
            usage: None,
            echo,
        }
    }

    /// An answer that broke off, with what it had.
    pub fn failed(
        id: &'a str,
        created_at: u64,
        echo: &'a Echo,
        output: &'a [OutputItem],
        error: &ErrorObject,
    ) -> Self {
        let (status, error) = (Status::Failed, Some(ResponseError::from(error)));
        Self { status, error, output, ..Self::begun(id, created_at, echo) }
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an answer has string keys and finite numbers")
    }
}

/// How far an answer, or an item of it, is. An item is never `failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

/// Why an answer failed, in the few codes that the schema knows; the event `error` before it has
/// the exact one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResponseError {
    /// `server_error` or `rate_limit_exceeded`.
    pub code: &'static str,
    pub message: String,
}

impl From<&ErrorObject> for ResponseError {
    fn from(error: &ErrorObject) -> Self {
        let code = match error.kind.as_ref() {
            kind::RATE_LIMIT => "rate_limit_exceeded",
            _ => "server_error",
        };
        Self { code, message: error.message.clone() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IncompleteDetails {
    pub reason: IncompleteReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncompleteReason {
    /// The limit of the client, of the model, or of the gateway.
    MaxOutputTokens,
    ContentFilter,
}

/// The token counts of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub input_tokens: u64,
    pub input_tokens_details: InputDetails,
    pub output_tokens: u64,
    pub output_tokens_details: OutputDetails,
    pub total_tokens: u64,
}

/// Parts of the input's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InputDetails {
    pub cached_tokens: u64,
    /// Always 0: nobody pays for what a cache takes in.
    pub cache_write_tokens: u64,
}

/// Parts of the output's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OutputDetails {
    pub reasoning_tokens: u64,
}

impl Usage {
    /// `cached` is a part of `input`, `reasoning` a part of `output`.
    pub fn new(input: u64, cached: u64, output: u64, reasoning: u64) -> Self {
        Self {
            input_tokens: input,
            input_tokens_details: InputDetails { cached_tokens: cached, cache_write_tokens: 0 },
            output_tokens: output,
            output_tokens_details: OutputDetails { reasoning_tokens: reasoning },
            total_tokens: input.saturating_add(output),
        }
    }
}

/// One thing that the model did. Every item has the status that it had when it was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem {
    /// `rs_…`: what it thought, in clear.
    Reasoning {
        id: String,
        /// Empty, or where the client asked for a summary one part: the thoughts in full.
        summary: Vec<SummaryPart>,
        /// At most one, an [`OutputPart::ReasoningText`].
        content: Vec<OutputPart>,
        status: Status,
    },
    /// `msg_…`: what it said.
    Message {
        id: String,
        /// `assistant`.
        role: &'static str,
        status: Status,
        /// At most one, an [`OutputPart::OutputText`].
        content: Vec<OutputPart>,
    },
    /// `fc_…`: a function that the client should call.
    FunctionCall {
        id: String,
        call_id: String,
        name: String,
        /// JSON as text; models write it, so it may be anything.
        arguments: String,
        status: Status,
    },
    /// `ctc_…`: a custom tool that the client should call.
    CustomToolCall { id: String, call_id: String, name: String, input: String, status: Status },
}

impl OutputItem {
    pub fn id(&self) -> &str {
        match self {
            Self::Reasoning { id, .. }
            | Self::Message { id, .. }
            | Self::FunctionCall { id, .. }
            | Self::CustomToolCall { id, .. } => id,
        }
    }
}

/// A part of a summary of thoughts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SummaryPart {
    SummaryText { text: String },
}

/// Text inside an item.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputPart {
    OutputText {
        text: String,
        /// Always empty: nothing here cites.
        annotations: [(); 0],
        /// Empty unless asked for.
        logprobs: Vec<TokenLogprob>,
    },
    ReasoningText {
        text: String,
    },
}

impl OutputPart {
    pub fn output_text(text: String, logprobs: Vec<TokenLogprob>) -> Self {
        Self::OutputText { text, annotations: [], logprobs }
    }
}

/// The request's parameters as they were in effect, which every answer repeats.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Echo {
    pub model: String,
    pub instructions: Option<String>,
    pub max_output_tokens: Option<u64>,
    pub max_tool_calls: Option<u64>,
    /// 1 where nothing was asked for.
    pub temperature: f32,
    /// 1 where nothing was asked for.
    pub top_p: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub top_logprobs: u8,
    pub text: TextEcho,
    /// The tools that the model was told of: what was dropped is not among them.
    pub tools: Vec<ToolEcho>,
    /// A word or an object, as the client wrote it.
    pub tool_choice: Value,
    pub parallel_tool_calls: bool,
    pub reasoning: ReasoningEcho,
    pub metadata: Map<String, Value>,
    pub safety_identifier: Option<String>,
    pub prompt_cache_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Always `null`: nothing is stored that could be gone on from.
    previous_response_id: Option<String>,
    /// Always `disabled`: what exceeds the context is refused.
    truncation: &'static str,
    /// Always `default`.
    service_tier: &'static str,
    /// Always false, whatever was asked for.
    store: bool,
    /// Always false.
    background: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextEcho {
    pub format: FormatEcho,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<Verbosity>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FormatEcho {
    Text,
    JsonObject,
    JsonSchema {
        name: String,
        description: Option<String>,
        schema: Map<String, Value>,
        strict: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToolEcho {
    Function {
        name: String,
        description: Option<String>,
        parameters: Option<Map<String, Value>>,
        strict: Option<bool>,
    },
    Custom {
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// Always [`FormatEcho::Text`].
        format: FormatEcho,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ReasoningEcho {
    pub effort: Option<Effort>,
    pub summary: Option<Summary>,
}

impl Echo {
    /// Of a request whose `tools` are those that the model is told of.
    pub fn of(request: &ResponsesRequest) -> Self {
        Self {
            instructions: request.instructions.clone(),
            max_output_tokens: request.max_output_tokens,
            max_tool_calls: request.max_tool_calls,
            temperature: request.temperature.unwrap_or(1.0),
            top_p: request.top_p.unwrap_or(1.0),
            presence_penalty: request.presence_penalty.unwrap_or(0.0),
            frequency_penalty: request.frequency_penalty.unwrap_or(0.0),
            top_logprobs: request.top_logprobs,
            text: TextEcho {
                format: FormatEcho::of(&request.text_format),
                verbosity: request.verbosity,
            },
            tools: request.tools.iter().filter_map(ToolEcho::of).collect(),
            tool_choice: request.tool_choice.to_value(),
            parallel_tool_calls: request.parallel_tool_calls,
            reasoning: ReasoningEcho { effort: request.effort, summary: request.summary },
            metadata: request.metadata.clone(),
            safety_identifier: request.safety_identifier.clone(),
            prompt_cache_key: request.prompt_cache_key.clone(),
            user: request.user.clone(),
            ..Self::unknown(request.model.clone())
        }
    }

    /// Of a request of which only the model is known: the API's defaults.
    pub fn unknown(model: String) -> Self {
        Self {
            model,
            instructions: None,
            max_output_tokens: None,
            max_tool_calls: None,
            temperature: 1.0,
            top_p: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            top_logprobs: 0,
            text: TextEcho { format: FormatEcho::Text, verbosity: None },
            tools: Vec::new(),
            tool_choice: "auto".into(),
            parallel_tool_calls: true,
            reasoning: ReasoningEcho { effort: None, summary: None },
            metadata: Map::new(),
            safety_identifier: None,
            prompt_cache_key: None,
            user: None,
            previous_response_id: None,
            truncation: "disabled",
            service_tier: "default",
            store: false,
            background: false,
        }
    }
}

impl FormatEcho {
    fn of(format: &TextFormat) -> Self {
        match format.clone() {
            TextFormat::Text => Self::Text,
            TextFormat::JsonObject => Self::JsonObject,
            TextFormat::JsonSchema { name, description, schema, strict } => {
                Self::JsonSchema { name, description, schema, strict }
            }
        }
    }
}

impl ToolEcho {
    fn of(tool: &Tool) -> Option<Self> {
        match tool.clone() {
            Tool::Function { name, description, parameters, strict } => {
                Some(Self::Function { name, description, parameters, strict })
            }
            Tool::Custom { name, description, .. } => {
                Some(Self::Custom { name, description, format: FormatEcho::Text })
            }
            Tool::Other { .. } => None,
        }
    }
}
