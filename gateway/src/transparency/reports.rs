//! Fresh evidence over nonces that clients chose.
//!
//! A machine makes one quote at a time and takes its time, so nonces are batched: what comes in
//! for a worker while a moment passes, or while its last report is made, goes into one Merkle
//! tree (RFC 6962), whose root is the nonce that the worker gets. Each client gets the evidence and
//! the path from its nonce to that root. One report at a time for each worker, one in five seconds
//! at most, a bounded batch, and a bound on all who wait. A renewal comes before any report.
//!
//! A report is not logged: it proves something to the one who asked.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cocoon_attest::appraisal::{Appraised, examine};
use cocoon_attest::enrol::Refusal;
use cocoon_attest::log::{Tree, leaf_hash};
use cocoon_primitives::{Clock, WorkerId};
use cocoon_runtime::Lifecycle;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

use super::held;
use crate::policy::PolicyStore;
use crate::uplink::{AskError, WorkerLink};

/// How long the first nonce of a batch waits for others.
const COLLECT: Duration = Duration::from_millis(200);
/// From one report of a worker to its next.
const INTERVAL: Duration = Duration::from_secs(5);
/// Nonces in one batch at most.
const NONCES_MAX: usize = 32;
/// Nonces that wait in all batches together.
const WAITING_MAX: usize = 64;

const NONCE_DOMAIN: &[u8] = b"cocoon/report-nonce/v1";

/// The leaf of one nonce, before the tree's own hash: `SHA-256(domain ‖ nonce)`.
pub fn nonce_leaf(nonce: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(NONCE_DOMAIN).chain_update(nonce).finalize().into()
}

/// Evidence that answers a nonce.
#[derive(Debug, Clone)]
pub struct Report {
    /// The worker's message as it came.
    pub evidence: Arc<[u8]>,
    pub appraised: Arc<Appraised>,
    pub nonce_proof: NonceProof,
}

/// The path from one client's nonce to the nonce that the evidence is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonceProof {
    pub index: u64,
    pub size: u64,
    pub path: Vec<[u8; 32]>,
    pub root: [u8; 32],
}

/// Why there is no report. The cause is logged once, where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    #[error("too many nonces wait, or the worker's lease is being renewed")]
    Busy,
    #[error("the worker did not answer")]
    Unanswered,
    #[error("the worker's evidence is not valid")]
    Evidence,
}

/// Why one worker's evidence was not passed on.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the worker did not answer")]
    Ask(#[source] AskError),
    #[error("the evidence is refused")]
    Refused(#[source] Refusal),
    #[error("the evidence is of another worker, connection or workload, or over another nonce")]
    Other,
    #[error("the policy no longer admits the worker")]
    NotAdmitted(#[source] Refusal),
    #[error("the gateway drains")]
    Draining,
}

/// What reports are made with.
pub struct ReportsParts {
    pub policy: Arc<PolicyStore>,
    pub clock: Arc<dyn Clock>,
    pub lifecycle: Lifecycle,
}

/// Batches by worker: an entry means that a task is at work for it.
pub struct Reports {
    parts: ReportsParts,
    batches: Mutex<HashMap<WorkerId, Vec<Waiting>>>,
    places: Semaphore,
}

/// One nonce, and who waits.
struct Waiting {
    nonce: [u8; 32],
    caller: oneshot::Sender<Result<Report, ReportError>>,
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reports({} workers asked)", held(&self.batches).len())
    }
}

impl Reports {
    pub fn new(parts: ReportsParts) -> Arc<Self> {
        Arc::new(Self { parts, batches: Mutex::default(), places: Semaphore::new(WAITING_MAX) })
    }

    /// Evidence of the worker behind `link` that answers `nonce`.
    pub async fn report(
        self: &Arc<Self>,
        link: Arc<WorkerLink>,
        nonce: [u8; 32],
    ) -> Result<Report, ReportError> {
        let _place = self.places.try_acquire().map_err(|_| ReportError::Busy)?;
        let (caller, answer) = oneshot::channel();
        self.enqueue(link, Waiting { nonce, caller })?;
        answer.await.unwrap_or(Err(ReportError::Unanswered))
    }

    fn enqueue(
        self: &Arc<Self>,
        link: Arc<WorkerLink>,
        waiting: Waiting,
    ) -> Result<(), ReportError> {
        let worker = link.worker_id();
        match held(&self.batches).entry(worker) {
            Entry::Occupied(mut batch) => {
                let batch = batch.get_mut();
                // Who has gone needs no place.
                batch.retain(|one| !one.caller.is_closed());
                if batch.len() >= NONCES_MAX {
                    return Err(ReportError::Busy);
                }
                batch.push(waiting);
                return Ok(());
            }
            Entry::Vacant(place) => {
                place.insert(vec![waiting]);
            }
        }
        let reports = Arc::clone(self);
        self.parts
            .lifecycle
            .spawn("transparency.report", async move { reports.serve(&link).await });
        Ok(())
    }

    /// Makes one worker's reports until nobody waits for one.
    async fn serve(&self, link: &WorkerLink) {
        let mut slot = Slot { reports: self, worker: link.worker_id(), is_held: true };
        let mut next = Instant::now() + COLLECT;
        loop {
            tokio::select! {
                () = self.parts.lifecycle.soft().cancelled() => return,
                () = sleep_until(next) => {}
            }
            next = Instant::now() + INTERVAL;
            let Some(mut batch) = self.take(link.worker_id()) else {
                slot.is_held = false;
                return;
            };
            batch.retain(|one| !one.caller.is_closed());
            if !batch.is_empty() {
                self.answer(link, batch).await;
            }
        }
    }

    /// What has come in. Where that is nothing, the worker's task is over.
    fn take(&self, worker: WorkerId) -> Option<Vec<Waiting>> {
        let mut batches = held(&self.batches);
        let batch = batches.get_mut(&worker)?;
        if batch.is_empty() {
            batches.remove(&worker);
            return None;
        }
        Some(std::mem::take(batch))
    }

    async fn answer(&self, link: &WorkerLink, batch: Vec<Waiting>) {
        let tree = tree(&batch);
        let size = tree.size();
        let root = tree.root(size).expect("a tree has a root at its own size");
        let outcome = self.ask(link, root).await;
        metrics::counter!("cocoon_reports_total", "outcome" => if outcome.is_ok() { "ok" } else { "error" })
            .increment(1);
        if let Err(fault) = &outcome {
            let cause = std::error::Error::source(fault).map(ToString::to_string);
            tracing::warn!(worker.id = %link.worker_id(), cause, "no report: {fault}");
        }
        for (index, waiting) in (0..).zip(batch) {
            let result = match &outcome {
                Ok((evidence, appraised)) => Ok(Report {
                    evidence: Arc::clone(evidence),
                    appraised: Arc::clone(appraised),
                    nonce_proof: NonceProof {
                        index,
                        size,
                        path: tree.inclusion(index, size).expect("the leaf is in its tree"),
                        root,
                    },
                }),
                Err(Fault::Ask(AskError::Busy)) => Err(ReportError::Busy),
                Err(Fault::Ask(_) | Fault::Draining) => Err(ReportError::Unanswered),
                Err(Fault::Refused(_) | Fault::Other | Fault::NotAdmitted(_)) => {
                    Err(ReportError::Evidence)
                }
            };
            // A caller that went away has lost only the answer.
            let _ = waiting.caller.send(result);
        }
    }

    /// Asks the worker, and looks at what it says before anybody gets it.
    async fn ask(
        &self,
        link: &WorkerLink,
        root: [u8; 32],
    ) -> Result<(Arc<[u8]>, Arc<Appraised>), Fault> {
        let evidence = tokio::select! {
            () = self.parts.lifecycle.soft().cancelled() => return Err(Fault::Draining),
            evidence = link.report(root) => evidence.map_err(Fault::Ask)?,
        };
        let (in_force, now) = (self.parts.policy.in_force(), self.parts.clock.now());
        let examined = tokio::task::spawn_blocking(move || {
            let appraised = examine(&evidence, &in_force.policy, now).map_err(Fault::Refused)?;
            in_force.policy.admit(&appraised, now).map_err(Fault::NotAdmitted)?;
            Ok((evidence, appraised))
        });
        let examined = examined.await;
        let examined =
            examined.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
        let (evidence, appraised) = examined?;
        if appraised.nonce != root || !is_same(&appraised, &link.appraised()) {
            return Err(Fault::Other);
        }
        Ok((evidence.into(), Arc::new(appraised)))
    }
}

/// Frees a worker's place, however its task ends; who still waits there is answered by that.
struct Slot<'a> {
    reports: &'a Reports,
    worker: WorkerId,
    /// Once it was given back, another task may have it.
    is_held: bool,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.is_held {
            held(&self.reports.batches).remove(&self.worker);
        }
    }
}

/// Whether it is of the worker, the connection and the workload that hold the lease.
fn is_same(fresh: &Appraised, held: &Appraised) -> bool {
    fresh.worker_id == held.worker_id
        && fresh.exporter == held.exporter
        && fresh.gw_spki_sha256 == held.gw_spki_sha256
        && fresh.tls_spki_sha256 == held.tls_spki_sha256
        && fresh.hpke_key == held.hpke_key
        && fresh.receipt_key == held.receipt_key
        && fresh.workload.models == held.workload.models
        && fresh.assurance == held.assurance
}

fn tree(batch: &[Waiting]) -> Tree {
    let mut tree = Tree::new();
    for waiting in batch {
        tree.push(leaf_hash(&nonce_leaf(&waiting.nonce)));
    }
    tree
}
