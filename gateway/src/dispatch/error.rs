//! Why a request got no answer, or no end of one.
//!
//! What each of them looks like to a client, as a response or as an event in a stream, is in
//! `edge::problem` and only there.

use bytes::Bytes;
use cocoon_openai_wire::peek::PeekError;
use cocoon_primitives::Nano;
use cocoon_store::StoreError;

/// A request that ended without a whole answer. Nothing was charged for it unless a part of a
/// stream had been delivered.
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
    #[error("the worker was lost before its answer was complete")]
    WorkerLost,
    #[error("the worker broke the protocol")]
    WorkerFault,
    #[error("the worker's receipt does not match its answer")]
    ReceiptMismatch,
    #[error("there was no whole answer before the deadline")]
    Deadline,
    #[error("failed to record the request")]
    Store(#[from] StoreError),
}

impl From<PeekError> for DispatchError {
    fn from(invalid: PeekError) -> Self {
        let PeekError { message, param, code } = invalid;
        Self::InvalidRequest { message, param, code }
    }
}
