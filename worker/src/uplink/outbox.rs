//! Receipts that the gateway has not acknowledged as durable.
//!
//! Every receipt goes in, also one that travelled in its stream: after a crash of the gateway
//! this is what its ledger is rebuilt from. Bounded: over [`RECEIPTS_MAX`] the oldest is dropped
//! with a warning, because a worker must not stop serving over a gateway that never answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cocoon_attest::receipt::{ReceiptCore, SignedReceipt};
use cocoon_primitives::RequestId;
use tokio::sync::Notify;

/// Receipts kept at most.
pub const RECEIPTS_MAX: usize = 10_000;

/// The receipts of one worker, whatever connection they leave by.
#[derive(Debug, Default)]
pub struct ReceiptOutbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// In order of arrival.
    receipts: BTreeMap<u64, (RequestId, Arc<SignedReceipt>)>,
    /// A retried request may have several receipts.
    of_request: HashMap<RequestId, Vec<u64>>,
    dropped: u64,
}

impl ReceiptOutbox {
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps a receipt until it is acknowledged. Synchronous, so that `Drop` can call it.
    pub fn push(&self, receipt: SignedReceipt) {
        let request_id = match ReceiptCore::decode(&receipt.core) {
            Ok(core) => core.request_id,
            Err(error) => {
                tracing::error!(%error, "a receipt of our own does not decode and is lost");
                return;
            }
        };
        let dropped = self.state().insert(request_id, receipt);
        if let Some(dropped) = dropped {
            tracing::warn!(request.id = %dropped, "the outbox is full: receipt {dropped} was dropped");
        }
        // One permit is stored where nobody waits, so no wake-up is lost between two polls.
        self.changed.notify_one();
    }

    /// Forgets the receipts of these requests.
    pub fn acknowledged(&self, request_ids: &[RequestId]) {
        let mut state = self.state();
        for request_id in request_ids {
            for at in state.of_request.remove(request_id).unwrap_or_default() {
                state.receipts.remove(&at);
            }
        }
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The request whose receipt had to go.
    fn insert(&mut self, request_id: RequestId, receipt: SignedReceipt) -> Option<RequestId> {
        self.receipts.insert(self.next, (request_id, Arc::new(receipt)));
        self.of_request.entry(request_id).or_default().push(self.next);
        self.next += 1;
        if self.receipts.len() <= RECEIPTS_MAX {
            return None;
        }
        let (at, (oldest, _)) = self.receipts.pop_first()?;
        self.dropped += 1;
        if let Some(places) = self.of_request.get_mut(&oldest) {
            places.retain(|place| *place != at);
            if places.is_empty() {
                self.of_request.remove(&oldest);
            }
        }
        Some(oldest)
    }
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
