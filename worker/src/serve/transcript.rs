//! From engine events to the client's final bytes: an event stream or one JSON object.
//!
//! Pure but for padding: the same events give the same text. Nothing here knows frames, receipts
//! or time; [`super::body`] does.

mod stream;
mod whole;

use cocoon_openai_wire::chat::{self, FinishReason, Logprobs, Usage};

use self::stream::StreamTranscript;
use self::whole::WholeTranscript;
use super::job::Shape;
use super::record::Record;
use crate::engine::{self, Channel, TokenLogprob};

/// A whole call of a tool.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) index: u32,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// The text of one answer as it grows.
pub(super) enum Transcript {
    Stream(Box<StreamTranscript>),
    Whole(WholeTranscript),
}

impl Transcript {
    pub(super) fn new(shape: &Shape, record: &Record) -> Self {
        if shape.is_stream {
            Self::Stream(Box::new(StreamTranscript::new(shape, record)))
        } else {
            Self::Whole(WholeTranscript::new(shape, record))
        }
    }

    pub(super) fn delta(&mut self, channel: Channel, text: &str, logprobs: Vec<TokenLogprob>) {
        match self {
            Self::Stream(stream) => stream.delta(channel, text, logprobs),
            Self::Whole(whole) => whole.delta(channel, text, logprobs),
        }
    }

    pub(super) fn call(&mut self, call: Call) {
        match self {
            Self::Stream(stream) => stream.call(call),
            Self::Whole(whole) => whole.call(call),
        }
    }

    /// What can leave before the end, as the payload of one frame.
    pub(super) fn take_ready(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Stream(stream) => stream.take_ready(),
            Self::Whole(_) => None,
        }
    }

    /// The last payload. Call [`Transcript::take_ready`] first.
    pub(super) fn finish(&mut self, finish: FinishReason, usage: Usage) -> Vec<u8> {
        match self {
            Self::Stream(stream) => stream.finish(finish, usage),
            Self::Whole(whole) => whole.finish(finish, usage),
        }
    }

    pub(super) fn has_calls(&self) -> bool {
        match self {
            Self::Stream(stream) => stream.has_calls(),
            Self::Whole(whole) => whole.has_calls(),
        }
    }

    /// Whether what was delivered before a failure is of use, and so has a price.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }
}

/// `null` where nobody asked.
fn logprobs_of(is_asked: bool, tokens: Vec<TokenLogprob>) -> Option<Logprobs> {
    is_asked.then(|| Logprobs {
        content: Some(tokens.into_iter().map(token_logprob).collect()),
        refusal: None,
    })
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
fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}
