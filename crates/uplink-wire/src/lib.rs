//! What a gateway and a worker say to each other, as types and bounded decoders.
//!
//! Shape of a connection (the worker dials, TLS 1.3, ALPN [`ALPN`]):
//! 1. [`enrol`]: length-prefixed messages until the gateway grants a lease;
//! 2. HTTP/2 with the gateway as client: requests with [`headers`], answered with [`frame`]s;
//! 3. one long request to [`headers::EVENTS_PATH`] that carries [`event`]s both ways;
//! 4. [`renew`] as a request of the gateway.
//!
//! Pure: bytes in, values out. Every decoder has a bound, rejects what its encoder would not
//! have written, and never panics. Signed things travel as verbatim byte strings that
//! `cocoon-attest` reads.

mod byte_string;
pub mod enrol;
pub mod event;
pub mod frame;
pub mod headers;
pub mod message;
pub mod renew;

pub use frame::{Frame, FrameDecoder, FrameError, FrameKind, encode_frame};
pub use message::{MessageDecoder, MessageError};

/// The protocol's name in TLS.
pub const ALPN: &[u8] = b"cocoon-uplink/1";

/// The version that every first message carries.
pub const VERSION: u8 = 1;
