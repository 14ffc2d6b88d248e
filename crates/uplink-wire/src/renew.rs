//! Renewal of a lease, as the bodies of one request and its answer.

use serde::{Deserialize, Serialize};

use crate::byte_string;
use crate::enrol::WORKER_MESSAGE_BYTES_MAX;

/// Bytes in a renewal's body at most, either way: evidence is as long as at enrolment.
pub const RENEWAL_BYTES_MAX: usize = WORKER_MESSAGE_BYTES_MAX;

/// From the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewalRequest {
    /// Prove that the same keys hold the same connection.
    Light {
        #[serde(with = "byte_string")]
        nonce: [u8; 32],
    },
    /// Bring evidence again, for this challenge.
    #[serde(with = "byte_string")]
    Full(Vec<u8>),
}

/// From the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewalAnswer {
    Light {
        #[serde(with = "byte_string")]
        signature: [u8; 64],
    },
    #[serde(with = "byte_string")]
    Full(Vec<u8>),
}
