//! What a run will do, decided before it starts: when each request is sent, whether it streams, when it is cancelled.
//!
//! Purpose: an open loop. Arrivals come from the plan and not from the answers, so a slow server meets the same load as a
//! quick one, and latency is counted from the moment a request was meant to start.
//! Invariant: the same options and seed give the same plan.
//! Bound: [`REQUESTS_MAX`] requests.

use std::time::Duration;

pub(crate) const REQUESTS_MAX: usize = 1_000_000;

/// SplitMix64: a small generator that is the same everywhere. Not for keys.
#[derive(Debug, Clone)]
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in [0, 1).
    pub(crate) fn fraction(&mut self) -> f64 {
        let high = u32::try_from(self.next() >> 32).expect("a shifted u64 fits in 32 bits");
        f64::from(high) / 4_294_967_296.0
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }
}

/// The shape of the load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) requests: usize,
    pub(crate) requests_per_second: f64,
    pub(crate) stream_fraction: f64,
    pub(crate) cancel_fraction: f64,
    /// A request that is to be cancelled is so at a moment within this time from its start.
    pub(crate) cancel_within: Duration,
    pub(crate) seed: u64,
}

/// One request to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Arrival {
    pub(crate) index: usize,
    /// From the start of the run.
    pub(crate) at: Duration,
    pub(crate) stream: bool,
    pub(crate) cancel_after: Option<Duration>,
}

/// Poisson arrivals at the asked rate.
pub(crate) fn arrivals(shape: &Shape) -> Vec<Arrival> {
    let mut random = Seeded::new(shape.seed);
    let mut at = Duration::ZERO;
    (0..shape.requests.min(REQUESTS_MAX))
        .map(|index| {
            let gap_s = -(1.0 - random.fraction()).ln() / shape.requests_per_second;
            at += Duration::from_secs_f64(gap_s);
            let stream = random.chance(shape.stream_fraction);
            let cancel = random.chance(shape.cancel_fraction);
            let moment = shape.cancel_within.mul_f64(random.fraction());
            Arrival { index, at, stream, cancel_after: cancel.then_some(moment) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        requests: 10_000,
        requests_per_second: 100.0,
        stream_fraction: 0.5,
        cancel_fraction: 0.2,
        cancel_within: Duration::from_millis(300),
        seed: 7,
    };

    #[test]
    fn the_plan_follows_its_seed() {
        assert_eq!(arrivals(&SHAPE), arrivals(&SHAPE));
        assert_ne!(arrivals(&SHAPE), arrivals(&Shape { seed: 8, ..SHAPE }));
    }

    #[test]
    fn the_plan_keeps_its_rates() {
        let plan = arrivals(&SHAPE);
        let last = plan.last().unwrap().at.as_secs_f64();
        assert!((95.0..105.0).contains(&last), "10,000 requests at 100/s took {last} s");
        let cancelled = plan.iter().filter(|arrival| arrival.cancel_after.is_some()).count();
        assert!((1_900..2_100).contains(&cancelled), "{cancelled} of 10,000 are to be cancelled");
        assert!(plan.windows(2).all(|pair| pair[0].at <= pair[1].at));
        assert!(
            plan.iter().flat_map(|arrival| arrival.cancel_after).all(|at| at < SHAPE.cancel_within)
        );
    }
}
