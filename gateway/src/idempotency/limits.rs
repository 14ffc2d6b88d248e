//! Every bound of idempotency keys in one place.

use std::time::Duration;

/// How much is kept for repeats, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyLimits {
    /// From the request to the end of its idempotency key.
    pub keep: Duration,
    /// Bytes of kept answers, as they are stored, of one account and of all. An answer that would
    /// go over is not kept; its key stays spent.
    pub bytes_per_account: u64,
    pub bytes_total: u64,
    /// Idempotency keys that one account may hold; a request with one more is refused.
    pub rows_per_account: u32,
    /// A longer answer is not kept.
    pub answer_bytes_max: usize,
    /// Memory of all recordings at once; one that finds no more of it is not kept.
    pub recording_bytes_max: usize,
}

impl IdempotencyLimits {
    pub const STANDARD: Self = Self {
        keep: Duration::from_secs(24 * 60 * 60),
        bytes_per_account: 64 << 20,
        bytes_total: 16 << 30,
        rows_per_account: 10_000,
        answer_bytes_max: 8 << 20,
        recording_bytes_max: 256 << 20,
    };
}
