//! One worker in the fleet.

use std::sync::Arc;
use std::time::Duration;

use cocoon_attest::appraisal::Appraised;
use cocoon_attest::lease::Lease;
use cocoon_primitives::{ModelName, Timestamp};

use crate::Load;

/// After this long without a strike, the next one counts as the first.
const STRIKES_FORGOTTEN: Duration = Duration::from_secs(60);
const SUSPENSION_FIRST: Duration = Duration::from_secs(1);
const SUSPENSION_DOUBLINGS_MAX: u32 = 5;

#[derive(Debug)]
pub(crate) struct Member<L> {
    pub(crate) lease: Arc<Lease>,
    /// What the last full evidence of its connection proved.
    pub(crate) appraised: Arc<Appraised>,
    pub(crate) link: L,
    pub(crate) load: Load,
    /// Requests that this gateway sent and that have not finished.
    pub(crate) in_flight: u32,
    pub(crate) draining: bool,
    strikes: u32,
    last_strike: Timestamp,
    suspended_until: Timestamp,
}

impl<L> Member<L> {
    /// Until its first report a worker is taken to run one request at a time.
    pub(crate) fn new(lease: Lease, appraised: Arc<Appraised>, link: L, now: Timestamp) -> Self {
        Self {
            lease: Arc::new(lease),
            appraised,
            link,
            load: Load { running: 0, waiting: 0, permits: 1, queue: 0 },
            in_flight: 0,
            draining: false,
            strikes: 0,
            last_strike: now,
            suspended_until: now,
        }
    }

    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        !self.draining && self.lease.is_live(now)
    }

    pub(crate) fn serves(&self, model: &ModelName, now: Timestamp) -> bool {
        self.is_open(now) && self.lease.model(model).is_some()
    }

    /// Reports lag behind and other gateways' requests are unknown here: the greater count holds.
    fn occupied(&self) -> u32 {
        self.load.running.saturating_add(self.load.waiting).max(self.in_flight)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.occupied() < self.load.permits.saturating_add(self.load.queue)
    }

    /// Compares occupied / permits without a division.
    pub(crate) fn is_less_loaded_than(&self, other: &Self) -> bool {
        let share = |of: &Self, against: &Self| {
            u64::from(of.occupied()) * u64::from(against.load.permits.max(1))
        };
        share(self, other) < share(other, self)
    }

    pub(crate) fn is_suspended(&self, now: Timestamp) -> bool {
        now < self.suspended_until
    }

    pub(crate) fn strike(&mut self, now: Timestamp) {
        if now.since(self.last_strike) > STRIKES_FORGOTTEN {
            self.strikes = 0;
        }
        let doublings = self.strikes.min(SUSPENSION_DOUBLINGS_MAX);
        self.suspended_until = now.saturating_add(SUSPENSION_FIRST * 2_u32.pow(doublings));
        self.strikes = self.strikes.saturating_add(1);
        self.last_strike = now;
    }
}
