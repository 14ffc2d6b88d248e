//! `GET /v1/attestation/workers`: live leases, and the keys to seal requests to.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_store::Store;
use serde::Deserialize;
use serde_json::json;

use super::{NOT_KEPT, Reader, model, query, refuse, shape};
use crate::ear::EarSigner;
use crate::edge::problem::Problem;
use crate::transparency::Transparency;
use crate::uplink::{SharedFleet, lock};

/// Workers in one answer at most, and with their evidence, which is large.
const WORKERS_MAX: usize = 1024;
const WORKERS_WITH_EVIDENCE_MAX: usize = 16;
/// A longer one is no question.
const MODEL_CHARS_MAX: usize = 256;

#[derive(Deserialize)]
pub(in crate::api) struct WorkersQuery {
    model: Option<String>,
    include: Option<String>,
}

/// A model that nobody serves has no workers: that is an answer, not an error.
pub(in crate::api) async fn workers(
    reader: Reader,
    State(fleet): State<SharedFleet>,
    State(ear): State<Arc<EarSigner>>,
    State(store): State<Store>,
    State(transparency): State<Arc<Transparency>>,
    asked: Result<Query<WorkersQuery>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let asked = query(asked)?;
    let with_evidence = match asked.include.as_deref() {
        None => false,
        Some("evidence") => true,
        Some(_) => return Err(refuse("include", "include must be `evidence` or absent")),
    };
    let mut live = lock(&fleet).attested(reader.at);
    if let Some(name) = &asked.model {
        if name.chars().count() > MODEL_CHARS_MAX {
            return Err(refuse("model", "model must have at most 256 characters"));
        }
        let name = model(name);
        live.retain(|(lease, _, _)| name.as_ref().is_some_and(|name| lease.model(name).is_some()));
    }
    let max = if with_evidence { WORKERS_WITH_EVIDENCE_MAX } else { WORKERS_MAX };
    let has_more = live.len() > max;
    live.truncate(max);
    let mut data = Vec::with_capacity(live.len());
    for (lease, appraised, _) in &live {
        let mut worker = shape::worker(lease, appraised, transparency.lease_index(lease.lease_id));
        worker["ear"] = json!(ear.token(lease, appraised));
        if with_evidence && let Some(evidence) = store.evidence(lease.evidence_digest).await? {
            worker["evidence"] = json!(STANDARD.encode(evidence));
        }
        data.push(worker);
    }
    let answer = json!({ "object": "list", "data": data, "has_more": has_more });
    Ok(reader.answer(NOT_KEPT, &answer))
}
