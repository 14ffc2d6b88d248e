//! Receipts that the gateway has not acknowledged as durable.
//!
//! Every receipt goes in, also one that travelled in its stream: after a crash of the gateway
//! this is what its ledger is rebuilt from. Bounded: over [`RECEIPTS_MAX`] the oldest is dropped
//! with a warning, because a worker must not stop serving over a gateway that never answers.
//!
//! An outbox with a folder ([`ReceiptOutbox::open`]) outlives its process: see [`journal`] for what
//! a crash and what a power loss leave. Receipts name their own worker key, so those of an earlier
//! run are brought to the gateway like all others.

mod journal;
mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cocoon_attest::receipt::{ReceiptCore, SignedReceipt};
use cocoon_primitives::RequestId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use journal::{Journal, sync_folder};

/// Receipts kept at most.
pub const RECEIPTS_MAX: usize = 10_000;

/// Receipts of this time share one wait for the disk.
const SYNC_INTERVAL: Duration = Duration::from_millis(50);
/// Between two attempts at a file that does not reach the disk.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The receipts of one worker, whatever connection they leave by.
#[derive(Debug, Default)]
pub struct ReceiptOutbox {
    state: Mutex<State>,
    changed: Notify,
    /// The file has something for the disk.
    written: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// In order of arrival.
    receipts: BTreeMap<u64, (RequestId, Arc<SignedReceipt>)>,
    /// A retried request may have several receipts.
    of_request: HashMap<RequestId, Vec<u64>>,
    /// What `receipts` take in a file, about.
    bytes: u64,
    journal: Option<Journal>,
}

impl ReceiptOutbox {
    /// An outbox in memory: it goes with its process.
    pub fn new() -> Self {
        Self::default()
    }

    /// An outbox with a file of its own in `folder`, which begins with what earlier runs left there.
    /// `name` is of this run alone. [`Self::keep`] has to run beside it.
    pub fn open(folder: &Path, name: &str) -> io::Result<Self> {
        let (journal, receipts) = Journal::open(folder, name)?;
        let outbox = Self::new();
        let mut state = outbox.state();
        let mut dropped = 0_usize;
        for receipt in receipts {
            let core = ReceiptCore::decode(&receipt.core).map_err(io::Error::other)?;
            dropped += usize::from(state.insert(core.request_id, receipt).is_some());
        }
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "the outbox is full: the {dropped} oldest receipts were dropped"
            );
        }
        let waiting = state.receipts.len();
        if waiting > 0 {
            tracing::info!(waiting, "{waiting} receipts of an earlier run wait for the gateway");
        }
        state.journal = Some(journal);
        drop(state);
        Ok(outbox)
    }

    /// Keeps a receipt until it is acknowledged. Synchronous, so that `Drop` can call it; it writes
    /// to the file and does not wait for the disk.
    pub fn push(&self, receipt: SignedReceipt) {
        let request_id = match ReceiptCore::decode(&receipt.core) {
            Ok(core) => core.request_id,
            Err(error) => {
                tracing::error!(%error, "a receipt of our own does not decode and is lost");
                return;
            }
        };
        let mut state = self.state();
        // Before anybody can read it from here.
        state.record(|| record::of_receipt(&receipt));
        let dropped = state.insert(request_id, receipt);
        drop(state);
        if let Some(dropped) = dropped {
            tracing::warn!(request.id = %dropped, "the outbox is full: receipt {dropped} was dropped");
        }
        // One permit is stored where nobody waits, so no wake-up is lost between two polls.
        self.changed.notify_one();
        self.written.notify_one();
    }

    /// Forgets the receipts of these requests.
    pub fn acknowledged(&self, request_ids: &[RequestId]) {
        let mut state = self.state();
        for request_id in request_ids {
            for at in state.of_request.remove(request_id).unwrap_or_default() {
                state.remove(at);
            }
        }
        state.record(|| record::of_acknowledged(request_ids));
        drop(state);
        self.written.notify_one();
    }

    /// Receipts that wait for an acknowledgement.
    pub fn len(&self) -> usize {
        self.state().receipts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything that is not acknowledged, oldest first, then what comes. One subscription at a
    /// time: a second takes over the wake-ups of the first.
    pub fn subscribe(self: &Arc<Self>) -> Subscription {
        Subscription { outbox: Arc::clone(self), from: 0 }
    }

    /// Brings the file to the disk, and keeps it short, until `soft` fires. What is written in a
    /// drain after that reaches the operating system, which survives the process.
    pub async fn keep(self: Arc<Self>, soft: CancellationToken) {
        while !soft.is_cancelled() {
            tokio::select! {
                () = self.written.notified() => {}
                () = soft.cancelled() => {}
            }
            // What else comes in this time shares the wait.
            drop(tokio::time::timeout(SYNC_INTERVAL, soft.cancelled()).await);
            let outbox = Arc::clone(&self);
            let synced = tokio::task::spawn_blocking(move || outbox.sync()).await;
            if let Ok(Err(error)) = synced {
                tracing::error!(%error, "the outbox's file does not reach the disk");
                // Tried again, also where nothing else comes.
                drop(tokio::time::timeout(RETRY_INTERVAL, soft.cancelled()).await);
                self.written.notify_one();
            }
        }
    }

    /// One round of [`Self::keep`]. The lock is not held while the disk is waited for.
    fn sync(&self) -> io::Result<()> {
        let dirty = self.state().journal.as_mut().and_then(Journal::take_dirty);
        let synced = dirty.map_or(Ok(()), |file| file?.sync_data());
        let mut state = self.state();
        if let (Err(error), Some(journal)) = (synced, state.journal.as_mut()) {
            tracing::error!(%error, "the outbox's file does not reach the disk: it is written anew");
            journal.distrust();
        }
        let live = state.bytes;
        let Some(journal) = state.journal.as_mut().filter(|journal| journal.wants_rewrite(live))
        else {
            return Ok(());
        };
        let rewrite = journal.begin_rewrite();
        let receipts: Vec<_> =
            state.receipts.values().map(|(_, receipt)| Arc::clone(receipt)).collect();
        drop(state);
        let rewritten = rewrite.write(receipts.iter().map(|receipt| &**receipt));
        let mut state = self.state();
        let Some(journal) = state.journal.as_mut() else { return Ok(()) };
        let folder = journal.end_rewrite(rewritten)?;
        drop(state);
        // Until then a power loss may bring the old file back.
        sync_folder(&folder).inspect_err(|_| {
            if let Some(journal) = self.state().journal.as_mut() {
                journal.distrust();
            }
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ReceiptOutbox {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = &state.journal
            && state.receipts.is_empty()
        {
            journal.remove();
        }
    }
}

impl State {
    fn record(&mut self, records: impl FnOnce() -> Vec<u8>) {
        if let Some(journal) = &mut self.journal {
            journal.append(&records());
        }
    }

    /// The request whose receipt had to go.
    fn insert(&mut self, request_id: RequestId, receipt: SignedReceipt) -> Option<RequestId> {
        self.bytes = self.bytes.saturating_add(bytes_of(&receipt));
        self.receipts.insert(self.next, (request_id, Arc::new(receipt)));
        self.of_request.entry(request_id).or_default().push(self.next);
        self.next += 1;
        if self.receipts.len() <= RECEIPTS_MAX {
            return None;
        }
        let at = *self.receipts.first_key_value()?.0;
        let oldest = self.remove(at)?;
        if let Some(places) = self.of_request.get_mut(&oldest) {
            places.retain(|place| *place != at);
            if places.is_empty() {
                self.of_request.remove(&oldest);
            }
        }
        Some(oldest)
    }

    fn remove(&mut self, at: u64) -> Option<RequestId> {
        let (request_id, receipt) = self.receipts.remove(&at)?;
        self.bytes = self.bytes.saturating_sub(bytes_of(&receipt));
        Some(request_id)
    }
}

/// What a receipt takes in the file, about: the same at its coming and its going.
fn bytes_of(receipt: &SignedReceipt) -> u64 {
    u64::try_from(receipt.core.len() + 160).unwrap_or(u64::MAX)
}

/// A reader of the outbox.
#[derive(Debug)]
pub struct Subscription {
    outbox: Arc<ReceiptOutbox>,
    from: u64,
}

impl Subscription {
    /// The next receipt. Cancel-safe: a receipt is taken only when it is returned, and stays in
    /// the outbox until it is acknowledged.
    pub async fn next(&mut self) -> Arc<SignedReceipt> {
        loop {
            if let Some(receipt) = self.try_next() {
                return receipt;
            }
            self.outbox.changed.notified().await;
        }
    }

    /// The next receipt that is already there.
    pub fn try_next(&mut self) -> Option<Arc<SignedReceipt>> {
        let state = self.outbox.state();
        let (at, (_, receipt)) = state.receipts.range(self.from..).next()?;
        self.from = at + 1;
        Some(Arc::clone(receipt))
    }
}
