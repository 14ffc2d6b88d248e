//! `GET /v1/attestation/policy`: the policy in force, as its publishers signed it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::{NOT_KEPT, Reader};
use crate::edge::problem::Problem;
use crate::policy::PolicyStore;

pub(in crate::api) async fn policy(
    reader: Reader,
    State(policy): State<Arc<PolicyStore>>,
) -> Result<impl IntoResponse, Problem> {
    let in_force = policy.in_force();
    // A policy is TOML, so text; its signatures are JSON, which was read before.
    let text = String::from_utf8_lossy(&in_force.text);
    let signatures: Option<Value> = serde_json::from_slice(&in_force.signatures).ok();
    let signatures = signatures.map_or_else(|| json!([]), |file| file["signatures"].clone());
    let answer = json!({
        "policy": text,
        "signatures": signatures,
        "digest": in_force.policy.digest(),
        "version": in_force.policy.version(),
        "not_after": in_force.policy.not_after().as_seconds(),
    });
    Ok(reader.answer(NOT_KEPT, &answer))
}
