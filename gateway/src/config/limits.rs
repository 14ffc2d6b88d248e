//! The bounds that an operator may move, and where they stand otherwise: section `[limits]`, under
//! the same names; times end in `_ms` there.
//!
//! A request that is one above a bound is refused before anything is reserved: 413 for bytes, 429
//! for rates and a wallet's share, 503 for what the whole gateway holds, 400 with the parameter
//! named for the rest.

use std::time::Duration;

use cocoon_openai_wire::peek::{CHOICES_MAX, INPUTS_MAX};

use crate::rates::RateLimits;

/// Bounds of the edge and of single requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections to the API.
    pub connections: usize,
    /// Requests under `/v1` between their head and the last byte of their answer.
    pub requests_in_flight: usize,
    /// Of those, what one wallet's keys and sessions may run together.
    pub requests_per_wallet: usize,
    /// `requests_per_minute` and `tokens_per_minute` of one wallet, for inference. A prompt's tokens
    /// count once for each choice, because a worker reads it so often; it is charged once. So the
    /// tokens of a minute have to hold the largest request that is to be served: the model's
    /// context × choices, at most, and what they generate. How many choices a sealed request has
    /// cannot be seen: it counts as if each of its tokens were one, up to the most choices.
    pub rates: RateLimits,
    /// Bytes of an inference request's body; at most 32 MiB.
    pub body_bytes: usize,
    /// Bytes that the bodies of all inference requests may hold at once.
    pub body_bytes_in_flight: usize,
    /// From a request's head to the end of its body.
    pub body_timeout: Duration,
    /// From a connection's readiness to the end of a request's head: idle time counts.
    pub header_timeout: Duration,
    /// From an inference request's acceptance to the end of its answer.
    pub request_timeout: Duration,
    /// From its acceptance to the first token, however many workers are asked.
    pub first_token_timeout: Duration,
    /// How long a worker may be silent within an answer; it says that it lives every few seconds.
    pub idle_stream_timeout: Duration,
    /// How long the status of a stream waits for the first token, and how often a comment keeps an
    /// open stream alive.
    pub keep_alive: Duration,
    /// How long a client may leave a stream unread.
    pub client_stall_timeout: Duration,
    /// Messages of a chat completion, or items of a response's input.
    pub messages: u32,
    /// Tools of one request.
    pub tools: u32,
    /// Prompts of a completion, or inputs of an embeddings request; at most 2048.
    pub prompts: u32,
    /// Choices of one request, over all its prompts; at most 128.
    pub choices: u32,
    /// Completion tokens of one choice, whatever was asked for.
    pub completion_tokens: u64,
}

impl Limits {
    pub(super) const STANDARD: Self = Self {
        connections: 10_000,
        requests_in_flight: 1024,
        requests_per_wallet: 256,
        rates: RateLimits { requests_per_minute: 6000, tokens_per_minute: 20_000_000 },
        body_bytes: 32 << 20,
        body_bytes_in_flight: 512 << 20,
        body_timeout: Duration::from_secs(30),
        header_timeout: Duration::from_secs(60),
        request_timeout: Duration::from_secs(600),
        first_token_timeout: Duration::from_secs(300),
        idle_stream_timeout: Duration::from_secs(30),
        keep_alive: Duration::from_secs(15),
        client_stall_timeout: Duration::from_secs(120),
        messages: 16_384,
        tools: 1024,
        prompts: INPUTS_MAX,
        choices: CHOICES_MAX,
        completion_tokens: 32_768,
    };
}
