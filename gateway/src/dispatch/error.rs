//! Why a request got no answer, before the first byte of one.

use bytes::Bytes;
use cocoon_openai_wire::error::{ErrorBody, kind};
use cocoon_openai_wire::peek::PeekError;
use cocoon_primitives::Nano;
use cocoon_store::StoreError;

/// A request that ended without an answer. Nothing was charged for it.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    #[error("the request is not valid: {message}")]
    InvalidRequest { message: String, param: Option<String>, code: &'static str },
    #[error("no price and no worker for this model")]
    UnknownModel { model: String },
    #[error("the balance does not cover the worst case")]
    InsufficientFunds { needed: Nano, available: Nano },
    #[error("the key's spend cap does not cover the worst case")]
    KeyCapReached { remaining: Nano },
    #[error("no worker serves this model at the moment")]
    NoWorker,
    #[error("every worker, or this gateway, is full")]
    Saturated { retry_after_ms: u64 },
    /// A worker's own refusal: an OpenAI error object, passed to the client as it is.
    #[error("the worker refused with status {status}")]
    WorkerRefused { status: u16, body: Bytes },
    #[error("the worker was lost before its answer began")]
    WorkerLost,
    #[error("no worker answered before the deadline")]
    Deadline,
    #[error("failed to record the request")]
    Store(#[from] StoreError),
}

impl DispatchError {
    /// The error object for a stream whose status has already been sent.
    ///
    /// The status of an error before that, and its headers, are the edge's business.
    pub(crate) fn in_band(&self) -> ErrorBody {
        match self {
            Self::InvalidRequest { message, param, code } => {
                let body = ErrorBody::new(kind::INVALID_REQUEST, message.as_str()).code(*code);
                match param {
                    Some(param) => body.param(param.as_str()),
                    None => body,
                }
            }
            Self::UnknownModel { .. } => {
                ErrorBody::new(kind::NOT_FOUND, "The model does not exist.").code("model_not_found")
            }
            Self::InsufficientFunds { .. } | Self::KeyCapReached { .. } => {
                ErrorBody::new(kind::INSUFFICIENT_FUNDS, "The balance does not cover this request.")
                    .code("insufficient_funds")
            }
            Self::NoWorker => {
                ErrorBody::new(kind::UNAVAILABLE, "No worker serves this model at the moment.")
                    .code("no_worker")
            }
            Self::Saturated { .. } => {
                ErrorBody::new(kind::UNAVAILABLE, "Every worker of this model is busy.")
                    .code("overloaded")
            }
            Self::WorkerRefused { body, .. } => serde_json::from_slice(body)
                .unwrap_or_else(|_| ErrorBody::new(kind::SERVER, "The worker refused.")),
            Self::WorkerLost => worker_lost(),
            Self::Deadline => ErrorBody::new(kind::SERVER, "No worker answered in time.")
                .code("deadline_exceeded"),
            Self::Store(_) => {
                ErrorBody::new(kind::SERVER, "The request could not be recorded.").code("internal")
            }
        }
    }
}

impl From<PeekError> for DispatchError {
    fn from(invalid: PeekError) -> Self {
        let PeekError { message, param, code } = invalid;
        Self::InvalidRequest { message, param, code }
    }
}

/// What a client reads when the worker behind its stream is gone.
pub(crate) fn worker_lost() -> ErrorBody {
    ErrorBody::new(kind::SERVER, "The worker was lost before its answer was complete.")
        .code("worker_lost")
}
