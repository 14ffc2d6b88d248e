//! Enrolment: hello → challenge → evidence → lease or refusal.
//!
//! Source: the attestation design §4.2. Challenge, evidence and lease are byte strings that
//! `cocoon-attest` wrote and reads: a verifier hashes what it received, never a re-encoding.

use serde::{Deserialize, Serialize};

use crate::byte_string;

/// Bytes in a worker's message at most: evidence of 1 MiB (quote, endorsements, event log, devices)
/// and the few bytes around it.
pub const WORKER_MESSAGE_BYTES_MAX: usize = 1024 * 1024 + 64;
/// Bytes in a gateway's message at most.
pub const GATEWAY_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// From the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerMessage {
    Hello(Hello),
    #[serde(with = "byte_string")]
    Evidence(Vec<u8>),
}

/// The first message of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`crate::VERSION`]; another one is refused.
    pub v: u8,
}

/// From the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayMessage {
    #[serde(with = "byte_string")]
    Challenge(Vec<u8>),
    #[serde(with = "byte_string")]
    Lease(Vec<u8>),
    Refused(Refused),
}

/// Why there is no lease: the last message of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// A stable code such as `wrong_nonce`.
    pub reason: String,
    /// The same for a person.
    pub message: String,
}
