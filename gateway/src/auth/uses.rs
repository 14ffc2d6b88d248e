//! Writes down, now and then, when keys were last used.

use std::sync::Arc;
use std::time::Duration;

use cocoon_runtime::Lifecycle;
use cocoon_store::Store;
use tokio::time::{MissedTickBehavior, interval};

use super::KeyTable;

/// How far a listing may lag.
const PACE: Duration = Duration::from_secs(5);
/// What one call of the store takes.
const BATCH: usize = 10_000;

/// Starts the job. On a drain it writes what is left and ends.
pub fn record_key_uses(keys: Arc<KeyTable>, store: Store, lifecycle: &Lifecycle) {
    let soft = lifecycle.soft().clone();
    lifecycle.spawn("keys.record_uses", async move {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                _ = ticks.tick() => false,
                () = soft.cancelled() => true,
            };
            flush(&keys, &store).await;
            if is_last {
                return;
            }
        }
    });
}

/// A use that cannot be written is forgotten: it is a hint for people, not an account.
async fn flush(keys: &KeyTable, store: &Store) {
    for batch in keys.take_uses().chunks(BATCH) {
        if let Err(error) = store.touch_keys(batch.to_vec()).await {
            tracing::warn!(%error, keys = batch.len(), "last uses of keys were not recorded");
        }
    }
}
