//! `cocoon attest report`: a gateway's workers, each judged by the user's own policy.
//!
//! Invariant: a worker is accepted only where its lease's evidence and fresh evidence over our nonce
//! are both admitted, both name the same keys, and the log has the lease.

use clap::Args;
use cocoon_attest::appraisal::Appraised;
use cocoon_attest::policy::Policy;
use cocoon_primitives::{Assurance, Timestamp, WorkerId};
use serde::Serialize;

use crate::api::Api;
use crate::command::receipt::key_of;
use crate::context::Context;
use crate::error::CliError;
use crate::output;
use crate::trust::log::LogWatch;
use crate::trust::policy::PolicyArgs;
use crate::trust::report::{self, Whose};
use crate::trust::worker::{self, Admitted, Listed};
use crate::trust::{Doubt, TrustError};

/// Each report costs a machine a quote, and a gateway answers few in a minute.
const WORKERS_MAX: usize = 16;

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Only workers of this model
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The gateway's receipt key, in hex; without it the first one that is seen counts from then on
    #[arg(long, value_name = "HEX")]
    gateway_key: Option<String>,
}

#[derive(Serialize)]
struct WorkersReport {
    accepted: bool,
    policy_digest: String,
    nonce: String,
    /// Workers that the gateway lists, and that were not asked.
    left_out: usize,
    workers: Vec<Verdict>,
}

#[derive(Serialize)]
struct Verdict {
    worker_id: WorkerId,
    accepted: bool,
    refusal: Option<Refusal>,
    #[serde(flatten)]
    proven: Option<Proven>,
}

#[derive(Serialize)]
struct Refusal {
    code: &'static str,
    message: String,
}

/// What an accepted worker's evidence says.
#[derive(Serialize)]
struct Proven {
    assurance: Assurance,
    tee: &'static str,
    image: String,
    models: Vec<String>,
    gpus: Vec<String>,
    hpke_key: String,
    receipt_key: String,
    evidence_digest: String,
}

pub(crate) async fn run(context: &Context, args: &ReportArgs) -> Result<(), CliError> {
    let policy = args.policy.load(&context.home)?;
    let pinned = args.gateway_key.as_deref().map(key_of).transpose()?;
    let api = context.open_api()?;
    let mut log = LogWatch::open(&context.home, api.base_url().as_str(), pinned)?;
    log.advance(&api).await?;
    let mut listed = worker::list(&api, args.model.as_deref()).await?;
    let left_out = listed.len().saturating_sub(WORKERS_MAX);
    listed.truncate(WORKERS_MAX);
    let nonce = report::nonce().map_err(CliError::from)?;
    let asking = Asking { api: &api, policy: &policy, nonce: &nonce, now: context.now() };
    let mut workers = Vec::new();
    for row in &listed {
        workers.push(asking.verdict(row, &mut log).await?);
    }
    let report = WorkersReport {
        accepted: !workers.is_empty() && workers.iter().all(|worker| worker.accepted),
        policy_digest: policy.digest().to_string(),
        nonce: hex::encode(nonce),
        left_out,
        workers,
    };
    if context.as_json {
        output::json(&report)?;
    } else {
        print(&report)?;
    }
    match report.workers.into_iter().find_map(|worker| worker.refusal) {
        None if report.accepted => Ok(()),
        None => Err(Doubt::new("no_worker", "the gateway lists no worker").into()),
        Some(refusal) => Err(Doubt::new(refusal.code, refusal.message).into()),
    }
}

struct Asking<'a> {
    api: &'a Api,
    policy: &'a Policy,
    nonce: &'a [u8; 32],
    now: Timestamp,
}

impl Asking<'_> {
    /// A gateway that is not there is an error; a worker that proves nothing is a verdict.
    async fn verdict(&self, row: &Listed, log: &mut LogWatch) -> Result<Verdict, CliError> {
        let worker_id = row.worker_id;
        let refused = |code, message| Verdict {
            worker_id,
            accepted: false,
            refusal: Some(Refusal { code, message }),
            proven: None,
        };
        match self.judge(row, log).await {
            Ok((admitted, fresh)) => Ok(Verdict {
                worker_id,
                accepted: true,
                refusal: None,
                proven: Some(Proven::of(&admitted, &fresh)),
            }),
            Err(TrustError::Doubt(doubt)) => Ok(refused(doubt.code, doubt.reason)),
            Err(TrustError::Call(CliError::Refused(refusal))) => {
                Ok(refused("unanswered", output::plain(&refusal.message)))
            }
            Err(TrustError::Call(error)) => Err(error),
        }
    }

    async fn judge(
        &self,
        row: &Listed,
        log: &mut LogWatch,
    ) -> Result<(Admitted, Appraised), TrustError> {
        let message = worker::evidence(self.api, row.evidence_digest).await?;
        let appraised = worker::appraise(&message, self.policy, self.now)?;
        let admitted = worker::admit(row, &appraised, self.policy, self.now)?;
        log.includes(self.api, row).await?;
        let whose = Whose::Worker(row.worker_id);
        let report = report::fetch(self.api, whose, self.nonce).await?;
        let own = report.model_attestations.iter().find(|one| one.worker_id == row.worker_id);
        let own = own.ok_or_else(|| Doubt::new("nonce", "the worker did not answer our nonce"))?;
        let fresh = report::verify(own, self.nonce, self.policy, self.now)?;
        if fresh.hpke_key != admitted.hpke_key {
            let reason = "the worker that answers has another key for requests";
            return Err(Doubt::new("worker_mismatch", reason).into());
        }
        self.policy
            .admit(&fresh, self.now)
            .map_err(|refusal| Doubt::new(refusal.code(), output::plain(&refusal.to_string())))?;
        Ok((admitted, fresh))
    }
}

impl Proven {
    fn of(admitted: &Admitted, fresh: &Appraised) -> Self {
        let gpu = |claims: &cocoon_attest::verify::nvidia::Claims| {
            let architecture =
                claims.architecture.map_or_else(|| "unknown".into(), |kind| format!("{kind:?}"));
            let driver = claims.driver_version.as_deref().unwrap_or("-");
            output::plain(&format!("{architecture} {driver}"))
        };
        Self {
            assurance: admitted.assurance,
            tee: fresh.platform.tee(),
            image: admitted.image.clone(),
            models: admitted.models.iter().map(|model| model.name.to_string()).collect(),
            gpus: fresh.devices.iter().map(gpu).collect(),
            hpke_key: hex::encode(admitted.hpke_key),
            receipt_key: hex::encode(admitted.receipt_key),
            evidence_digest: admitted.evidence_digest.to_string(),
        }
    }
}

fn print(report: &WorkersReport) -> Result<(), CliError> {
    if !report.workers.is_empty() {
        output::table(
            &["worker", "verdict", "assurance", "tee", "image", "models", "gpus"],
            report.workers.iter().map(|worker| {
                let verdict = match &worker.refusal {
                    None => "accepted".to_owned(),
                    Some(refusal) => format!("refused ({})", refusal.code),
                };
                let proven = |show: fn(&Proven) -> String| {
                    worker.proven.as_ref().map_or_else(|| "-".into(), show)
                };
                [
                    worker.worker_id.to_string(),
                    verdict,
                    proven(|proven| proven.assurance.to_string()),
                    proven(|proven| proven.tee.to_owned()),
                    proven(|proven| output::plain(&proven.image)),
                    proven(|proven| proven.models.join(", ")),
                    proven(|proven| {
                        output::or_dash(
                            Some(proven.gpus.join(", ")).filter(|gpus| !gpus.is_empty()),
                        )
                    }),
                ]
            }),
        )?;
    }
    if report.left_out > 0 {
        output::note(&format!("{} more workers were not asked; name a --model", report.left_out))?;
    }
    let is_software = |worker: &Verdict| {
        worker.proven.as_ref().is_some_and(|proven| proven.assurance == Assurance::Software)
    };
    if report.workers.iter().any(is_software) {
        output::note("Software assurance: no hardware vouches for these workers.")?;
    }
    let verdict = if report.accepted { "accepted" } else { "refused" };
    output::line(&format!("{verdict} by policy {}", report.policy_digest))
}
