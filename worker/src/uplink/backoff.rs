//! How long to wait before the next dial: doubling from 0.2 s to 15 s, with jitter.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { failures: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait: between half and the whole of the current step, so that the workers of a
    /// restarted gateway do not all come at once.
    pub(super) fn next(&mut self, random: u64) -> Duration {
        let step = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let half = step / 2;
        let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_millis(random % span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_start_over() {
        let mut backoff = Backoff::new();
        assert!(backoff.next(0) >= Duration::from_millis(100));
        let waits: Vec<_> = (0..40).map(|_| backoff.next(u64::MAX)).collect();
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        assert!(waits[39] >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next(7) <= FIRST);
    }
}
