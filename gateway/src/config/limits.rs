//! The bounds that an operator may move, and where they stand otherwise.

use std::time::Duration;

/// Bounds of the edge and of single requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections to the API.
    pub connections: usize,
    /// Requests under `/v1` between their head and the last byte of their answer.
    pub requests_in_flight: usize,
    /// Of those, what one wallet's keys and sessions may run together.
    pub requests_per_wallet: usize,
    /// Bytes of an inference request's body.
    pub body_bytes: usize,
    /// Bytes that the bodies of all inference requests may hold at once.
    pub body_bytes_in_flight: usize,
    /// From a request's head to the end of its body.
    pub body_timeout: Duration,
    /// From a connection's readiness to the end of a request's head: idle time counts.
    pub header_timeout: Duration,
    /// From an inference request's acceptance to the end of its answer.
    pub request_timeout: Duration,
    /// Completion tokens of one choice, whatever was asked for.
    pub completion_tokens: u64,
}

impl Limits {
    pub(super) const STANDARD: Self = Self {
        connections: 10_000,
        requests_in_flight: 1024,
        requests_per_wallet: 256,
        body_bytes: 32 << 20,
        body_bytes_in_flight: 512 << 20,
        body_timeout: Duration::from_secs(30),
        header_timeout: Duration::from_secs(60),
        request_timeout: Duration::from_secs(600),
        completion_tokens: 32_768,
    };
}
