//! The words of a job: how to sample, what to hold to, what came out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How the next token is chosen. Every number is finite; the worker checks that before it sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    pub top_p: f32,
    /// The same seed with the same request gives the same text. `None`: fresh randomness.
    pub seed: Option<u64>,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    /// Added to the logit of a token id.
    pub logit_bias: Vec<(u32, f32)>,
}

/// Whether the model may, or must, call a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolChoice {
    Auto,
    /// Tools are not shown to the model and no call is parsed.
    None,
    /// At least one call, of any tool, and nothing else.
    Required,
    /// One call of this function, and nothing else.
    Named(String),
}

/// How much a thinking model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reasoning {
    /// As its template does by itself.
    Default,
    Off,
    Low,
    Medium,
    High,
}

/// One text to embed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EmbedInput {
    Text(String),
    Tokens(Vec<u32>),
}

/// A shape that the answer must have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Constraint {
    None,
    /// Any JSON object.
    JsonObject,
    /// JSON that this schema accepts.
    JsonSchema(Value),
}

/// Where a piece of text belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channel {
    Content,
    /// What a thinking model says before it answers.
    Reasoning,
}

/// Why generation ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

/// Tokens of one job. `cached` is part of `prompt`, `reasoning` part of `completion`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub prompt: u64,
    pub cached: u64,
    pub completion: u64,
    pub reasoning: u64,
}

/// The natural logarithm of a token's probability, before temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    pub token: String,
    pub bytes: Vec<u8>,
    pub logprob: f32,
    /// The likeliest tokens at this place, likeliest first.
    pub top: Vec<TopLogprob>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    pub token: String,
    pub bytes: Vec<u8>,
    pub logprob: f32,
}
