//! A token bucket in whole numbers. Pure: the time is an argument.
//!
//! A bucket of `per_minute` fills up within a minute. What is taken may be given back in part,
//! once its real cost is known. Invariant: over any span that begins with a full bucket, what was
//! taken and not given back is at most one bucket and what the span has filled in.

use std::time::Duration;

use cocoon_primitives::Timestamp;

/// Units of a bucket in one of what it counts: so many milliseconds fill a bucket, and each fills
/// in `per_minute` units, without a fraction.
const SCALE: u128 = 60_000;

/// What is missing in one bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// In units.
    missing: u128,
    /// When that was so.
    at: Timestamp,
}

/// What a bucket has to say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    /// Until the bucket is full.
    pub(crate) reset: Duration,
}

/// Why nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Short {
    /// There will be enough after this long, if nobody else takes of it.
    For(Duration),
    /// A full bucket has not so much.
    Forever,
}

impl Bucket {
    /// Takes `amount`, or nothing at all.
    pub(super) fn take(
        &mut self,
        per_minute: u64,
        amount: u64,
        now: Timestamp,
    ) -> Result<(), Short> {
        self.fill(per_minute, now);
        let full = u128::from(per_minute) * SCALE;
        let wanted = u128::from(amount) * SCALE;
        if wanted > full {
            return Err(Short::Forever);
        }
        let missing = self.missing + wanted;
        if missing > full {
            return Err(Short::For(span(per_minute, missing - full)));
        }
        self.missing = missing;
        Ok(())
    }

    /// Gives back a part of what was taken; a full bucket takes no more.
    pub(super) fn give_back(&mut self, per_minute: u64, amount: u64, now: Timestamp) {
        self.fill(per_minute, now);
        self.missing = self.missing.saturating_sub(u128::from(amount) * SCALE);
    }

    pub(super) fn level(&mut self, per_minute: u64, now: Timestamp) -> Level {
        self.fill(per_minute, now);
        let missing = self.missing.div_ceil(SCALE);
        let missing = u64::try_from(missing).unwrap_or(u64::MAX);
        let reset = span(per_minute, self.missing);
        Level { limit: per_minute, remaining: per_minute.saturating_sub(missing), reset }
    }

    pub(super) fn is_full(&mut self, per_minute: u64, now: Timestamp) -> bool {
        self.fill(per_minute, now);
        self.missing == 0
    }

    /// A clock that went back fills in nothing, and nothing twice.
    fn fill(&mut self, per_minute: u64, now: Timestamp) {
        let elapsed = now.since(self.at).as_millis();
        self.missing = self.missing.saturating_sub(elapsed.saturating_mul(per_minute.into()));
        self.at = self.at.max(now);
    }
}

/// How long it takes to fill in so many units, rounded up to a millisecond.
fn span(per_minute: u64, units: u128) -> Duration {
    let ms = units.div_ceil(u128::from(per_minute.max(1)));
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + ms)
    }

    #[test]
    fn a_bucket_gives_what_it_has_and_says_when_there_is_more() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(60, 61, at(0)), Err(Short::Forever));
        assert_eq!(bucket.take(60, 50, at(0)), Ok(()));
        let level = Level { limit: 60, remaining: 10, reset: Duration::from_secs(50) };
        assert_eq!(bucket.level(60, at(0)), level);
        assert_eq!(bucket.take(60, 11, at(0)), Err(Short::For(Duration::from_secs(1))));
        assert_eq!(bucket.take(60, 11, at(999)), Err(Short::For(Duration::from_millis(1))));
        assert_eq!(bucket.take(60, 11, at(1000)), Ok(()));
        bucket.give_back(60, 20, at(1000));
        assert_eq!(bucket.level(60, at(1000)).remaining, 20);
        bucket.give_back(60, 1000, at(1000));
        assert!(bucket.is_full(60, at(1000)), "and no fuller than that");
        assert_eq!(bucket.take(60, 61, at(90_000)), Err(Short::Forever));
    }

    #[test]
    fn a_clock_that_goes_back_fills_nothing_in_twice() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(60, 60, at(10_000)), Ok(()));
        assert_eq!(bucket.level(60, at(0)).remaining, 0);
        assert_eq!(bucket.level(60, at(11_000)).remaining, 1);
        assert_eq!(bucket.level(60, at(5_000)).remaining, 1);
        assert_eq!(bucket.level(60, at(11_000)).remaining, 1);
    }

    #[test]
    fn the_greatest_numbers_are_numbers_too() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(u64::MAX, u64::MAX, at(0)), Ok(()));
        assert_eq!(bucket.level(u64::MAX, at(0)).remaining, 0);
        assert_eq!(bucket.take(1, u64::MAX, Timestamp::from_millis(u64::MAX)), Err(Short::Forever));
    }

    proptest! {
        /// Takes and gives back, against the invariant of the module.
        #[test]
        fn what_is_kept_never_exceeds_a_bucket_and_what_time_filled_in(
            per_minute in 1_u64..500,
            steps in prop::collection::vec((0_u64..5000, 0_u64..600, 0_u64..3000, 0_u64..=100), 1..60),
        ) {
            let (mut bucket, mut now, mut kept) = (Bucket::default(), 0_u64, 0_u128);
            for (pause, amount, duration, used_percent) in steps {
                now += pause;
                match bucket.take(per_minute, amount, at(now)) {
                    Ok(()) => {
                        let used = amount * used_percent / 100;
                        now += duration;
                        bucket.give_back(per_minute, amount - used, at(now));
                        kept += u128::from(used);
                    }
                    Err(Short::Forever) => prop_assert!(amount > per_minute),
                    Err(Short::For(wait)) => {
                        let wait = u64::try_from(wait.as_millis()).unwrap();
                        let mut later = bucket;
                        let early = later.take(per_minute, amount, at(now + wait - 1));
                        prop_assert!(early.is_err(), "a shorter wait would do");
                        prop_assert_eq!(later.take(per_minute, amount, at(now + wait)), Ok(()));
                    }
                }
                let filled = u128::from(now) * u128::from(per_minute);
                prop_assert!(kept * SCALE <= u128::from(per_minute) * SCALE + filled);
                let level = bucket.level(per_minute, at(now));
                prop_assert!(level.remaining <= per_minute && level.reset <= Duration::from_secs(60));
            }
        }
    }
}
