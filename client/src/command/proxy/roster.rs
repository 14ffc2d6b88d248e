//! The workers that a request may be sealed to: attested, admitted by the user's policy, logged,
//! and alive.
//!
//! Invariants: a worker is used only while its lease, its admission and its proof of life hold;
//! its keys are those of the evidence, never those that the gateway names.

use std::collections::HashMap;
use std::time::Duration;

use cocoon_attest::appraisal::Appraised;
use cocoon_attest::policy::Policy;
use cocoon_primitives::{Assurance, Clock as _, Digest, ModelName, Timestamp, WorkerId};
use cocoon_runtime::SystemClock;
use tokio::sync::Mutex;

use crate::api::Api;
use crate::error::CliError;
use crate::trust::log::LogWatch;
use crate::trust::report::{self, Whose};
use crate::trust::worker::{self, Admitted, Listed};
use crate::trust::{Doubt, TrustError};

/// How old the list of workers may be.
const LIST_LIFE: Duration = Duration::from_secs(30);
/// Between two questions to a model's workers, as long as some have answered.
const REPORT_PAUSE: Duration = Duration::from_secs(30);
/// Evidence that was examined, of workers that may have gone since.
const EXAMINED_MAX: usize = 1024;
/// Reasons that an error names.
const REASONS_MAX: usize = 3;

/// Who may see requests.
pub(super) struct Roster {
    api: Api,
    policy: Policy,
    software: Software,
    state: Mutex<State>,
}

/// Whether evidence that proves nothing about hardware is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Software {
    Allowed,
    Refused,
}

struct State {
    log: LogWatch,
    listed_at: Option<Timestamp>,
    examined: HashMap<Digest, Appraised>,
    /// Workers whose lease the log has, by evidence.
    logged: HashMap<Digest, u64>,
    /// Until when a worker counts as alive, by its key for requests.
    alive: HashMap<(WorkerId, [u8; 32]), Timestamp>,
    /// When the workers of a model were last asked to show that they are.
    asked_at: HashMap<ModelName, Timestamp>,
    workers: Vec<Admitted>,
    refused: Vec<Doubt>,
}

impl Roster {
    pub(super) fn new(api: Api, policy: Policy, software: Software, log: LogWatch) -> Self {
        let state = State {
            log,
            listed_at: None,
            examined: HashMap::new(),
            logged: HashMap::new(),
            alive: HashMap::new(),
            asked_at: HashMap::new(),
            workers: Vec::new(),
            refused: Vec::new(),
        };
        Self { api, policy, software, state: Mutex::new(state) }
    }

    /// Workers of a model, at most `count` of them, in random order.
    pub(super) async fn pick(
        &self,
        model: &ModelName,
        count: usize,
    ) -> Result<Vec<Admitted>, TrustError> {
        let now = SystemClock.now();
        let mut state = self.state.lock().await;
        self.check_policy(now)?;
        let is_old = state.listed_at.is_none_or(|at| now.since(at) >= LIST_LIFE);
        let is_known = state.listed_at.is_some() && !state.of(model, now).is_empty();
        if is_old || !is_known {
            match self.refresh(&mut state, now).await {
                // Nobody says anything now: what was proven holds until its own end.
                Err(TrustError::Call(_)) if is_known => {}
                refreshed => refreshed?,
            }
        }
        let found = state.of(model, now);
        let mut alive = state.alive(&found, now);
        let wanted = count.min(found.len());
        // A report costs each machine a quote, and a worker that never answers must not cost more.
        let may_ask = state.asked_at.get(model).is_none_or(|at| now.since(*at) >= REPORT_PAUSE);
        if !found.is_empty() && (alive.is_empty() || (alive.len() < wanted && may_ask)) {
            match self.ask_for_life(&mut state, model, now).await {
                Err(TrustError::Call(_)) if !alive.is_empty() => {}
                asked => asked?,
            }
            alive = state.alive(&found, now);
        }
        if alive.is_empty() {
            return Err(state.nobody(model).into());
        }
        shuffle(&mut alive);
        alive.truncate(count);
        Ok(alive)
    }

    /// What is known is fetched again before it is used again.
    pub(super) async fn forget(&self) {
        self.state.lock().await.listed_at = None;
    }

    /// Fetches and judges all workers: how many are admitted, and why others are not.
    pub(super) async fn look(&self) -> Result<(usize, Vec<Doubt>), TrustError> {
        let now = SystemClock.now();
        let mut state = self.state.lock().await;
        self.check_policy(now)?;
        self.refresh(&mut state, now).await?;
        Ok((state.workers.len(), state.refused.clone()))
    }

    /// Admitted workers of a model, as far as is known without asking.
    pub(super) async fn count(&self, model: &ModelName) -> usize {
        self.state.lock().await.of(model, SystemClock.now()).len()
    }

    /// The gateway's key for countersignatures.
    pub(super) async fn gateway_key(&self) -> Option<[u8; 32]> {
        self.state.lock().await.log.key()
    }

    fn check_policy(&self, now: Timestamp) -> Result<(), Doubt> {
        match now < self.policy.not_after() {
            true => Ok(()),
            false => Err(Doubt::new("policy_expired", "your policy has ended; fetch the next one")),
        }
    }

    async fn refresh(&self, state: &mut State, now: Timestamp) -> Result<(), TrustError> {
        state.log.advance(&self.api).await?;
        let listed = worker::list(&self.api, None).await?;
        state.workers.clear();
        state.refused.clear();
        for row in &listed {
            match self.judge(state, row, now).await {
                Ok(worker) => state.workers.push(worker),
                Err(TrustError::Doubt(doubt)) if is_fatal(&doubt) => return Err(doubt.into()),
                Err(TrustError::Doubt(doubt)) => state.refused.push(doubt),
                Err(TrustError::Call(error)) => state.refused.push(unanswered(&error)),
            }
        }
        state.listed_at = Some(now);
        state.alive.retain(|_, until| *until > now);
        // A model that hardware serves is never served by software.
        let hardware: Vec<ModelName> = state
            .workers
            .iter()
            .filter(|worker| worker.assurance == Assurance::Hardware)
            .flat_map(|worker| worker.models.iter().map(|model| model.name.clone()))
            .collect();
        for worker in &mut state.workers {
            if worker.assurance == Assurance::Software {
                worker.models.retain(|model| !hardware.contains(&model.name));
            }
        }
        Ok(())
    }

    async fn judge(
        &self,
        state: &mut State,
        row: &Listed,
        now: Timestamp,
    ) -> Result<Admitted, TrustError> {
        let digest = row.evidence_digest;
        if !state.examined.contains_key(&digest) {
            let message = worker::evidence(&self.api, digest).await?;
            let policy = self.policy.clone();
            let examined =
                tokio::task::spawn_blocking(move || worker::appraise(&message, &policy, now));
            let appraised = examined
                .await
                .map_err(|_| Doubt::new("evidence_unread", "the evidence was not examined"))??;
            if state.examined.len() >= EXAMINED_MAX {
                state.examined.clear();
            }
            state.examined.insert(digest, appraised);
        }
        let appraised = &state.examined[&digest];
        let admitted = worker::admit(row, appraised, &self.policy, now)?;
        if admitted.assurance == Assurance::Software && self.software == Software::Refused {
            let reason = "its evidence is software's: no hardware vouches for it; for development, \
                          --allow-software takes it";
            return Err(Doubt::new("software", reason).into());
        }
        if state.logged.get(&digest) != row.log_index.as_ref() || row.log_index.is_none() {
            state.log.includes(&self.api, row).await?;
            if state.logged.len() >= EXAMINED_MAX {
                state.logged.clear();
            }
            state.logged.extend(row.log_index.map(|index| (digest, index)));
        }
        Ok(admitted)
    }

    /// Has the workers of a model answer a nonce of ours.
    async fn ask_for_life(
        &self,
        state: &mut State,
        model: &ModelName,
        now: Timestamp,
    ) -> Result<(), TrustError> {
        state.asked_at.retain(|_, at| now.since(*at) < REPORT_PAUSE);
        state.asked_at.insert(model.clone(), now);
        let nonce = report::nonce()?;
        let report = report::fetch(&self.api, Whose::Model(model), &nonce).await?;
        let until = now.saturating_add(self.policy.full_renewal());
        for attestation in &report.model_attestations {
            match report::verify(attestation, &nonce, &self.policy, now) {
                Ok(proven) => {
                    state.alive.insert((proven.worker_id, proven.hpke_key), until);
                }
                Err(doubt) => state.refused.push(doubt),
            }
        }
        Ok(())
    }
}

impl State {
    fn of(&self, model: &ModelName, now: Timestamp) -> Vec<Admitted> {
        let serves = |worker: &&Admitted| worker.model(model).is_some() && worker.until > now;
        self.workers.iter().filter(serves).cloned().collect()
    }

    /// Those of `workers` that have answered a nonce of ours.
    fn alive(&self, workers: &[Admitted], now: Timestamp) -> Vec<Admitted> {
        let is_alive = |worker: &&Admitted| {
            let until = self.alive.get(&(worker.worker_id, worker.hpke_key));
            until.is_some_and(|until| *until > now)
        };
        workers.iter().filter(is_alive).cloned().collect()
    }

    fn nobody(&self, model: &ModelName) -> Doubt {
        let mut reason = format!("no worker of {model} is admitted by your policy");
        for doubt in self.refused.iter().take(REASONS_MAX) {
            reason.push_str(&format!("; {} ({})", doubt.reason, doubt.code));
        }
        Doubt::new("no_admitted_worker", reason)
    }
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
