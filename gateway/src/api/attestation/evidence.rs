//! `GET /v1/attestation/evidence/{digest}`: what a lease and its receipts rest on.

use axum::extract::State;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_primitives::Digest;
use cocoon_store::Store;
use serde_json::json;

use super::{FOR_EVER, Reader};
use crate::edge::path::PathText;
use crate::edge::problem::Problem;

pub(in crate::api) async fn evidence(
    reader: Reader,
    PathText(digest): PathText,
    State(store): State<Store>,
) -> Result<impl IntoResponse, Problem> {
    let unknown = || Problem::NotFound { what: "evidence", code: "evidence_not_found" };
    let digest: Digest = digest.parse().map_err(|_| unknown())?;
    let evidence = store.evidence(digest).await?.ok_or_else(unknown)?;
    let answer = json!({ "digest": digest, "evidence": STANDARD.encode(evidence) });
    Ok(reader.answer(FOR_EVER, &answer))
}
