//! A policy that changed or ended, brought to bear on every lease at once.

use std::sync::Arc;
use std::time::Duration;

use cocoon_attest::enrol::Refusal;
use cocoon_primitives::{Clock, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::link::{Revoked, WorkerLink};
use super::registry::Registry;
use super::{SharedFleet, UplinkParts, lock};
use crate::policy::InForce;

/// How long to wait for the policy's end at most before looking at the clock again, which may
/// have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(super) fn start(parts: &UplinkParts, registry: Arc<Registry>) {
    let (fleet, clock) = (Arc::clone(&parts.fleet), Arc::clone(&parts.clock));
    let soft = parts.lifecycle.soft().clone();
    let policies = parts.policy.subscribe();
    parts.lifecycle.spawn("uplink.enforce", async move {
        let enforce =
            |in_force: &InForce, now: Timestamp| enforce(&fleet, &registry, in_force, now);
        follow(policies, clock.as_ref(), &soft, enforce).await;
    });
}

/// Enforces each policy when it comes into force, and once more when it ends.
async fn follow(
    mut policies: watch::Receiver<Arc<InForce>>,
    clock: &dyn Clock,
    soft: &CancellationToken,
    enforce: impl Fn(&InForce, Timestamp),
) {
    loop {
        let in_force = Arc::clone(&policies.borrow_and_update());
        let now = clock.now();
        enforce(&in_force, now);
        // Of this policy, by the time that it was enforced at: the end of one that follows it is
        // watched in its own turn.
        let is_over = in_force.policy.not_after() <= now;
        if is_over {
            tracing::error!(
                policy.version = in_force.policy.version(),
                "the policy has ended: no worker is admitted until there is a new one"
            );
        }
        tokio::select! {
            () = soft.cancelled() => return,
            changed = policies.changed() => if changed.is_err() { return },
            () = end(&in_force, clock), if !is_over => {}
        }
    }
}

/// Waits until the policy is over.
async fn end(in_force: &InForce, clock: &dyn Clock) {
    loop {
        let left = in_force.policy.not_after().since(clock.now());
        if left.is_zero() {
            return;
        }
        sleep_until(Instant::now() + left.min(LOOK_AGAIN)).await;
    }
}

/// The fleet first: when this returns, nothing new goes to those that the policy does not admit.
fn enforce(fleet: &SharedFleet, registry: &Registry, in_force: &InForce, now: Timestamp) {
    let ended = lock(fleet).reappraise(&in_force.policy, now);
    for (_, _, refusal, link) in ended {
        revoke(&link, &refusal, in_force);
    }
    // Then those that have left it, and whose streams run on.
    for (link, refusal) in registry.refused(&in_force.policy, now) {
        revoke(&link, &refusal, in_force);
    }
}

fn revoke(link: &WorkerLink, refusal: &Refusal, in_force: &InForce) {
    let reason = refusal.code();
    if !link.revoke(Revoked { reason, streams: in_force.policy.on_revocation() }) {
        return;
    }
    metrics::counter!("cocoon_uplink_revocations_total", "reason" => reason).increment(1);
    let (worker, lease) = (link.worker_id(), link.lease().lease_id);
    tracing::warn!(
        worker.id = %worker, lease.id = %lease, reason,
        "the policy no longer admits worker {worker}: {refusal}"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use cocoon_attest::policy::Policy;
    use cocoon_primitives::MockClock;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// In force for so long.
    fn policy(version: u64, seconds: u64) -> Arc<InForce> {
        let ends = i64::try_from(NOW.as_seconds() + seconds).unwrap();
        let text = format!(
            "schema = 1\nversion = {version}\nnot_after = \"{}\"\nmode = \"development\"\n",
            jiff::Timestamp::from_second(ends).unwrap()
        );
        let policy = Policy::parse(text.as_bytes()).unwrap();
        Arc::new(InForce { policy, text: text.into_bytes(), signatures: Vec::new() })
    }

    /// A policy that comes just as the one before it ends is over at its own end all the same.
    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_policy_is_seen_whenever_it_came() {
        // Which of two things that are ready is taken first is left to chance: so, often.
        for _ in 0..32 {
            let (clock, soft) = (MockClock::at(NOW), CancellationToken::new());
            let (sender, policies) = watch::channel(policy(1, 10));
            let enforced = Mutex::new(Vec::new());
            let following = follow(policies, &clock, &soft, |in_force, now| {
                enforced.lock().unwrap().push((in_force.policy.version(), now));
            });
            let changing = async {
                tokio::task::yield_now().await;
                clock.advance(Duration::from_secs(10));
                sender.send_replace(policy(2, 20));
                sleep_until(Instant::now() + LOOK_AGAIN * 2).await;
                clock.advance(Duration::from_secs(10));
                sleep_until(Instant::now() + LOOK_AGAIN * 2).await;
                soft.cancel();
            };
            tokio::join!(following, changing);
            let end = NOW.saturating_add(Duration::from_secs(20));
            assert_eq!(enforced.lock().unwrap().last(), Some(&(2, end)));
        }
    }
}
