//! Prolonging a lease before it ends: light as a rule, full after a while and after every change
//! of the policy.

use std::sync::Arc;
use std::time::Duration;

use cocoon_attest::appraisal::Appraised;
use cocoon_attest::enrol::Refusal;
use cocoon_attest::lease::Lease;
use cocoon_attest::renewal::{Held, LightChallenge, RenewalFault, Renewed, full};
use cocoon_store::StoreError;
use cocoon_uplink_wire::renew::{RenewalAnswer, RenewalRequest};
use tokio::time::{Instant, sleep_until, timeout};

use super::link::{AskError, WorkerLink};
use super::verifier::{Channel, Judged, Verifier, random};
use super::{SharedFleet, lock};
use crate::policy::InForce;

/// For one light renewal: a signature.
const LIGHT_DEADLINE: Duration = Duration::from_secs(10);
/// For one full renewal: a quote, and a report of each device. Within it a worker also has to
/// prove itself under a policy that changed.
const FULL_DEADLINE: Duration = Duration::from_secs(30);
/// Between two renewals at least, also where a policy's end lets leases be no longer.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Over how long the workers of a gateway prove themselves again after a change of the policy,
/// for each of them: all at once would be a burst of verdicts and of entries in the log.
const SPREAD_PER_WORKER: Duration = Duration::from_micros(31_250);
/// And over how long at most, however many they are.
const SPREAD_MAX: Duration = Duration::from_secs(10);

/// Why a lease was not prolonged.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewalError {
    #[error("the worker did not answer in time")]
    Deadline,
    #[error("the worker was not heard")]
    Ask(#[source] AskError),
    #[error("the answer does not verify")]
    Fault(#[source] RenewalFault),
    #[error("the new evidence was refused")]
    Refused(#[source] Refusal),
    #[error("the renewal could not be recorded")]
    NotRecorded(#[source] StoreError),
    #[error("the gateway stops")]
    Stopped,
}

impl RenewalError {
    /// A stable code for metrics and logs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Deadline | Self::Ask(AskError::Deadline) => "deadline",
            Self::Ask(_) => "no_answer",
            Self::Fault(fault) => fault.code(),
            Self::Refused(refusal) => refusal.code(),
            Self::NotRecorded(_) => "not_recorded",
            Self::Stopped => "stopped",
        }
    }

    /// The refusal of a worker that did not prove what it has to, under the policy in force.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Refused(_) | Self::Fault(_) => Some(self.code()),
            Self::Deadline | Self::Ask(_) | Self::NotRecorded(_) | Self::Stopped => None,
        }
    }

    /// The policy changed under way: that is nobody's fault, and asked again under the new one.
    const fn is_policy_change(&self) -> bool {
        matches!(self, Self::Refused(Refusal::PolicyChanged) | Self::Fault(RenewalFault::Policy))
    }
}

/// What a renewal changed.
pub(super) struct Prolonged {
    pub(super) renewed: Renewed,
    /// What the last full evidence of the connection proved.
    pub(super) appraised: Arc<Appraised>,
}

/// One connection's renewals.
pub(super) struct Renewals<'a> {
    pub(super) verifier: &'a Verifier,
    pub(super) link: &'a WorkerLink,
    pub(super) channel: &'a Channel,
    pub(super) fleet: &'a SharedFleet,
    pub(super) appraised: Arc<Appraised>,
}

impl Renewals<'_> {
    /// Renews at two thirds of what is left of each lease, and at once when the policy changes,
    /// until one renewal fails.
    pub(super) async fn run(mut self, mut prolonged: impl FnMut(Prolonged)) -> RenewalError {
        let mut policies = self.verifier.policy.subscribe();
        let mut proven = Instant::now();
        loop {
            let in_force = Arc::clone(&policies.borrow_and_update());
            if self.appraised.policy_digest == in_force.digest() {
                let left = self.link.lease().expires.since(self.verifier.clock.now());
                let due = Instant::now() + (left * 2 / 3).max(PAUSE_MIN);
                tokio::select! {
                    () = sleep_until(due) => {}
                    changed = policies.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return RenewalError::Stopped,
                    },
                }
            } else {
                sleep_until(Instant::now() + self.spread()).await;
            }
            let is_full = self.appraised.policy_digest != in_force.digest()
                || proven.elapsed() >= in_force.policy.full_renewal();
            match self.renew(is_full, &in_force).await {
                Ok(done) => {
                    self.appraised = Arc::clone(&done.appraised);
                    prolonged(done);
                }
                Err(error)
                    if error.is_policy_change() && policies.has_changed().unwrap_or(false) =>
                {
                    continue;
                }
                Err(error) => return error,
            }
            if is_full {
                proven = Instant::now();
            }
        }
    }

    /// A moment by chance, so that not all workers prove themselves at once.
    fn spread(&self) -> Duration {
        let live = u32::try_from(lock(self.fleet).len()).unwrap_or(u32::MAX);
        let left = self.link.lease().expires.since(self.verifier.clock.now());
        let whole = SPREAD_PER_WORKER.saturating_mul(live).min(SPREAD_MAX).min(left / 4);
        whole * u32::from(u16::from_be_bytes(random())) / u32::from(u16::MAX)
    }

    async fn renew(&self, is_full: bool, in_force: &InForce) -> Result<Prolonged, RenewalError> {
        // The time runs from its turn on: what a report still takes is not the worker's delay.
        let _turn = if is_full { Some(self.link.renewal().await) } else { None };
        let lease = self.link.lease();
        let left = lease.expires.since(self.verifier.clock.now());
        let (kind, deadline) = if is_full {
            ("full", FULL_DEADLINE.min(left))
        } else {
            ("light", LIGHT_DEADLINE.min(left))
        };
        let outcome = timeout(deadline, async {
            if is_full { self.full(&lease).await } else { self.light(&lease, in_force).await }
        });
        let outcome = outcome.await.unwrap_or(Err(RenewalError::Deadline));
        let told = outcome.as_ref().err().map_or("renewed", RenewalError::code);
        metrics::counter!("cocoon_uplink_renewals_total", "kind" => kind, "outcome" => told)
            .increment(1);
        outcome
    }

    async fn light(&self, lease: &Lease, in_force: &InForce) -> Result<Prolonged, RenewalError> {
        let challenge = LightChallenge::issue(random());
        let request = RenewalRequest::Light { nonce: *challenge.nonce() };
        let answer = self.link.ask(&request).await.map_err(RenewalError::Ask)?;
        let RenewalAnswer::Light { signature } = answer else {
            return Err(RenewalError::Ask(AskError::Kind));
        };
        let appraised = Arc::clone(&self.appraised);
        let held = Held { lease, appraised: &appraised, exporter: &self.channel.exporter };
        let now = self.verifier.clock.now();
        let renewed = challenge
            .verify(&held, &signature, &in_force.policy, now)
            .map_err(RenewalError::Fault)?;
        Ok(Prolonged { renewed, appraised })
    }

    async fn full(&self, lease: &Lease) -> Result<Prolonged, RenewalError> {
        let open = self.verifier.challenge();
        let evidence = self.link.ask_evidence(open.message()).await.map_err(RenewalError::Ask)?;
        let judged = self.verifier.judge(open, evidence, self.channel).await;
        let Judged { attested, evidence, in_force } = judged.map_err(RenewalError::Refused)?;
        let now = self.verifier.clock.now();
        let renewed = full(lease, &self.appraised, attested, now);
        let (renewed, appraised) = renewed.map_err(RenewalError::Fault)?;
        let log = &self.verifier.transparency;
        let recorded = log.record_renewal(renewed.lease(), &evidence, &in_force).await;
        recorded.map_err(RenewalError::NotRecorded)?;
        Ok(Prolonged { renewed, appraised: Arc::new(appraised) })
    }
}
