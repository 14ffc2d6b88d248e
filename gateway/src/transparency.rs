//! The public record of whom this gateway admitted, and under which policy.
//!
//! Shape: [`Transparency`] takes leases, full renewals and policies; its [`writer`] appends them
//! one by one, with their evidence, to the store's log and then to the Merkle tree in memory.
//! Anybody may read entries, proofs and signed heads. [`Reports`] gets fresh evidence over nonces
//! of clients.
//!
//! Invariants: a lease is granted only after its entry is on the disk; a head never covers an
//! entry that a power loss could take back, so that no two heads of one gateway contradict each
//! other; the policy that a lease was granted under stands before it; nothing here is on the path
//! of an inference request.
//!
//! Cost: an entry is one transaction and one fsync, when a worker enrols and once an hour after;
//! 64 bytes of memory each. A start reads every entry once.

mod grown;
mod reports;
mod writer;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cocoon_attest::enrol::{Attested, evidence_digest};
use cocoon_attest::lease::Lease;
use cocoon_attest::log::{Entry, Record, SignedHead};
use cocoon_primitives::{Clock, LeaseId};
use cocoon_runtime::Lifecycle;
use cocoon_store::{NewEvidence, Store, StoreError};
use ed25519_dalek::SigningKey;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::policy::{InForce, PolicyStore};

pub use reports::{NonceProof, Report, ReportError, Reports, ReportsParts, nonce_leaf};

use grown::Grown;
use writer::Append;

/// Entries that wait to be written; beyond that enrolments wait.
const QUEUE_MAX: usize = 256;
/// How long a head is given out before its time is renewed.
const HEAD_LIFE: Duration = Duration::from_secs(1);
/// How long a policy that could not be recorded waits for the next try.
const POLICY_AGAIN: Duration = Duration::from_secs(1);

/// The log: written through a queue, read from memory.
pub struct Transparency {
    clock: Arc<dyn Clock>,
    key: SigningKey,
    grown: Arc<Mutex<Grown>>,
    queue: mpsc::Sender<Append>,
    head: Mutex<Option<SignedHead>>,
}

impl fmt::Debug for Transparency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transparency({} entries)", held(&self.grown).tree.size())
    }
}

impl Transparency {
    /// Reads the log and starts its writer. `key` signs heads: the gateway's receipt key.
    pub async fn open(
        store: Store,
        clock: Arc<dyn Clock>,
        key: SigningKey,
        lifecycle: &Lifecycle,
    ) -> Result<Arc<Self>, StoreError> {
        let grown = Arc::new(Mutex::new(Grown::default()));
        grown::catch_up(&store, &grown).await?;
        let (queue, appends) = mpsc::channel(QUEUE_MAX);
        let soft = lifecycle.soft().clone();
        lifecycle
            .spawn("transparency.writer", writer::run(store, Arc::clone(&grown), appends, soft));
        Ok(Arc::new(Self { clock, key, grown, queue, head: Mutex::default() }))
    }

    /// Records a lease that is about to be granted. Only once this has returned `Ok`, it may be.
    /// The policy that it was judged by comes before it, where it was never logged: one may be in
    /// force for a moment only.
    pub async fn record(
        &self,
        attested: &Attested,
        evidence: &[u8],
        under: &Arc<InForce>,
    ) -> Result<(), StoreError> {
        let lease = attested.lease();
        let digest = lease.evidence_digest;
        let record = Record::Lease { lease: lease.encode(), evidence: digest };
        let evidence = NewEvidence { digest, bytes: evidence.to_vec() };
        self.append(record, Some(evidence), Some(Arc::clone(under))).await
    }

    /// Records the new evidence that a lease was prolonged on, and the lease as it is now.
    pub async fn record_renewal(
        &self,
        lease: &Lease,
        evidence: &[u8],
        under: &Arc<InForce>,
    ) -> Result<(), StoreError> {
        let digest = evidence_digest(evidence);
        let record = Record::Renewal { lease: lease.encode(), evidence: digest };
        let evidence = NewEvidence { digest, bytes: evidence.to_vec() };
        self.append(record, Some(evidence), Some(Arc::clone(under))).await
    }

    /// Records a policy by its file's bytes. The one that was recorded last is not repeated.
    pub async fn record_policy(&self, policy: &[u8]) -> Result<(), StoreError> {
        self.append(Record::Policy { policy: policy.to_vec() }, None, None).await
    }

    /// Records the policy in force, and from here on each that follows it.
    pub async fn follow(
        self: &Arc<Self>,
        policy: &PolicyStore,
        lifecycle: &Lifecycle,
    ) -> Result<(), StoreError> {
        let mut changes = policy.subscribe();
        self.record_policy(&policy.in_force().text).await?;
        let (log, soft) = (Arc::clone(self), lifecycle.soft().clone());
        lifecycle.spawn("transparency.policy", async move {
            loop {
                let changed = tokio::select! {
                    () = soft.cancelled() => return,
                    changed = changes.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
                let in_force = Arc::clone(&changes.borrow_and_update());
                while let Err(error) = log.record_policy(&in_force.text).await {
                    tracing::error!(%error, "the policy in force is not logged yet");
                    tokio::select! {
                        () = soft.cancelled() => return,
                        () = sleep_until(Instant::now() + POLICY_AGAIN) => {}
                    }
                }
            }
        });
        Ok(())
    }

    /// What this gateway vouches for now.
    pub fn head(&self) -> SignedHead {
        let now = self.clock.now();
        let (size, root) = {
            let grown = held(&self.grown);
            let size = grown.tree.size();
            (size, grown.tree.root(size).expect("a tree has a root at its own size"))
        };
        let mut cached = held(&self.head);
        if let Some(head) = cached.as_ref()
            && head.size == size
            && head.at <= now
            && now.since(head.at) < HEAD_LIFE
        {
            return head.clone();
        }
        let head = SignedHead::sign(&self.key, size, root, now);
        *cached = Some(head.clone());
        head
    }

    /// The leaf's hash and its path in the tree of `size` leaves.
    pub fn inclusion(&self, index: u64, size: u64) -> Option<([u8; 32], Vec<[u8; 32]>)> {
        let grown = held(&self.grown);
        Some((grown.tree.leaf(index)?, grown.tree.inclusion(index, size)?))
    }

    /// The proof that the tree of `second` leaves goes on from the one of `first`.
    pub fn consistency(&self, first: u64, second: u64) -> Option<Vec<[u8; 32]>> {
        held(&self.grown).tree.consistency(first, second)
    }

    /// Entries that a head may cover.
    pub fn size(&self) -> u64 {
        held(&self.grown).tree.size()
    }

    /// Where a lease that this process recorded stands; the oldest of very many are forgotten.
    pub fn lease_index(&self, lease: LeaseId) -> Option<u64> {
        held(&self.grown).leases.get(lease)
    }

    async fn append(
        &self,
        record: Record,
        evidence: Option<NewEvidence>,
        under: Option<Arc<InForce>>,
    ) -> Result<(), StoreError> {
        let entry = Entry { at: self.clock.now(), record };
        let (caller, answer) = oneshot::channel();
        let append = Append { entry, evidence, under, caller };
        self.queue.send(append).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// A panic elsewhere leaves what is behind these usable: each change is one call.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
