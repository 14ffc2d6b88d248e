//! From engine events to the client's final bytes: an event stream or one JSON object.
//!
//! Pure but for padding: the same events give the same text. Nothing here knows frames, receipts
//! or time; [`super::body`] does.

mod chat_stream;
mod chat_whole;
mod completions;
mod embeddings;

use cocoon_openai_wire::chat::{self, Logprobs};
use cocoon_openai_wire::error::ErrorObject;

use self::chat_stream::ChatStream;
use self::chat_whole::ChatWhole;
use self::completions::Completions;
use self::embeddings::EmbeddingsWhole;
use super::plan::Shape;
use super::record::Record;
use super::responses::ResponsesTranscript;
use crate::engine::{self, Channel, FinishReason, TokenLogprob, Usage};

/// A whole call of a tool.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) index: u32,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// What every object of one answer repeats.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The answer's `id`.
    pub(super) id: String,
    pub(super) model: String,
    /// Unix seconds.
    pub(super) created: u64,
}

/// The text of one answer as it grows. Choices are counted from 0.
pub(super) enum Transcript {
    ChatStream(Box<ChatStream>),
    ChatWhole(ChatWhole),
    Responses(Box<ResponsesTranscript>),
    Completions(Box<Completions>),
    Embeddings(EmbeddingsWhole),
}

impl Transcript {
    pub(super) fn new(shape: Shape, record: &Record) -> Self {
        match shape {
            Shape::Chat(shape) if shape.is_stream => {
                Self::ChatStream(Box::new(ChatStream::new(shape, record.facts())))
            }
            Shape::Chat(shape) => Self::ChatWhole(ChatWhole::new(shape, record.facts())),
            Shape::Responses(shape) => {
                Self::Responses(Box::new(ResponsesTranscript::new(*shape, record)))
            }
            Shape::Completions(shape) => {
                Self::Completions(Box::new(Completions::new(shape, record.facts())))
            }
            Shape::Embeddings(shape) => {
                Self::Embeddings(EmbeddingsWhole::new(shape, record.facts()))
            }
        }
    }

    pub(super) fn delta(
        &mut self,
        choice: u32,
        channel: Channel,
        text: &str,
        logprobs: Vec<TokenLogprob>,
    ) {
        match self {
            Self::ChatStream(stream) => stream.delta(choice, channel, text, logprobs),
            Self::ChatWhole(whole) => whole.delta(choice, channel, text, logprobs),
            Self::Responses(responses) => responses.delta(channel, text, logprobs),
            Self::Completions(completions) => completions.delta(choice, text, logprobs),
            Self::Embeddings(_) => {}
        }
    }

    pub(super) fn call(&mut self, choice: u32, call: Call) {
        match self {
            Self::ChatStream(stream) => stream.call(choice, call),
            Self::ChatWhole(whole) => whole.call(choice, call),
            Self::Responses(responses) => responses.call(call),
            Self::Completions(_) | Self::Embeddings(_) => {}
        }
    }

    /// Takes the vector of the input at `index`. False where the answer has no place for it.
    pub(super) fn vector(&mut self, index: u32, vector: Vec<f32>) -> bool {
        match self {
            Self::Embeddings(embeddings) => embeddings.vector(index, vector),
            _ => false,
        }
    }

    /// Whether everything is there that an answer must have besides an end.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Embeddings(embeddings) => embeddings.is_complete(),
            _ => true,
        }
    }

    pub(super) fn has_calls(&self, choice: u32) -> bool {
        match self {
            Self::ChatStream(stream) => stream.has_calls(choice),
            Self::ChatWhole(whole) => whole.has_calls(choice),
            Self::Responses(responses) => responses.has_calls(),
            Self::Completions(_) | Self::Embeddings(_) => false,
        }
    }

    /// Ends one choice, once: a stream writes its finish.
    pub(super) fn end_choice(&mut self, choice: u32, finish: FinishReason) {
        match self {
            Self::ChatStream(stream) => stream.end_choice(choice, finish),
            Self::ChatWhole(whole) => whole.end_choice(choice, finish),
            Self::Responses(responses) => responses.end(finish),
            Self::Completions(completions) => completions.end_choice(choice, finish),
            Self::Embeddings(_) => {}
        }
    }

    /// What can leave before the end, as the payload of one frame.
    pub(super) fn take_ready(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::ChatStream(stream) => stream.take_ready(),
            Self::Responses(responses) => responses.take_ready(),
            Self::Completions(completions) => completions.take_ready(),
            Self::ChatWhole(_) | Self::Embeddings(_) => None,
        }
    }

    /// The last payload, after every choice has ended: what is left, the usage, the end.
    pub(super) fn finish(&mut self, usage: Usage) -> Vec<u8> {
        match self {
            Self::ChatStream(stream) => stream.finish(usage),
            Self::ChatWhole(whole) => whole.finish(usage),
            Self::Responses(responses) => responses.finish(usage),
            Self::Completions(completions) => completions.finish(usage),
            Self::Embeddings(embeddings) => embeddings.finish(usage),
        }
    }

    /// The events that tell the client of a failure in the words of its own protocol, where that
    /// has any; what was ready was taken before.
    pub(super) fn failure(&mut self, error: &ErrorObject) -> Option<String> {
        match self {
            Self::Responses(responses) => responses.failure(error),
            Self::ChatStream(_)
            | Self::ChatWhole(_)
            | Self::Completions(_)
            | Self::Embeddings(_) => None,
        }
    }

    /// Whether what was delivered before a failure is of use, and so has a price.
    pub(super) fn is_stream(&self) -> bool {
        match self {
            Self::ChatStream(_) => true,
            Self::Responses(responses) => responses.is_stream(),
            Self::Completions(completions) => completions.is_stream(),
            Self::ChatWhole(_) | Self::Embeddings(_) => false,
        }
    }
}

/// A choice's place in a list, or the length of a list of choices.
fn place(choice: u32) -> usize {
    usize::try_from(choice).unwrap_or(usize::MAX)
}

fn chat_finish(finish: FinishReason, has_functions: bool) -> chat::FinishReason {
    match finish {
        FinishReason::ToolCalls if has_functions => chat::FinishReason::FunctionCall,
        FinishReason::Stop => chat::FinishReason::Stop,
        FinishReason::Length => chat::FinishReason::Length,
        FinishReason::ToolCalls => chat::FinishReason::ToolCalls,
        FinishReason::ContentFilter => chat::FinishReason::ContentFilter,
    }
}

fn chat_usage(usage: Usage) -> chat::Usage {
    chat::Usage::new(usage.prompt, usage.cached, usage.completion, usage.reasoning)
}

/// `null` where nobody asked.
pub(super) fn logprobs_of(is_asked: bool, tokens: Vec<TokenLogprob>) -> Option<Logprobs> {
    is_asked.then(|| Logprobs { content: Some(chat_logprobs(tokens)), refusal: None })
}

/// Log probabilities as chat completions and responses both write them.
pub(super) fn chat_logprobs(tokens: Vec<TokenLogprob>) -> Vec<chat::TokenLogprob> {
    tokens.into_iter().map(token_logprob).collect()
}

fn token_logprob(token: TokenLogprob) -> chat::TokenLogprob {
    let top = |top: engine::TopLogprob| chat::TopLogprob {
        token: top.token,
        logprob: finite(top.logprob),
        bytes: Some(top.bytes),
    };
    chat::TokenLogprob {
        token: token.token,
        logprob: finite(token.logprob),
        bytes: Some(token.bytes),
        top_logprobs: token.top.into_iter().map(top).collect(),
    }
}

/// JSON has no infinity; the API writes -9999 for a token that is all but impossible.
pub(super) fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}
