//! Once a second: what nobody came back for is given back.
//!
//! Reservations whose request was neither settled nor replayed by a worker, leases that were not
//! renewed, streams that their client does not read. The first pass runs at the start, so that a
//! gateway that was down for long begins with a clean ledger.

use std::sync::Arc;
use std::time::Duration;

use cocoon_primitives::Clock;
use cocoon_runtime::Lifecycle;
use cocoon_store::Store;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::dispatch::LiveRequests;
use crate::uplink::{SharedFleet, lock};

const PERIOD: Duration = Duration::from_secs(1);
/// Reservations of one transaction.
const BATCH: usize = 256;

pub(super) struct Expiry {
    pub(super) store: Store,
    pub(super) fleet: SharedFleet,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) live: LiveRequests,
}

pub(super) fn start(expiry: Expiry, lifecycle: &Lifecycle) {
    let soft = lifecycle.soft().clone();
    lifecycle.spawn("expiry", async move {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => expiry.pass().await,
                () = soft.cancelled() => break,
            }
        }
    });
}

impl Expiry {
    async fn pass(&self) {
        let now = self.clock.now();
        self.live.sweep(Instant::now());
        let ended = lock(&self.fleet).expire(now);
        for (worker, link) in ended {
            tracing::warn!(worker.id = %worker, "lease of {worker} ended: its link is closed");
            // What runs on it may finish; the worker has to enrol anew for more.
            link.close();
        }
        loop {
            match self.store.expire_reservations(now, BATCH).await {
                Ok(expired) => {
                    for request in &expired {
                        tracing::warn!(
                            request.id = %request,
                            "reservation of {request} expired: its amount is given back"
                        );
                    }
                    let count = u64::try_from(expired.len()).unwrap_or(u64::MAX);
                    metrics::counter!("cocoon_reservations_expired_total").increment(count);
                    if expired.len() < BATCH {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(cause = %error, "expiry of reservations is put off");
                    return;
                }
            }
        }
    }
}
