//! The workers that a request may be sealed to: attested, admitted by the user's policy, logged,
//! and alive.
//!
//! Invariants: a worker is used only while its lease, its admission and its proof of life hold;
//! its keys are those of the evidence, never those that the gateway names.

mod known;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cocoon_attest::appraisal::Appraised;
use cocoon_attest::policy::Policy;
use cocoon_primitives::{Assurance, Clock as _, Digest, ModelName, Timestamp};
use cocoon_runtime::SystemClock;
use tokio::time::timeout;

use self::known::Known;
use crate::api::Api;
use crate::error::CliError;
use crate::trust::log::LogWatch;
use crate::trust::report::{self, Attestation, Whose};
use crate::trust::worker::{self, Admitted, Listed};
use crate::trust::{Doubt, TrustError};

/// How long a request waits for workers at most.
const PICK_TIMEOUT: Duration = Duration::from_secs(30);
/// Evidence that was examined, of workers that may have gone since.
const EXAMINED_MAX: usize = 1024;

/// Who may see requests.
pub(super) struct Roster {
    api: Api,
    policy: Policy,
    software: Software,
    known: Mutex<Known>,
    /// Held while the gateway is asked; what is known can be used meanwhile.
    sources: tokio::sync::Mutex<Sources>,
}

/// Whether evidence that proves nothing about hardware is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Software {
    Allowed,
    Refused,
}

struct Sources {
    log: LogWatch,
    examined: HashMap<Digest, Appraised>,
    /// Workers whose lease the log has, by evidence.
    logged: HashMap<Digest, u64>,
}

impl Roster {
    pub(super) fn new(api: Api, policy: Policy, software: Software, log: LogWatch) -> Self {
        let known = Known::new(log.key());
        let sources = Sources { log, examined: HashMap::new(), logged: HashMap::new() };
        let (known, sources) = (Mutex::new(known), tokio::sync::Mutex::new(sources));
        Self { api, policy, software, known, sources }
    }

    /// Workers of a model, at most `count` of them, in random order.
    pub(super) async fn pick(
        &self,
        model: &ModelName,
        count: usize,
    ) -> Result<Vec<Admitted>, TrustError> {
        let found = timeout(PICK_TIMEOUT, self.find(model, count)).await.map_err(|_| {
            let reason = "the gateway did not say in time who its workers are";
            Doubt::new("attestation_timeout", reason)
        })?;
        let mut workers = found?;
        shuffle(&mut workers);
        workers.truncate(count);
        Ok(workers)
    }

    async fn find(&self, model: &ModelName, count: usize) -> Result<Vec<Admitted>, TrustError> {
        self.check_policy()?;
        if let Some(workers) = self.known().ready(model, count, now()) {
            return Ok(workers);
        }
        let mut sources = self.sources.lock().await;
        let (is_old, is_known) = {
            // Somebody may have asked while this one waited.
            let (known, now) = (self.known(), now());
            let is_listed = known.listed_at.is_some();
            (known.is_old(now), is_listed && !known.of(model, now).is_empty())
        };
        if is_old || !is_known {
            match self.refresh(&mut sources).await {
                // Nobody says anything now: what was proven holds until its own end.
                Err(TrustError::Call(_)) if is_known => {}
                refreshed => refreshed?,
            }
        }
        if self.known().wants_life(model, count, now()) {
            let asked = self.ask_for_life(model).await;
            match asked {
                Err(TrustError::Call(_)) if !self.known().alive(model, now()).is_empty() => {}
                asked => asked?,
            }
        }
        self.check_policy()?;
        let known = self.known();
        let alive = known.alive(model, now());
        if alive.is_empty() {
            return Err(known.nobody(model).into());
        }
        Ok(alive)
    }

    /// What is known is fetched again before it is used again.
    pub(super) async fn forget(&self) {
        // Whoever asks just now may have asked too early.
        let _sources = timeout(PICK_TIMEOUT, self.sources.lock()).await;
        self.known().listed_at = None;
    }

    /// Fetches and judges all workers: how many are admitted, and why others are not.
    pub(super) async fn look(&self) -> Result<(usize, Vec<Doubt>), TrustError> {
        let mut sources = self.sources.lock().await;
        self.check_policy()?;
        self.refresh(&mut sources).await?;
        let known = self.known();
        Ok((known.workers.len(), known.refused.clone()))
    }

    /// Admitted workers of a model, as far as is known without asking.
    pub(super) fn count(&self, model: &ModelName) -> usize {
        self.known().of(model, now()).len()
    }

    /// The gateway's key for countersignatures.
    pub(super) fn gateway_key(&self) -> Option<[u8; 32]> {
        self.known().gateway_key
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_policy(&self) -> Result<(), Doubt> {
        match now() < self.policy.not_after() {
            true => Ok(()),
            false => Err(Doubt::new("policy_expired", "your policy has ended; fetch the next one")),
        }
    }

    async fn refresh(&self, sources: &mut Sources) -> Result<(), TrustError> {
        let asked_at = now();
        sources.log.advance(&self.api).await?;
        self.known().gateway_key = sources.log.key();
        let listed = worker::list(&self.api, None).await?;
        let (mut workers, mut refused) = (Vec::new(), Vec::new());
        for row in &listed {
            match self.judge(sources, row).await {
                Ok(worker) => workers.push(worker),
                Err(TrustError::Doubt(doubt)) if is_fatal(&doubt) => return Err(doubt.into()),
                Err(TrustError::Doubt(doubt)) => refused.push(doubt),
                Err(TrustError::Call(error)) => refused.push(unanswered(&error)),
            }
        }
        self.known().replace(workers, refused, asked_at);
        Ok(())
    }

    async fn judge(&self, sources: &mut Sources, row: &Listed) -> Result<Admitted, TrustError> {
        let digest = row.evidence_digest;
        if !sources.examined.contains_key(&digest) {
            let message = worker::evidence(&self.api, digest).await?;
            let policy = self.policy.clone();
            let examined =
                tokio::task::spawn_blocking(move || worker::appraise(&message, &policy, now()));
            let appraised = examined
                .await
                .map_err(|_| Doubt::new("evidence_unread", "the evidence was not examined"))??;
            if sources.examined.len() >= EXAMINED_MAX {
                sources.examined.clear();
            }
            sources.examined.insert(digest, appraised);
        }
        let appraised = &sources.examined[&digest];
        let admitted = worker::admit(row, appraised, &self.policy, now())?;
        if admitted.assurance == Assurance::Software && self.software == Software::Refused {
            let reason = "its evidence is software's: no hardware vouches for it; for development, \
                          --allow-software takes it";
            return Err(Doubt::new("software", reason).into());
        }
        if sources.logged.get(&digest) != row.log_index.as_ref() || row.log_index.is_none() {
            sources.log.includes(&self.api, row).await?;
            if sources.logged.len() >= EXAMINED_MAX {
                sources.logged.clear();
            }
            sources.logged.extend(row.log_index.map(|index| (digest, index)));
        }
        Ok(admitted)
    }

    /// Has the workers of a model answer a nonce of ours.
    async fn ask_for_life(&self, model: &ModelName) -> Result<(), TrustError> {
        self.known().asked(model, now());
        let nonce = report::nonce()?;
        let report = report::fetch(&self.api, Whose::Model(model), &nonce).await?;
        for attestation in &report.model_attestations {
            let proven = self.proven(attestation, &nonce);
            let mut known = self.known();
            match proven {
                Ok((worker, until)) => known.lives(&worker, until),
                Err(doubt) => known.refused.push(doubt),
            }
        }
        Ok(())
    }

    /// The worker that lives, and until when that counts: under the policy like its listed
    /// evidence, with the same keys and the same assurance.
    fn proven(
        &self,
        attestation: &Attestation,
        nonce: &[u8; 32],
    ) -> Result<(Admitted, Timestamp), Doubt> {
        let now = now();
        let proven = report::verify(attestation, nonce, &self.policy, now)?;
        let admission = worker::admission(&proven, &self.policy, now)?;
        let known = self.known();
        let listed = known.workers.iter().find(|worker| {
            worker.worker_id == proven.worker_id && worker.hpke_key == proven.hpke_key
        });
        let listed = listed.filter(|worker| {
            worker.receipt_key == proven.receipt_key && worker.assurance == proven.assurance
        });
        let listed = listed.ok_or_else(|| {
            let reason = "it lives under other keys or another assurance than it is listed with";
            Doubt::new("worker_mismatch", reason)
        })?;
        let until = now.saturating_add(self.policy.full_renewal()).min(admission.until);
        Ok((listed.clone(), until))
    }
}

/// Asked anew after every wait.
fn now() -> Timestamp {
    SystemClock.now()
}

/// Whether a doubt is about the gateway, not about one worker.
pub(super) fn is_fatal(doubt: &Doubt) -> bool {
    matches!(doubt.code, "log_inconsistent" | "log_key_changed" | "log_signature")
}

fn unanswered(error: &CliError) -> Doubt {
    Doubt::new("evidence_unavailable", format!("its evidence cannot be fetched: {error}"))
}

/// Puts the workers in random order; without random bytes they stay as they are.
fn shuffle(workers: &mut [Admitted]) {
    let mut random = vec![0; workers.len()];
    if getrandom::fill(&mut random).is_err() {
        return;
    }
    for (last, byte) in random.iter().enumerate().skip(1) {
        workers.swap(last, usize::from(*byte) % (last + 1));
    }
}
