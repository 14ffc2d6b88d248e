//! A place at a worker: taken by a pick, given back by dropping.

use std::fmt;
use std::sync::Arc;

use cocoon_primitives::{Clock, LeaseId, WorkerId};

use crate::uplink::{SharedFleet, lock};

/// One request's place at its worker.
pub(crate) struct Place {
    fleet: SharedFleet,
    clock: Arc<dyn Clock>,
    worker: WorkerId,
    lease: LeaseId,
}

impl Place {
    /// Takes over the count of a pick.
    pub(crate) fn new(
        fleet: SharedFleet,
        clock: Arc<dyn Clock>,
        worker: WorkerId,
        lease: LeaseId,
    ) -> Self {
        Self { fleet, clock, worker, lease }
    }

    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Counts a failure against the worker: others are preferred for a while.
    pub(crate) fn strike(&self) {
        strike(&self.fleet, self.worker, &*self.clock);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.fleet).finished(self.worker, self.lease);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", self.worker)
    }
}

pub(crate) fn strike(fleet: &SharedFleet, worker: WorkerId, clock: &dyn Clock) {
    metrics::counter!("cocoon_worker_strikes_total").increment(1);
    lock(fleet).strike(worker, clock.now());
}
