//! Workers that may not come back.

use std::collections::{HashSet, VecDeque};

use cocoon_primitives::WorkerId;

/// Ids remembered at most. Each of them proved its evidence and then cheated; past that the oldest are
/// forgotten, so that keys made in numbers shut nobody else out.
pub(crate) const QUARANTINED_MAX: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    ids: HashSet<WorkerId>,
    /// The same ids, the oldest first.
    order: VecDeque<WorkerId>,
}

impl Quarantine {
    pub(crate) fn insert(&mut self, worker: WorkerId) {
        if !self.ids.insert(worker) {
            return;
        }
        self.order.push_back(worker);
        if self.order.len() > QUARANTINED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, worker: WorkerId) -> bool {
        self.ids.contains(&worker)
    }
}
