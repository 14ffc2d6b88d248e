//! Why a request got no answer, or no end of one.
//!
//! What each of them looks like to a client, as a response or as an event in a stream, is in
//! `edge::problem` and only there.

use bytes::Bytes;
use cocoon_openai_wire::peek::PeekError;
use cocoon_primitives::{Nano, RequestId};
use cocoon_store::StoreError;

use crate::rates::RateLimited;

/// A request that ended without a whole answer. Nothing was charged for it unless a part of a
/// stream had been delivered.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    #[error("the request is not valid: {message}")]
    InvalidRequest { message: String, param: Option<String>, code: &'static str },
    #[error("no price and no worker for this model")]
    UnknownModel { model: String },
    #[error("the request cannot be paid for")]
    Funds(#[from] FundsError),
    #[error("the wallet goes too fast")]
    RateLimited(#[from] RateLimited),
    #[error("no worker serves this model at the moment")]
    NoWorker,
    #[error("every worker, or this gateway, is full")]
    Saturated { retry_after_ms: u64 },
    /// A worker's own refusal: an OpenAI error object, passed to the client as it is. Where it is
    /// final the same request would end so again.
    #[error("the worker refused with status {status}")]
    WorkerRefused { status: u16, body: Bytes, is_final: bool },
    /// The same, of a sealed request: nothing of it is for us to read.
    #[error("the worker refused a sealed request with status {status}")]
    SealedRefused { status: u16, body: Bytes },
    /// None of the workers that the request is sealed to is here any more, or none can open it.
    #[error("no worker here can open the sealed request")]
    SealKeys,
    #[error("the sealed request was sent before")]
    SealedRepeat { receipt: RequestId },
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

/// What money is missing. `held` is what running requests hold now, and may give back in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FundsError {
    #[error("the balance does not cover the worst case")]
    Balance { needed: Nano, available: Nano, held: Nano },
    #[error("the key's spend cap does not cover the worst case")]
    KeyCap { needed: Nano, remaining: Nano, held: Nano },
    /// Found before the request was read.
    #[error("nothing is available")]
    Nothing { held: Nano },
}

impl FundsError {
    /// Whether the request could be paid for if nothing was held.
    pub(crate) fn is_held(&self) -> bool {
        match *self {
            Self::Balance { needed, available: left, held }
            | Self::KeyCap { needed, remaining: left, held } => {
                held > Nano::ZERO && left.get().saturating_add(held.get()) >= needed.get()
            }
            Self::Nothing { held } => held > Nano::ZERO,
        }
    }
}

impl From<PeekError> for DispatchError {
    fn from(invalid: PeekError) -> Self {
        let PeekError { message, param, code } = invalid;
        Self::InvalidRequest { message, param, code }
    }
}
