//! `GET /v1/attestation/log` and below: signed heads, entries and proofs.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_attest::log::{SignedHead, leaf_hash};
use cocoon_store::{LogKind, LogRow, Store};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{FOR_EVER, NOT_KEPT, Reader, query, refuse, shape};
use crate::edge::problem::Problem;
use crate::transparency::Transparency;

const PAGE_ROWS: u32 = 100;
const PAGE_ROWS_MAX: u32 = 1000;

/// What the gateway vouches for now.
pub(in crate::api) async fn head(
    reader: Reader,
    State(transparency): State<Arc<Transparency>>,
) -> impl IntoResponse {
    let head: SignedHead = transparency.head();
    reader.answer(NOT_KEPT, &head)
}

#[derive(Deserialize)]
pub(in crate::api) struct EntriesQuery {
    start: Option<u64>,
    limit: Option<u32>,
}

/// Leaves as they were hashed, in order.
pub(in crate::api) async fn entries(
    reader: Reader,
    State(store): State<Store>,
    State(transparency): State<Arc<Transparency>>,
    asked: Result<Query<EntriesQuery>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let asked = query(asked)?;
    let limit = asked.limit.unwrap_or(PAGE_ROWS);
    if limit == 0 || limit > PAGE_ROWS_MAX {
        return Err(refuse("limit", "limit must be between 1 and 1000"));
    }
    let start = asked.start.unwrap_or(0);
    if i64::try_from(start).is_err() {
        return Err(refuse("start", "start must be at most 9223372036854775807"));
    }
    // First the size: what a head may cover, and no more.
    let size = transparency.size();
    let mut rows = if start < size { store.log_entries(start, limit).await? } else { Vec::new() };
    rows.retain(|row| row.index < size);
    let next = rows.last().map_or(start, |row| row.index + 1);
    let has_more = next < size;
    let is_full = u32::try_from(rows.len()).is_ok_and(|count| count == limit);
    let answer = json!({
        "object": "list",
        "data": rows.iter().map(entry).collect::<Vec<_>>(),
        "has_more": has_more,
        "next": has_more.then_some(next),
    });
    // `has_more` of a page that ends where the log does will change.
    Ok(reader.answer(if is_full && has_more { FOR_EVER } else { NOT_KEPT }, &answer))
}

fn entry(row: &LogRow) -> Value {
    let kind = match row.kind {
        LogKind::Lease => "lease",
        LogKind::Renewal => "renewal",
        LogKind::Policy => "policy",
    };
    json!({
        "index": row.index,
        "kind": kind,
        "timestamp": row.at.as_millis(),
        "entry": STANDARD.encode(&row.entry),
        "leaf_hash": hex::encode(leaf_hash(&row.entry)),
        "evidence_digest": row.evidence_digest,
    })
}

#[derive(Deserialize)]
pub(in crate::api) struct InclusionQuery {
    index: u64,
    size: Option<u64>,
}

/// The path from a leaf to the root that the log had at a size.
pub(in crate::api) async fn inclusion(
    reader: Reader,
    State(transparency): State<Arc<Transparency>>,
    asked: Result<Query<InclusionQuery>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let InclusionQuery { index, size } = query(asked)?;
    let whole = transparency.size();
    let caching = if size.is_some() { FOR_EVER } else { NOT_KEPT };
    let size = size.unwrap_or(whole);
    if size > whole {
        return Err(refuse("size", "the log is not so large"));
    }
    let proof = transparency.inclusion(index, size);
    let (leaf_hash, path) = proof.ok_or_else(|| refuse("index", "index must be below size"))?;
    let answer = json!({
        "index": index,
        "size": size,
        "leaf_hash": hex::encode(leaf_hash),
        "path": shape::hashes(&path),
    });
    Ok(reader.answer(caching, &answer))
}

#[derive(Deserialize)]
pub(in crate::api) struct ConsistencyQuery {
    first: u64,
    second: Option<u64>,
}

/// The proof that the log only grew between two sizes.
pub(in crate::api) async fn consistency(
    reader: Reader,
    State(transparency): State<Arc<Transparency>>,
    asked: Result<Query<ConsistencyQuery>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let ConsistencyQuery { first, second } = query(asked)?;
    let whole = transparency.size();
    let caching = if second.is_some() { FOR_EVER } else { NOT_KEPT };
    let second = second.unwrap_or(whole);
    if second > whole {
        return Err(refuse("second", "the log is not so large"));
    }
    let path = transparency.consistency(first, second);
    let path = path.ok_or_else(|| refuse("first", "first must not be above second"))?;
    let answer = json!({ "first": first, "second": second, "path": shape::hashes(&path) });
    Ok(reader.answer(caching, &answer))
}
