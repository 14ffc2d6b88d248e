//! What a client gets back.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    FunctionCall,
    /// A word of another server; never sent by this project.
    #[serde(other)]
    Unknown,
}

/// The token counts of a whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub prompt_tokens: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub completion_tokens: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub total_tokens: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub prompt_tokens_details: PromptDetails,
    #[serde(default, deserialize_with = "null_as_default")]
    pub completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptDetails {
    #[serde(default, deserialize_with = "null_as_default")]
    pub cached_tokens: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub audio_tokens: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletionDetails {
    #[serde(default, deserialize_with = "null_as_default")]
    pub reasoning_tokens: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub audio_tokens: u64,
    /// Of a prediction; nothing here predicts.
    #[serde(default, deserialize_with = "null_as_default")]
    pub accepted_prediction_tokens: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub rejected_prediction_tokens: u64,
}

impl Usage {
    /// `cached` is a part of `prompt`, `reasoning` a part of `completion`.
    pub fn new(prompt: u64, cached: u64, completion: u64, reasoning: u64) -> Self {
        Self {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt.saturating_add(completion),
            prompt_tokens_details: PromptDetails { cached_tokens: cached, audio_tokens: 0 },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: reasoning,
                ..CompletionDetails::default()
            },
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletion {
    pub id: String,
    #[serde(default = "completion_object")]
    pub object: Cow<'static, str>,
    #[serde(default)]
    pub created: u64,
    pub model: String,
    pub choices: Vec<Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// There is one: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<Cow<'static, str>>,
    /// Deprecated.
    #[serde(default)]
    pub system_fingerprint: Option<String>,
}

impl ChatCompletion {
    pub const OBJECT: &'static str = "chat.completion";

    pub fn new(
        id: String,
        created: u64,
        model: String,
        choices: Vec<Choice>,
        usage: Usage,
    ) -> Self {
        let (object, usage) = (completion_object(), Some(usage));
        let service_tier = Some(Cow::Borrowed("default"));
        Self { id, object, created, model, choices, usage, service_tier, system_fingerprint: None }
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an answer has string keys and finite numbers")
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    #[serde(default)]
    pub index: u32,
    pub message: AnswerMessage,
    #[serde(default)]
    pub logprobs: Option<Logprobs>,
    #[serde(default)]
    pub finish_reason: Option<FinishReason>,
}

/// The assistant's message in a whole answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerMessage {
    #[serde(default = "assistant")]
    pub role: Cow<'static, str>,
    #[serde(default)]
    pub content: Option<String>,
    #[serde(default)]
    pub refusal: Option<String>,
    /// Citations of a search, of which there is none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: Vec<Value>,
    #[serde(default, alias = "reasoning", skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Deprecated: the call of one of the request's `functions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function_call: Option<ToolFunction>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    pub id: String,
    #[serde(rename = "type", default = "function")]
    pub kind: Cow<'static, str>,
    pub function: ToolFunction,
}

impl ToolCall {
    pub fn new(id: String, name: String, arguments: String) -> Self {
        Self { id, kind: function(), function: ToolFunction { name, arguments } }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolFunction {
    pub name: String,
    /// JSON as text; models write it, so it may be anything.
    #[serde(default)]
    pub arguments: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Logprobs {
    #[serde(default)]
    pub content: Option<Vec<TokenLogprob>>,
    #[serde(default)]
    pub refusal: Option<Vec<TokenLogprob>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    pub token: String,
    pub logprob: f32,
    #[serde(default)]
    pub bytes: Option<Vec<u8>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub top_logprobs: Vec<TopLogprob>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    pub token: String,
    pub logprob: f32,
    #[serde(default)]
    pub bytes: Option<Vec<u8>>,
}

/// One event of a streamed answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletionChunk<'a> {
    #[serde(borrow, default)]
    pub id: Cow<'a, str>,
    #[serde(default = "chunk_object")]
    pub object: Cow<'static, str>,
    #[serde(default)]
    pub created: u64,
    #[serde(borrow, default)]
    pub model: Cow<'a, str>,
    #[serde(default)]
    pub choices: Vec<ChunkChoice>,
    /// Outer `None`: no such key. Inner `None`: `null`, as on every chunk but the last where the
    /// client asked for usage.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
    /// Padding that hides the length of a delta from whoever watches the line.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub obfuscation: Option<Cow<'a, str>>,
}

impl ChatCompletionChunk<'_> {
    pub const OBJECT: &'static str = "chat.completion.chunk";
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkChoice {
    #[serde(default)]
    pub index: u32,
    #[serde(default, deserialize_with = "null_as_default")]
    pub delta: Delta,
    #[serde(default)]
    pub logprobs: Option<Logprobs>,
    #[serde(default)]
    pub finish_reason: Option<FinishReason>,
}

/// What a chunk adds to the message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    #[serde(default, alias = "reasoning", skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallDelta>,
    /// Deprecated: the call of one of the request's `functions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function_call: Option<ToolFunctionDelta>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallDelta {
    #[serde(default)]
    pub index: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<ToolFunctionDelta>,
}

impl ToolCallDelta {
    /// A whole call in one delta.
    pub fn whole(index: u32, id: String, name: String, arguments: String) -> Self {
        let function = ToolFunctionDelta { name: Some(name), arguments: Some(arguments) };
        Self { index, id: Some(id), kind: Some(self::function()), function: Some(function) }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolFunctionDelta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}

fn completion_object() -> Cow<'static, str> {
    Cow::Borrowed(ChatCompletion::OBJECT)
}

fn chunk_object() -> Cow<'static, str> {
    Cow::Borrowed(ChatCompletionChunk::OBJECT)
}

fn assistant() -> Cow<'static, str> {
    Cow::Borrowed("assistant")
}

fn function() -> Cow<'static, str> {
    Cow::Borrowed("function")
}

fn null_as_default<'de, T, D>(input: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// A key that is there, even as `null`, is `Some`.
fn present<'de, T, D>(input: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(input).map(Some)
}
