//! Every bound of the dispatcher in one place.

use std::time::Duration;

/// Bounds of one dispatcher. [`DispatchLimits::STANDARD`] suits one gateway on one machine.
#[derive(Debug, Clone, Copy)]
pub struct DispatchLimits {
    /// Requests between their reservation and the start of their settlement; one more is shed.
    pub requests_open_max: usize,
    /// Workers asked for one request.
    pub attempts_max: u32,
    /// Until a worker's first frame, a heartbeat included.
    pub first_frame_timeout: Duration,
    /// Between two frames of a worker, heartbeats included.
    pub silence_max: Duration,
    /// From the reservation to the last byte.
    pub request_timeout: Duration,
    /// How long a stream's status is held back, and the pause between keep-alive comments.
    pub keep_alive: Duration,
    /// How long a client may leave a stream unread.
    pub client_stall_max: Duration,
    /// How long a cancelled request waits for its worker's receipt.
    pub receipt_wait: Duration,
    /// Completion tokens of one choice, whatever the model allows.
    pub completion_tokens_max: u64,
    /// Prompt tokens that a chat template may add around a request's own text.
    pub template_allowance_tokens: u64,
    /// Bytes of an answer that is not streamed.
    pub whole_bytes_max: usize,
    /// The gateway's part of a charge, in basis points.
    pub commission_bp: u16,
}

impl DispatchLimits {
    pub const STANDARD: Self = Self {
        requests_open_max: 4096,
        attempts_max: 3,
        first_frame_timeout: Duration::from_secs(60),
        silence_max: Duration::from_secs(30),
        request_timeout: Duration::from_secs(600),
        keep_alive: Duration::from_secs(15),
        client_stall_max: Duration::from_secs(120),
        receipt_wait: Duration::from_secs(10),
        completion_tokens_max: 32_768,
        template_allowance_tokens: 1024,
        whole_bytes_max: 32 << 20,
        commission_bp: 500,
    };

    /// How long a reservation lives: every way to settle it is over before it expires.
    pub(crate) fn reservation_lifetime(&self) -> Duration {
        /// For the settlement itself, on a store under load.
        const SETTLE: Duration = Duration::from_secs(30);
        self.request_timeout + self.receipt_wait + SETTLE
    }
}
