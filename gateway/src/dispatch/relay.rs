//! What a worker's frames mean: the order they must come in, and the count they carry.
//!
//! Pure. An answer is `data* receipt data end`, heartbeats anywhere before the last data frame;
//! an error frame ends it early. The cumulative count never falls and never passes the limit that
//! the gateway wrote into the request, so what is charged never passes the reservation. Anything
//! else is the worker's fault, and nothing of the frame at fault is forwarded.
//! Source: the frame sequence of crate `uplink-wire`.

use bytes::Bytes;
use cocoon_attest::receipt::SignedReceipt;
use cocoon_openai_wire::error::{ErrorBody, ErrorObject};
use cocoon_uplink_wire::{Frame, FrameError, FrameKind};
use serde::Deserialize;

use super::error::DispatchError;

/// The longest error frame: it may carry the end of a Responses stream, which repeats the answer's
/// output so far and the request's tools.
const ERROR_BYTES_MAX: usize = 8 << 20;
/// The code under which a worker says that its engine crashed.
const ENGINE_FAILED: &str = "engine_failed";

/// One answer in progress.
#[derive(Debug)]
pub(crate) struct Relay {
    completion_max: u32,
    completion: u32,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The receipt has come: one more data frame.
    Receipted,
    Over,
}

/// What to do about one frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Nothing for the client.
    Wait,
    Forward(Bytes),
    /// Keep it: one more data frame follows.
    Receipt(Bytes),
    /// The end of the answer: settle with the receipt, then forward.
    Last(Bytes),
    /// The worker ended the answer with an error of its own.
    Failed(WorkerError),
    Fault(Fault),
}

/// How a worker broke the rules of the frame sequence.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the token count fell from {from} to {to}")]
    CountFell { from: u32, to: u32 },
    #[error("{count} tokens were sent where {limit} were allowed")]
    OverLimit { count: u32, limit: u32 },
    #[error("a token was counted after the receipt")]
    CountAfterReceipt,
    #[error("a second receipt came")]
    SecondReceipt,
    #[error("a receipt or error frame is too long")]
    Oversize,
    #[error("an error frame is not readable")]
    UnreadableError,
    #[error("a frame came after the last one")]
    AfterLast,
    #[error("the frames are malformed")]
    Malformed(#[from] FrameError),
    #[error("the response head says {prompt} prompt tokens where {limit} are possible")]
    PromptOverLimit { prompt: u64, limit: u64 },
    #[error("the response head is not readable")]
    UnreadableHead,
    #[error("the answer is longer than {limit} bytes")]
    AnswerTooLong { limit: usize },
}

/// A worker's error frame, or its refusal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WorkerError {
    pub(crate) status: u16,
    /// Another worker may do better.
    pub(crate) retryable: bool,
    /// Completion tokens before the error, as the worker counts them.
    pub(crate) generated: u32,
    pub(crate) body: ErrorBody,
    /// What tells the client of it in the shape of its endpoint, where that is not the error
    /// object alone.
    pub(crate) event: Option<String>,
}

impl WorkerError {
    /// Whether it counts against its worker. What no other worker could do better is the
    /// request's own fault, whatever its status, a worker that is full is not broken, and one that
    /// cannot open what a client sealed may be right: a client must not have honest workers passed
    /// over.
    pub(crate) fn is_fault(&self) -> bool {
        self.retryable && !matches!(self.status, 422 | 429 | 503)
    }

    /// Whether the request was the engine's last.
    pub(crate) fn is_crash(&self) -> bool {
        self.body.error.code.as_deref() == Some(ENGINE_FAILED)
    }
}

impl From<WorkerError> for DispatchError {
    fn from(error: WorkerError) -> Self {
        let WorkerError { status, retryable, body, .. } = error;
        Self::WorkerRefused { status, body: body.to_json().into(), is_final: !retryable }
    }
}

#[derive(Deserialize)]
struct WorkerErrorForm {
    status: u16,
    retryable: bool,
    error: ErrorObject,
    #[serde(default)]
    event: Option<String>,
}

impl Relay {
    pub(crate) fn new(completion_max: u32) -> Self {
        Self { completion_max, completion: 0, phase: Phase::Open }
    }

    /// Completion tokens so far, as the worker counts them; at most the limit.
    pub(crate) fn completion(&self) -> u32 {
        self.completion
    }

    pub(crate) fn step(&mut self, frame: Frame) -> Step {
        let step = match (self.phase, frame.kind) {
            (Phase::Over, _) => Err(Fault::AfterLast),
            // The count in a heartbeat says nothing that the next frame does not.
            (_, FrameKind::Heartbeat) => Ok(Step::Wait),
            (Phase::Open, FrameKind::Data) => {
                self.count(frame.cumulative).map(|()| Step::Forward(frame.payload))
            }
            (Phase::Receipted, FrameKind::Data) => self.last(frame),
            (Phase::Open, FrameKind::Receipt) => self.receipt(frame),
            (Phase::Receipted, FrameKind::Receipt) => Err(Fault::SecondReceipt),
            (_, FrameKind::Error) => self.error(&frame),
        };
        step.unwrap_or_else(|fault| {
            self.phase = Phase::Over;
            Step::Fault(fault)
        })
    }

    fn last(&mut self, frame: Frame) -> Result<Step, Fault> {
        if frame.cumulative != self.completion {
            return Err(Fault::CountAfterReceipt);
        }
        self.phase = Phase::Over;
        Ok(Step::Last(frame.payload))
    }

    fn receipt(&mut self, frame: Frame) -> Result<Step, Fault> {
        if frame.payload.len() > SignedReceipt::BYTES_MAX {
            return Err(Fault::Oversize);
        }
        // Tokens without text of their own, such as the one that ends a turn, are counted here.
        self.count(frame.cumulative)?;
        self.phase = Phase::Receipted;
        Ok(Step::Receipt(frame.payload))
    }

    fn error(&mut self, frame: &Frame) -> Result<Step, Fault> {
        let error = read_error(frame)?;
        self.phase = Phase::Over;
        Ok(Step::Failed(error))
    }

    fn count(&mut self, cumulative: u32) -> Result<(), Fault> {
        if cumulative < self.completion {
            return Err(Fault::CountFell { from: self.completion, to: cumulative });
        }
        if cumulative > self.completion_max {
            let limit = self.completion_max;
            return Err(Fault::OverLimit { count: cumulative, limit });
        }
        self.completion = cumulative;
        Ok(())
    }
}

/// Reads an error frame. Its error object is written anew before a client sees it.
pub(crate) fn read_error(frame: &Frame) -> Result<WorkerError, Fault> {
    if frame.payload.len() > ERROR_BYTES_MAX {
        return Err(Fault::Oversize);
    }
    let WorkerErrorForm { status, retryable, error, event } =
        serde_json::from_slice(&frame.payload).map_err(|_| Fault::UnreadableError)?;
    if !(400..=599).contains(&status) {
        return Err(Fault::UnreadableError);
    }
    let (generated, body) = (frame.cumulative, ErrorBody { error });
    Ok(WorkerError { status, retryable, generated, body, event })
}

#[cfg(test)]
mod tests;
