//! Once a second: what nobody came back for is given back.
//!
//! Reservations whose request was neither settled nor replayed by a worker, leases that were not
//! renewed, streams that their client does not read, idempotency keys of yesterday, and once an
//! hour API keys that died long ago. The first pass runs at the start, so that a
//! gateway that was down for long begins with a clean ledger.

use std::sync::Arc;
use std::time::Duration;

use cocoon_primitives::{Clock, Timestamp};
use cocoon_runtime::Lifecycle;
use cocoon_store::Store;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::dispatch::LiveRequests;
use crate::uplink::{SharedFleet, lock};

const PERIOD: Duration = Duration::from_secs(1);
/// Passes between two looks for dead keys: an hour of them.
const PASSES_PER_KEY_SWEEP: u32 = 3600;
/// How long an unused key that was revoked or has expired is still listed.
const KEYS_DEAD_FOR: Duration = Duration::from_secs(90 * 24 * 60 * 60);
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
        for pass in (0..PASSES_PER_KEY_SWEEP).cycle() {
            tokio::select! {
                _ = ticks.tick() => expiry.pass().await,
                () = soft.cancelled() => break,
            }
            if pass == 0 {
                expiry.forget_keys().await;
            }
        }
    });
}

impl Expiry {
    /// Idempotency keys whose time is over, with the answers that were kept under them.
    async fn forget_claims(&self, now: Timestamp) {
        loop {
            match self.store.forget_claims(now).await {
                Ok((forgotten, has_more)) => {
                    let count = u64::try_from(forgotten).unwrap_or(u64::MAX);
                    metrics::counter!("cocoon_idempotency_claims_forgotten_total").increment(count);
                    if !has_more {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(cause = %error, "expiry of idempotency keys is put off");
                    return;
                }
            }
        }
    }

    /// Keys that died long ago without having served.
    async fn forget_keys(&self) {
        let before = self.clock.now().saturating_sub(KEYS_DEAD_FOR);
        match self.store.forget_keys(before).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "forgot {count} dead API keys"),
            Err(error) => tracing::warn!(cause = %error, "expiry of dead keys is put off"),
        }
    }

    async fn pass(&self) {
        let now = self.clock.now();
        self.live.sweep(Instant::now());
        let ended = lock(&self.fleet).expire(now);
        for (worker, link) in ended {
            tracing::warn!(worker.id = %worker, "lease of {worker} ended: its link is closed");
            // What runs on it may finish; the worker has to enrol anew for more.
            link.close();
        }
        self.forget_claims(now).await;
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
