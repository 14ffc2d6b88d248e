//! The domain's words as types: money, token counts, prices, identifiers and time.
//!
//! Pure: no clock, no randomness, no IO. Every other crate speaks in these types, so a
//! nano-coin can never be added to a token and a wallet can never be taken for a worker.

mod id;
mod model;
mod money;
mod text;
mod time;
mod wallet;

pub use id::{Digest, KeyId, LeaseId, RequestId, WorkerId};
pub use model::{Assurance, ModelKind, ModelName};
pub use money::{Nano, TokenCount, TokenPrice};
pub use text::ParseError;
pub use time::{Clock, MockClock, Timestamp};
pub use wallet::WalletAddress;
