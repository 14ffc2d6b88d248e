//! `GET /v1/attestation/report`: fresh evidence over a nonce of the client.
//!
//! The names are those that verifiers of other attested gateways read. What they mean here is
//! said in `info`, and the worker's own message is there word for word, which is what to verify.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use cocoon_attest::lease::Lease;
use cocoon_primitives::{Clock, WorkerId};
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asker, NOT_STORED, model, query, refuse, shape};
use crate::api::GatewayKey;
use crate::dispatch::DispatchError;
use crate::edge::problem::Problem;
use crate::transparency::{Report, ReportError, Reports};
use crate::uplink::{SharedFleet, WorkerLink, lock};

/// Workers that one report asks at most: evidence is large.
const WORKERS_MAX: usize = 4;

/// What a client is told about the gateway itself.
const GATEWAY_INFO: &str = "the gateway does not run in a trusted execution environment and has \
    no evidence about itself: trust the workers' evidence, and seal requests to their keys";

/// Of one worker, what verifiers expect at the top as well.
const COPIED: [&str; 9] = [
    "signing_address",
    "signing_public_key",
    "signing_algo",
    "intel_quote",
    "event_log",
    "nvidia_payload",
    "report_data",
    "request_nonce",
    "info",
];

#[derive(Deserialize)]
pub(in crate::api) struct ReportQuery {
    nonce: String,
    model: Option<String>,
    worker: Option<String>,
    signing_algo: Option<String>,
}

/// What is asked for, checked.
struct Asked {
    nonce: [u8; 32],
    model: Option<String>,
    worker: Option<WorkerId>,
}

impl ReportQuery {
    fn check(self) -> Result<Asked, Problem> {
        let mut nonce = [0; 32];
        hex::decode_to_slice(&self.nonce, &mut nonce)
            .map_err(|_| refuse("nonce", "nonce must be 32 bytes in hex"))?;
        if self.signing_algo.is_some_and(|algo| algo != "ed25519") {
            return Err(refuse("signing_algo", "signing_algo must be `ed25519`"));
        }
        let worker = self.worker.map(|worker| worker.parse()).transpose();
        let worker = worker.map_err(|_| refuse("worker", "worker must be a worker's id"))?;
        Ok(Asked { nonce, model: self.model, worker })
    }
}

pub(in crate::api) async fn report(
    _asker: Asker,
    State(fleet): State<SharedFleet>,
    State(clock): State<Arc<dyn Clock>>,
    State(reports): State<Arc<Reports>>,
    State(GatewayKey(key)): State<GatewayKey>,
    asked: Result<Query<ReportQuery>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let asked = query(asked)?.check()?;
    let nonce = hex::encode(asked.nonce);
    let links = links(&fleet, clock.as_ref(), &asked)?;
    let made = join_all(links.iter().map(|link| reports.report(Arc::clone(link), asked.nonce)));
    let mut attestations = Vec::new();
    let mut missing = Vec::new();
    let mut fault = None;
    for (link, made) in links.iter().zip(made.await) {
        match made.and_then(|report| shaped(&report, &nonce)) {
            Ok(attestation) => attestations.push(attestation),
            Err(error) => {
                missing.push(link.worker_id());
                fault = Some(error);
            }
        }
    }
    // A part of the workers is an answer, none of them is not.
    if let Some(fault) = fault
        && attestations.is_empty()
    {
        return Err(refused(fault));
    }
    let mut answer = json!({
        "gateway_attestation": gateway(&key, &nonce),
        "model_attestations": attestations,
        "missing": missing,
    });
    if let [only] = attestations.as_slice() {
        for field in COPIED {
            answer[field] = only[field].clone();
        }
    }
    Ok((NOT_STORED, Json(answer)))
}

/// The workers to ask. Without a model and a worker there are none: the client wants the
/// gateway's part.
fn links(
    fleet: &SharedFleet,
    clock: &dyn Clock,
    asked: &Asked,
) -> Result<Vec<Arc<WorkerLink>>, Problem> {
    if asked.model.is_none() && asked.worker.is_none() {
        return Ok(Vec::new());
    }
    let name = asked.model.as_deref().map(model);
    let fleet = lock(fleet);
    let unknown = || DispatchError::UnknownModel { model: asked.model.clone().unwrap_or_default() };
    let name = match name {
        Some(Some(name)) if fleet.knows(&name) => Some(name),
        Some(_) => return Err(unknown().into()),
        None => None,
    };
    let is_asked = |lease: &Lease| {
        name.as_ref().is_none_or(|name| lease.model(name).is_some())
            && asked.worker.is_none_or(|worker| worker == lease.worker_id)
    };
    let live = fleet.attested(clock.now()).into_iter();
    let found = live.filter(|(lease, _, _)| is_asked(lease)).map(|(_, _, link)| link);
    let found: Vec<_> = found.take(WORKERS_MAX).collect();
    match (found.is_empty(), asked.worker) {
        (false, _) => Ok(found),
        (true, Some(_)) => Err(Problem::NotFound { what: "worker", code: "worker_not_found" }),
        (true, None) => Err(DispatchError::NoWorker.into()),
    }
}

fn shaped(report: &Report, nonce: &str) -> Result<Value, ReportError> {
    // It was read before: this is for whoever changes one reader and not the other.
    shape::attestation(report, nonce).map_err(|_| ReportError::Evidence)
}

fn gateway(key: &[u8; 32], nonce: &str) -> Value {
    let key = hex::encode(key);
    json!({
        "signing_address": key,
        "signing_public_key": key,
        "signing_algo": "ed25519",
        "intel_quote": null,
        "event_log": [],
        "report_data": null,
        "request_nonce": nonce,
        "info": { "tee": null, "tcb_info": null, "statement": GATEWAY_INFO },
    })
}

fn refused(error: ReportError) -> Problem {
    match error {
        ReportError::Busy => Problem::Overloaded,
        ReportError::Unanswered => DispatchError::WorkerLost.into(),
        ReportError::Evidence => DispatchError::WorkerFault.into(),
    }
}
