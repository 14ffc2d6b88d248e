//! Every leased connection until its last stream has ended, in the fleet or not.
//!
//! A worker that was replaced, quarantined or revoked has left the fleet, and yet its streams may
//! run on. Where a policy says that they are cut, it finds them here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cocoon_attest::enrol::Refusal;
use cocoon_attest::policy::Policy;
use cocoon_primitives::{LeaseId, Timestamp};

use super::link::WorkerLink;

/// The connections by their leases: as many as connections at most.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<HashMap<LeaseId, Weak<WorkerLink>>>);

/// A connection's entry, gone when dropped.
#[derive(Debug)]
pub(super) struct Registered<'a> {
    registry: &'a Registry,
    lease: LeaseId,
}

impl Registry {
    pub(super) fn enter(&self, link: &Arc<WorkerLink>) -> Registered<'_> {
        let lease = link.lease().lease_id;
        self.links().insert(lease, Arc::downgrade(link));
        Registered { registry: self, lease }
    }

    /// The connections that this policy does not admit, by what they proved last.
    pub(super) fn refused(
        &self,
        policy: &Policy,
        now: Timestamp,
    ) -> Vec<(Arc<WorkerLink>, Refusal)> {
        let links: Vec<_> = self.links().values().filter_map(Weak::upgrade).collect();
        let judged = links.into_iter().map(|link| {
            let refusal = policy.admit(&link.appraised(), now).err();
            (link, refusal)
        });
        judged.filter_map(|(link, refusal)| Some((link, refusal?))).collect()
    }

    /// A panic elsewhere leaves it usable: each change is one call.
    fn links(&self) -> MutexGuard<'_, HashMap<LeaseId, Weak<WorkerLink>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.registry.links().remove(&self.lease);
    }
}
