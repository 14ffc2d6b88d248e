//! The requests of this process that are not settled yet, by id.
//!
//! A worker's receipt may come twice: in the stream, and on the event channel. While a request
//! is live here, a receipt from the event channel is handed to whoever will settle the request,
//! because only that one knows what was delivered. Bound: an entry is made for an outcome slot
//! and leaves with the settlement, so there are at most as many as slots and settlements in work.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cocoon_attest::receipt::SignedReceipt;
use cocoon_primitives::{RequestId, WorkerId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::body::StreamCell;

/// The live requests. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct LiveRequests {
    requests: Arc<Mutex<HashMap<RequestId, Live>>>,
}

#[derive(Debug)]
struct Live {
    /// The worker that holds the request now, and its attempt.
    service: Option<(WorkerId, u32)>,
    /// Gone once a receipt was handed over.
    receipt: Option<oneshot::Sender<SignedReceipt>>,
    stream: Weak<StreamCell>,
}

/// What became of a receipt that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Whoever settles the request has it, and acknowledges it once it is recorded or refused.
    Taken,
    /// The request is live, but not with this worker and attempt: nobody will be paid with it.
    Stale,
    NotLive,
}

impl LiveRequests {
    /// Enters a request; `None` where its id is live already.
    pub(crate) fn enter(&self, request_id: RequestId) -> Option<Seat> {
        let (sender, receipt) = oneshot::channel();
        let live = Live { service: None, receipt: Some(sender), stream: Weak::new() };
        match self.lock().entry(request_id) {
            Entry::Occupied(_) => None,
            Entry::Vacant(entry) => {
                entry.insert(live);
                Some(Seat { requests: self.clone(), request_id, receipt })
            }
        }
    }

    pub(crate) fn offer(
        &self,
        (request_id, worker, attempt): (RequestId, WorkerId, u32),
        receipt: SignedReceipt,
    ) -> Offer {
        match self.lock().get_mut(&request_id) {
            None => Offer::NotLive,
            Some(live) if live.service != Some((worker, attempt)) => Offer::Stale,
            Some(live) => {
                if let Some(sender) = live.receipt.take() {
                    // Cannot fail while the request is listed: see `Seat::leave`.
                    drop(sender.send(receipt));
                }
                Offer::Taken
            }
        }
    }

    /// Puts a request's stream under the sweep.
    pub(crate) fn watch(&self, request_id: RequestId, stream: Weak<StreamCell>) {
        if let Some(live) = self.lock().get_mut(&request_id) {
            live.stream = stream;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Ends the streams that are over their deadline or that their client does not read.
    pub(crate) fn sweep(&self, now: Instant) {
        let streams: Vec<_> = self.lock().values().map(|live| live.stream.clone()).collect();
        for stream in streams.iter().filter_map(Weak::upgrade) {
            stream.sweep(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Live>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's place; leaving is dropping it.
#[derive(Debug)]
pub(crate) struct Seat {
    requests: LiveRequests,
    request_id: RequestId,
    /// The receipt from the event channel.
    pub(crate) receipt: oneshot::Receiver<SignedReceipt>,
}

impl Seat {
    /// From now on this worker and attempt may bring a receipt. One that another has brought
    /// meanwhile is forgotten: it is not acknowledged, so its worker brings it again.
    pub(crate) fn assign(&mut self, service: Option<(WorkerId, u32)>) {
        if let Some(live) = self.requests.lock().get_mut(&self.request_id) {
            let (sender, receipt) = oneshot::channel();
            (live.service, live.receipt) = (service, Some(sender));
            self.receipt = receipt;
        }
    }

    /// Leaves the list, and then looks a last time for a receipt: one that was offered before is
    /// here, one that is offered later is not taken.
    pub(crate) fn leave(mut self) -> Option<SignedReceipt> {
        self.requests.lock().remove(&self.request_id);
        self.receipt.try_recv().ok()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.requests.lock().remove(&self.request_id);
    }
}
