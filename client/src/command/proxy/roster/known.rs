//! What is known of the workers, without asking anybody.

use std::collections::HashMap;
use std::time::Duration;

use cocoon_primitives::{Assurance, ModelName, Timestamp, WorkerId};

use crate::trust::Doubt;
use crate::trust::worker::Admitted;

/// How old the list of workers may be.
const LIST_LIFE: Duration = Duration::from_secs(30);
/// Between two questions to a model's workers, as long as some have answered.
const REPORT_PAUSE: Duration = Duration::from_secs(30);
/// Reasons that an error names.
const REASONS_MAX: usize = 3;

#[derive(Default)]
pub(super) struct Known {
    pub(super) gateway_key: Option<[u8; 32]>,
    pub(super) listed_at: Option<Timestamp>,
    pub(super) workers: Vec<Admitted>,
    pub(super) refused: Vec<Doubt>,
    /// Until when a worker counts as alive, by its key for requests.
    alive: HashMap<(WorkerId, [u8; 32]), Timestamp>,
    /// When the workers of a model were last asked to show that they are.
    asked_at: HashMap<ModelName, Timestamp>,
}

impl Known {
    pub(super) fn new(gateway_key: Option<[u8; 32]>) -> Self {
        Self { gateway_key, ..Self::default() }
    }

    /// Workers to seal to, where nothing has to be asked first.
    pub(super) fn ready(
        &self,
        model: &ModelName,
        count: usize,
        now: Timestamp,
    ) -> Option<Vec<Admitted>> {
        (!self.is_old(now) && !self.wants_life(model, count, now))
            .then(|| self.alive(model, now))
            .filter(|alive| !alive.is_empty())
    }

    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        self.listed_at.is_none_or(|at| now.since(at) >= LIST_LIFE)
    }

    /// A report costs each machine a quote, and a worker that never answers must not cost more.
    pub(super) fn wants_life(&self, model: &ModelName, count: usize, now: Timestamp) -> bool {
        let found = self.of(model, now).len();
        let alive = self.alive(model, now).len();
        let may_ask = self.asked_at.get(model).is_none_or(|at| now.since(*at) >= REPORT_PAUSE);
        found > 0 && (alive == 0 || (alive < count.min(found) && may_ask))
    }

    pub(super) fn asked(&mut self, model: &ModelName, now: Timestamp) {
        self.asked_at.retain(|_, at| now.since(*at) < REPORT_PAUSE);
        self.asked_at.insert(model.clone(), now);
    }

    pub(super) fn lives(&mut self, worker: &Admitted, until: Timestamp) {
        self.alive.insert((worker.worker_id, worker.hpke_key), until);
    }

    /// A new list, whole.
    pub(super) fn replace(&mut self, workers: Vec<Admitted>, refused: Vec<Doubt>, now: Timestamp) {
        self.workers = hardware_first(workers);
        self.refused = refused;
        self.listed_at = Some(now);
        self.alive.retain(|_, until| *until > now);
    }

    pub(super) fn of(&self, model: &ModelName, now: Timestamp) -> Vec<Admitted> {
        let serves = |worker: &&Admitted| worker.model(model).is_some() && worker.until > now;
        self.workers.iter().filter(serves).cloned().collect()
    }

    /// Those that have answered a nonce of ours.
    pub(super) fn alive(&self, model: &ModelName, now: Timestamp) -> Vec<Admitted> {
        let mut workers = self.of(model, now);
        workers.retain(|worker| {
            let until = self.alive.get(&(worker.worker_id, worker.hpke_key));
            until.is_some_and(|until| *until > now)
        });
        workers
    }

    pub(super) fn nobody(&self, model: &ModelName) -> Doubt {
        let mut reason = format!("no worker of {model} is admitted by your policy");
        for doubt in self.refused.iter().take(REASONS_MAX) {
            reason.push_str(&format!("; {} ({})", doubt.reason, doubt.code));
        }
        Doubt::new("no_admitted_worker", reason)
    }
}

/// A model that hardware serves is never served by software.
fn hardware_first(mut workers: Vec<Admitted>) -> Vec<Admitted> {
    let hardware: Vec<ModelName> = workers
        .iter()
        .filter(|worker| worker.assurance == Assurance::Hardware)
        .flat_map(|worker| worker.models.iter().map(|model| model.name.clone()))
        .collect();
    for worker in &mut workers {
        if worker.assurance == Assurance::Software {
            worker.models.retain(|model| !hardware.contains(&model.name));
        }
    }
    workers
}
