//! A policy that changed or ended, brought to bear on every lease at once.

use std::sync::Arc;
use std::time::Duration;

use cocoon_primitives::{Clock, Timestamp};
use tokio::time::{Instant, sleep_until};

use super::link::Revoked;
use super::{SharedFleet, UplinkParts, lock};
use crate::policy::InForce;

/// How long to wait for the policy's end at most before looking at the clock again, which may
/// have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(super) fn start(parts: &UplinkParts) {
    let (fleet, clock) = (Arc::clone(&parts.fleet), Arc::clone(&parts.clock));
    let soft = parts.lifecycle.soft().clone();
    let mut policies = parts.policy.subscribe();
    parts.lifecycle.spawn("uplink.enforce", async move {
        let mut in_force = Arc::clone(&policies.borrow_and_update());
        loop {
            let is_over = tokio::select! {
                () = soft.cancelled() => return,
                changed = policies.changed() => if changed.is_err() { return } else { false },
                () = end(&in_force, clock.as_ref()) => true,
            };
            in_force = Arc::clone(&policies.borrow_and_update());
            enforce(&fleet, &in_force, clock.now());
            if is_over {
                tracing::error!(
                    policy.version = in_force.policy.version(),
                    "the policy has ended: no worker is admitted until there is a new one"
                );
                tokio::select! {
                    () = soft.cancelled() => return,
                    changed = policies.changed() => if changed.is_err() { return },
                }
                in_force = Arc::clone(&policies.borrow_and_update());
                enforce(&fleet, &in_force, clock.now());
            }
        }
    });
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

fn enforce(fleet: &SharedFleet, in_force: &InForce, now: Timestamp) {
    let ended = lock(fleet).reappraise(&in_force.policy, now);
    for (worker, lease, refusal, link) in ended {
        let reason = refusal.code();
        link.revoke(Revoked { reason, streams: in_force.policy.on_revocation() });
        metrics::counter!("cocoon_uplink_revocations_total", "reason" => reason).increment(1);
        tracing::warn!(
            worker.id = %worker, lease.id = %lease, reason,
            "the policy no longer admits worker {worker}: {refusal}"
        );
    }
}
