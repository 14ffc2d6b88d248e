//! The log as it is in memory: hashes, and where live leases stand.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Mutex;

use cocoon_attest::lease::Lease;
use cocoon_attest::log::{Entry, Record, Tree, leaf_hash};
use cocoon_primitives::LeaseId;
use cocoon_store::{LogRow, Store, StoreError};
use sha2::{Digest as _, Sha256};

use super::held;

/// Leases whose place is remembered: many times the workers that one gateway takes.
const LEASES_MAX: usize = 16 * 1024;
/// Entries that one read asks for.
const PAGE: u32 = 1000;

#[derive(Debug, Default)]
pub(super) struct Grown {
    pub(super) tree: Tree,
    pub(super) leases: Leases,
    /// Which policy was recorded last: see [`policy_mark`].
    pub(super) last_policy: Option<[u8; 32]>,
    /// Every policy that was recorded: 32 bytes for each.
    pub(super) policies: HashSet<[u8; 32]>,
}

/// Places of leases, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Leases {
    places: HashMap<LeaseId, u64>,
    order: VecDeque<LeaseId>,
}

impl Leases {
    pub(super) fn get(&self, lease: LeaseId) -> Option<u64> {
        self.places.get(&lease).copied()
    }

    pub(super) fn insert(&mut self, lease: LeaseId, index: u64) {
        if self.places.insert(lease, index).is_none() {
            self.order.push_back(lease);
        }
        if self.order.len() > LEASES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
    }
}

impl Grown {
    /// Takes over an entry that is on the disk; it must be the next one.
    pub(super) fn take(&mut self, row: &LogRow) -> Result<(), StoreError> {
        if row.index != self.tree.size() {
            return Err(StoreError::Broken { operation: "log.entries" });
        }
        // An entry of a form that this program does not know is a leaf all the same.
        match Entry::decode(&row.entry).map(|entry| entry.record) {
            Ok(Record::Policy { policy }) => {
                let mark = policy_mark(&policy);
                self.last_policy = Some(mark);
                self.policies.insert(mark);
            }
            Ok(Record::Lease { lease, .. }) => {
                if let Ok(lease) = Lease::decode(&lease) {
                    self.leases.insert(lease.lease_id, row.index);
                }
            }
            Ok(Record::Renewal { .. }) | Err(_) => {}
        }
        self.tree.push(leaf_hash(&row.entry));
        Ok(())
    }
}

/// By which a policy is known again.
pub(super) fn policy_mark(policy: &[u8]) -> [u8; 32] {
    Sha256::digest(policy).into()
}

/// Takes over what the store has and memory has not, once it is on the disk.
pub(super) async fn catch_up(store: &Store, grown: &Mutex<Grown>) -> Result<(), StoreError> {
    loop {
        let start = held(grown).tree.size();
        let page = store.log_entries(start, PAGE).await?;
        if page.is_empty() {
            return Ok(());
        }
        store.durable_barrier().await?;
        let mut grown = held(grown);
        page.iter().try_for_each(|row| grown.take(row))?;
    }
}
