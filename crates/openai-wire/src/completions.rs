//! Completions of plain text: the request as a typed view, and the shapes of an answer.
//!
//! The oldest endpoint, for programs that write their prompt themselves. A [`CompletionsRequest`]
//! keeps what it does not know in `extra`. A whole answer and a chunk of a stream are the same
//! object, [`Completion`].

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::chat::{FinishReason, StreamOptions, Usage, logit_bias, stop, stream_options};
use crate::endpoint::Endpoint;
use crate::error::InvalidRequest;
use crate::fields::{Checked, Fields};
use crate::inputs::{Input, inputs};
use crate::peek::{self, Peek};

/// Alternatives reported for one token.
pub const LOGPROBS_MAX: u8 = 5;

/// What a client asks for. Types and ranges are checked; whether it can be honoured is not.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionsRequest {
    pub model: String,
    /// At least one.
    pub prompts: Vec<Input>,
    pub stream: bool,
    pub stream_options: StreamOptions,
    /// Of one choice; 16 where the client names none.
    pub max_tokens: Option<u64>,
    /// Choices of each prompt.
    pub n: u32,
    pub best_of: Option<i64>,
    pub echo: bool,
    pub suffix: Option<String>,
    /// How many likeliest tokens to report for each; `None` reports nothing.
    pub logprobs: Option<u8>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub seed: Option<i64>,
    pub stop: Vec<String>,
    pub logit_bias: Vec<(u32, f32)>,
    /// Every field that this view does not name, as it came; `null`s included.
    pub extra: Map<String, Value>,
}

impl CompletionsRequest {
    /// Reads a body that [`peek::read`] takes; both always agree about model, stream and limits.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidRequest> {
        Self::parse_peeked(&peek::read(Endpoint::Completions, body)?, body)
    }

    /// The same for a body that was looked at already, as `peek`.
    pub fn parse_peeked(peek: &Peek<'_>, body: &[u8]) -> Result<Self, InvalidRequest> {
        let map = serde_json::from_slice(body).map_err(|error| peek::unreadable(&error))?;
        let mut fields = Fields::top(map);
        for known in ["model", "stream", "max_tokens", "n"] {
            fields.take(known);
        }
        Ok(Self {
            model: peek.model.clone().into_owned(),
            prompts: inputs(&mut fields, "prompt")?,
            stream: peek.stream,
            stream_options: stream_options(&mut fields, peek.include_usage)?,
            max_tokens: peek.max_tokens,
            n: peek.choices / peek.prompts.max(1),
            best_of: fields.integer("best_of")?,
            echo: fields.boolean("echo")?.unwrap_or(false),
            suffix: fields.text("suffix")?,
            logprobs: logprobs(&mut fields)?,
            temperature: fields.number("temperature", 0.0..=2.0)?,
            top_p: fields.number("top_p", 0.0..=1.0)?,
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?,
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?,
            seed: fields.integer("seed")?,
            stop: stop(&mut fields)?,
            logit_bias: logit_bias(&mut fields)?,
            extra: fields.rest(),
        })
    }
}

fn logprobs(fields: &mut Fields) -> Checked<Option<u8>> {
    let Some(count) = fields.integer("logprobs")? else { return Ok(None) };
    match u8::try_from(count) {
        Ok(count) if count <= LOGPROBS_MAX => Ok(Some(count)),
        _ => Err(fields.invalid("logprobs", "expected a value from 0 to 5")),
    }
}

/// A whole answer, or one event of a streamed one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Completion<'a> {
    pub id: Cow<'a, str>,
    pub object: Cow<'static, str>,
    pub created: u64,
    pub model: Cow<'a, str>,
    pub choices: Vec<CompletionChoice>,
    /// Outer `None`: no such key. Inner `None`: `null`, as on every chunk but the last where the
    /// client asked for usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

impl Completion<'_> {
    pub const OBJECT: &'static str = "text_completion";

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an answer has string keys and finite numbers")
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompletionChoice {
    pub text: String,
    pub index: u32,
    pub logprobs: Option<CompletionLogprobs>,
    /// `null` on every chunk but a choice's last.
    pub finish_reason: Option<FinishReason>,
}

/// Four lists of equal length, one entry for each token.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CompletionLogprobs {
    pub tokens: Vec<String>,
    pub token_logprobs: Vec<f32>,
    /// The likeliest tokens at each place and the one that was taken, with their logarithms.
    pub top_logprobs: Vec<TopTokens>,
    /// Where each token begins in the text, in characters.
    pub text_offset: Vec<u64>,
}

/// Tokens at one place with their logarithms, written as one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopTokens(Vec<(String, f32)>);

impl TopTokens {
    /// Of two tokens with the same text the first counts.
    pub fn add(&mut self, token: String, logprob: f32) {
        if self.0.iter().all(|(known, _)| *known != token) {
            self.0.push((token, logprob));
        }
    }
}

impl Serialize for TopTokens {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.0.iter().map(|(token, logprob)| (token, logprob)))
    }
}
