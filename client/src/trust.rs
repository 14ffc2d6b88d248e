//! What a gateway's words are held to: the user's own policy, workers' evidence, and its log.
//!
//! Shape: [`policy`] reads the user's file; [`worker`] examines evidence under it; [`log`] follows
//! the gateway's log from the last head that was seen here; [`report`] asks workers for evidence
//! over a nonce of our own. Invariant: nothing of the gateway's is believed that one of these can
//! check.

mod doubt;
pub(crate) mod log;
pub(crate) mod policy;
pub(crate) mod report;
pub(crate) mod worker;

pub(crate) use doubt::{Doubt, TrustError};
