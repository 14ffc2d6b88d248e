//! What no request waits for: late receipts, countersignatures, expiry.
//!
//! Every job is a tracked task that may be stopped anywhere and started again: what is to be done
//! is read from the store, each step may be repeated, and a worker keeps a receipt until it is
//! acknowledged as durable. So there is no recovery of its own kind: after a crash the same jobs
//! find the same work. On a drain they finish what is queued.

use std::sync::Arc;

use cocoon_primitives::Clock;
use cocoon_runtime::Lifecycle;
use cocoon_store::Store;
use ed25519_dalek::SigningKey;
use tokio::sync::mpsc;

use crate::dispatch::LiveRequests;
use crate::uplink::{LateReceipt, SharedFleet};

mod countersign;
mod expire;
mod receipts;

pub(crate) use countersign::Acknowledge;
pub use countersign::Countersigner;

/// What the jobs work on.
pub struct JobParts {
    pub store: Store,
    pub fleet: SharedFleet,
    pub clock: Arc<dyn Clock>,
    pub lifecycle: Lifecycle,
    /// What workers send on their event channels.
    pub late_receipts: mpsc::Receiver<LateReceipt>,
    pub gateway_key: SigningKey,
}

/// What the dispatcher shares with the running jobs.
#[derive(Debug, Clone)]
pub struct Jobs {
    pub countersigner: Countersigner,
    pub live: LiveRequests,
}

/// Starts all jobs as tracked tasks.
pub fn start(parts: JobParts) -> Jobs {
    let JobParts { store, fleet, clock, lifecycle, late_receipts, gateway_key } = parts;
    let live = LiveRequests::default();
    let countersigning =
        countersign::Countersigning { store: store.clone(), live: live.clone(), gateway_key };
    let countersigner = countersign::start(countersigning, &lifecycle);
    let receipts = receipts::Receipts {
        store: store.clone(),
        clock: clock.clone(),
        live: live.clone(),
        countersigner: countersigner.clone(),
    };
    receipts::start(receipts, late_receipts, &lifecycle);
    expire::start(expire::Expiry { store, fleet, clock, live: live.clone() }, &lifecycle);
    Jobs { countersigner, live }
}
