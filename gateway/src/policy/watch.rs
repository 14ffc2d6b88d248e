//! The task that looks for a new policy.

use std::sync::Arc;
use std::time::Duration;

use cocoon_primitives::Clock;
use cocoon_runtime::Lifecycle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::PolicyStore;

/// How often the files are looked at. Both are read whole: they are small, and what the file
/// system says about times is not precise enough to rest a revocation on.
const INTERVAL: Duration = Duration::from_millis(250);

impl PolicyStore {
    /// Starts to look for changes, until the lifecycle drains.
    pub fn watch(self: &Arc<Self>, clock: Arc<dyn Clock>, lifecycle: &Lifecycle) {
        let (store, soft) = (Arc::clone(self), lifecycle.soft().clone());
        lifecycle.spawn("policy.watch", async move {
            let mut hangups = hangups();
            let mut ticks = interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = soft.cancelled() => return,
                    _ = ticks.tick() => {}
                    () = next(&mut hangups) => tracing::info!("asked to read the policy again"),
                }
                let (store, now) = (Arc::clone(&store), clock.now());
                let looked = tokio::task::spawn_blocking(move || store.reload(now)).await;
                let outcome = match looked {
                    Ok(Ok(None)) => continue,
                    Ok(Ok(Some(_))) => "accepted",
                    // The next look may go better: without one no revocation would be seen.
                    Err(error) => {
                        tracing::error!(%error, "reading the policy failed");
                        "failed"
                    }
                    Ok(Err(refused)) => {
                        tracing::error!("the policy stays as it was: {refused}");
                        "refused"
                    }
                };
                metrics::counter!("cocoon_policy_reloads_total", "outcome" => outcome).increment(1);
            }
        });
    }
}

/// Without them the files are still looked at.
fn hangups() -> Option<Signal> {
    signal(SignalKind::hangup())
        .inspect_err(|error| tracing::warn!(%error, "failed to listen for SIGHUP"))
        .ok()
}

async fn next(hangups: &mut Option<Signal>) {
    let asked = match hangups {
        Some(hangups) => hangups.recv().await,
        None => None,
    };
    if asked.is_none() {
        std::future::pending::<()>().await;
    }
}
