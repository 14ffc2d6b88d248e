//! The gateway's signature under the receipts that it settled with, batch by batch.
//!
//! A batch is at most 64 receipts or what 50 ms bring. Its Merkle root is signed, the paths are
//! stored, the disk is waited for, and only then are the workers told that they may forget. The
//! work list is the store's own, so a notice that is lost delays a signature and loses nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cocoon_attest::receipt::batch;
use cocoon_primitives::{RequestId, WorkerId};
use cocoon_runtime::{CancellationToken, Lifecycle};
use cocoon_store::{Countersignature, Store, StoreError, Uncountersigned};
use ed25519_dalek::SigningKey;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::dispatch::LiveRequests;
use crate::uplink::WorkerLink;

/// How long the first receipt of a batch waits for others.
const BATCH_WAIT: Duration = Duration::from_millis(50);
/// Notices that may wait. Past that they are dropped: workers replay what is not acknowledged.
const NOTICES_MAX: usize = 16_384;
/// How often the store is asked without a notice.
const SWEEP: Duration = Duration::from_secs(5);
/// How often a draining countersigner looks whether the last request has left.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// Tells the countersigner about settled requests.
#[derive(Debug, Clone)]
pub struct Countersigner {
    notices: mpsc::Sender<Notice>,
}

/// Where a worker hears that it may forget receipts.
#[derive(Clone)]
pub(crate) struct Acknowledge {
    worker: WorkerId,
    send: Arc<dyn Fn(Vec<RequestId>) + Send + Sync>,
}

impl Acknowledge {
    pub(crate) fn through(link: &Arc<WorkerLink>) -> Self {
        let (worker, link) = (link.worker_id(), link.clone());
        Self::new(worker, move |requests| link.acknowledge(requests))
    }

    pub(crate) fn new(
        worker: WorkerId,
        send: impl Fn(Vec<RequestId>) + Send + Sync + 'static,
    ) -> Self {
        Self { worker, send: Arc::new(send) }
    }
}

impl fmt::Debug for Acknowledge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acknowledge({})", self.worker)
    }
}

#[derive(Debug)]
struct Notice {
    request_id: RequestId,
    acknowledge: Acknowledge,
}

impl Countersigner {
    /// The request is settled or over: sign its receipt, if it has one, and acknowledge it.
    pub(crate) fn settled(&self, request_id: RequestId, acknowledge: Acknowledge) {
        if self.notices.try_send(Notice { request_id, acknowledge }).is_err() {
            metrics::counter!("cocoon_countersign_notices_dropped_total").increment(1);
        }
    }
}

pub(super) struct Countersigning {
    pub(super) store: Store,
    pub(super) live: LiveRequests,
    pub(super) gateway_key: SigningKey,
}

pub(super) fn start(countersigning: Countersigning, lifecycle: &Lifecycle) -> Countersigner {
    let (notices, queue) = mpsc::channel(NOTICES_MAX);
    lifecycle.spawn("countersign", countersigning.run(queue, lifecycle.soft().clone()));
    Countersigner { notices }
}

impl Countersigning {
    async fn run(self, mut queue: mpsc::Receiver<Notice>, soft: CancellationToken) {
        // What a crash left behind comes first.
        self.pass(&[]).await;
        loop {
            let mut batch = Vec::with_capacity(batch::LEAVES_MAX);
            let pause = if soft.is_cancelled() { DRAIN_TICK } else { SWEEP };
            tokio::select! {
                // Notices before the end: a drain finishes what is queued.
                biased;
                notice = queue.recv() => match notice {
                    Some(notice) => batch.push(notice),
                    None => break,
                },
                () = soft.cancelled(), if !soft.is_cancelled() => continue,
                () = sleep_until(Instant::now() + pause) => {
                    // Whoever settles a live request sends a notice before it leaves the list.
                    if soft.is_cancelled() && self.live.is_empty() && queue.is_empty() {
                        break;
                    }
                }
            }
            let until = Instant::now() + BATCH_WAIT;
            while !batch.is_empty()
                && batch.len() < batch::LEAVES_MAX
                && let Ok(Some(notice)) = timeout_at(until, queue.recv()).await
            {
                batch.push(notice);
            }
            self.pass(&batch).await;
        }
    }

    /// Signs all that is unsigned, then acknowledges `settled`.
    async fn pass(&self, settled: &[Notice]) {
        let durable = async {
            while self.sign_batch().await? == batch::LEAVES_MAX {}
            self.store.durable_barrier().await
        };
        match durable.await {
            Ok(()) => acknowledge(settled),
            // Not acknowledged: the workers replay, the next pass signs.
            Err(error) => tracing::error!(cause = %error, "countersigning is put off"),
        }
    }

    /// Signs one batch; answers how many receipts it had.
    async fn sign_batch(&self) -> Result<usize, StoreError> {
        let receipts = self.store.uncountersigned(batch::LEAVES_MAX).await?;
        if receipts.is_empty() {
            return Ok(0);
        }
        let signed = countersign(&self.gateway_key, &receipts);
        self.store.countersign(signed).await?;
        metrics::counter!("cocoon_receipt_batches_total").increment(1);
        Ok(receipts.len())
    }
}

/// Tells each worker about its own. One that is away replays when it is back.
fn acknowledge(settled: &[Notice]) {
    let mut by_worker: HashMap<WorkerId, (&Acknowledge, Vec<RequestId>)> = HashMap::new();
    for Notice { request_id, acknowledge } in settled {
        let entry = by_worker.entry(acknowledge.worker).or_insert((acknowledge, Vec::new()));
        entry.1.push(*request_id);
        // The latest link: an earlier one may be gone.
        entry.0 = acknowledge;
    }
    for (acknowledge, requests) in by_worker.into_values() {
        (acknowledge.send)(requests);
    }
}

/// The signatures of one batch: its root, signed, and each receipt's path.
fn countersign(key: &SigningKey, receipts: &[Uncountersigned]) -> Vec<Countersignature> {
    let leaves: Vec<_> =
        receipts.iter().map(|receipt| batch::leaf(&receipt.core, &receipt.signature)).collect();
    let root = batch::merkle_root(&leaves);
    let signature = batch::countersign(key, &root);
    let gateway_key = key.verifying_key().to_bytes();
    let sign = |(index, receipt): (usize, &Uncountersigned)| Countersignature {
        request_id: receipt.request_id,
        root,
        signature,
        gateway_key,
        proof: batch::proof(&leaves, index).expect("every receipt is a leaf").to_bytes(),
    };
    receipts.iter().enumerate().map(sign).collect()
}
