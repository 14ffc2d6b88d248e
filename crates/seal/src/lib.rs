//! Requests that only an attested worker can read: the protocol "cocoon-e2ee/1".
//!
//! Shape: a client writes the clear [`Head`] of a request and [`seal`]s the body to the keys of up
//! to four workers; a worker [`open`]s it and answers in frames of an [`AnswerSealer`], which the
//! client reads with an [`AnswerOpener`]. A gateway between them sees the head, lengths in
//! buckets, and times.
//!
//! Invariants:
//! - Pure: random bytes and time are arguments.
//! - The head is bound to the body, the key of a worker to its evidence, every frame to its place
//!   and to the last one; nothing of it can be changed without being refused.
//! - Secrets are overwritten when they are dropped, and nothing prints them.
//! - No bytes of a stranger cause a panic, and every length is bounded before memory is taken.
//!
//! Source: docs/sealed-requests.md, which another implementation can be written from.

mod aad;
mod answer;
mod error;
mod head;
pub mod headers;
mod key_pair;
mod padding;
mod request;
mod seal_keys;
mod suite;

pub use self::answer::message::{AnswerHead, SealedRefusal};
pub use self::answer::opener::{AnswerOpener, Frame};
pub use self::answer::sealer::AnswerSealer;
pub use self::answer::{
    AnswerKeys, AnswerSecret, FRAME_DATA_BYTES_MAX, FrameKind, KEEP_ALIVE, PAYLOAD_BYTES_MAX,
    PREAMBLE_BYTES,
};
pub use self::error::{OpenError, SealError};
pub use self::head::{Head, HeadError, HeadFault};
pub use self::key_pair::KeyPair;
pub use self::padding::{BODY_BYTES_MAX, SEALED_BODY_BYTES_MAX};
pub use self::request::{Opened, Recipient, SealRandom, open, seal};
pub use self::seal_keys::{SealKeys, Wrapped};

/// The protocol's name, first in everything that is authenticated.
pub const PROTOCOL: &str = "cocoon-e2ee/1";
/// The content type of sealed bodies, both ways.
pub const CONTENT_TYPE: &str = "application/cocoon-sealed";
/// Workers that one request can be sealed to.
pub const RECIPIENTS_MAX: usize = 4;

#[cfg(test)]
mod tests;
