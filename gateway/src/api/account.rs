//! `GET /v1/balance` and `GET /v1/usage`: what a wallet has, and where it went.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use cocoon_primitives::{Clock, Timestamp};
use cocoon_store::{RequestState, Store, UsageCursor, UsageRow};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Principal;
use crate::edge::body::BodyError;
use crate::edge::problem::Problem;

const PAGE_ROWS: usize = 100;
const PAGE_ROWS_MAX: usize = 1000;

pub(super) async fn balance(
    principal: Principal,
    State(store): State<Store>,
) -> Result<Json<Value>, Problem> {
    let balance = store.balance(principal.wallet).await?;
    Ok(Json(json!({
        "wallet": principal.wallet,
        "available_nano": balance.available,
        "reserved_nano": balance.reserved,
        "charged_nano": balance.charged,
        "credited_nano": balance.credited,
        "currency": "GRAM",
    })))
}

#[derive(Deserialize)]
pub(super) struct UsageQuery {
    from: Option<u64>,
    to: Option<u64>,
    limit: Option<usize>,
    after: Option<String>,
}

/// Finished requests, newest first; `totals` covers the whole period, whatever the page shows.
pub(super) async fn usage(
    principal: Principal,
    State(store): State<Store>,
    State(clock): State<Arc<dyn Clock>>,
    query: Result<Query<UsageQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(query) = query.map_err(BodyError::from)?;
    let refuse = |param, message| BodyError::Field { param, message };
    let limit = query.limit.unwrap_or(PAGE_ROWS);
    if limit == 0 || limit > PAGE_ROWS_MAX {
        return Err(refuse("limit", "limit must be between 1 and 1000").into());
    }
    let cursor = match query.after.as_deref().map(str::parse::<UsageCursor>) {
        Some(Err(_)) => return Err(refuse("after", "after must be the `next` of a page").into()),
        Some(Ok(cursor)) => Some(cursor),
        None => None,
    };
    // No request is newer than now, and the store counts in 63 bits.
    let end = clock.now().saturating_add(Duration::from_secs(1));
    let to = query.to.map_or(end, Timestamp::from_seconds).min(end);
    let from = query.from.map_or(Timestamp::EPOCH, Timestamp::from_seconds).min(to);
    let page = store.usage(principal.wallet, from, to, cursor, limit).await?;
    let finished = page.rows.iter().filter(|row| row.state != RequestState::Open);
    Ok(Json(json!({
        "object": "list",
        "data": finished.map(row).collect::<Vec<_>>(),
        "has_more": page.next.is_some(),
        "next": page.next.map(|cursor| cursor.to_string()),
        "totals": {
            "requests": page.totals.requests,
            "charge_nano": page.totals.charge,
            "prompt_tokens": page.totals.usage.prompt,
            "completion_tokens": page.totals.usage.completion,
        },
    })))
}

fn row(row: &UsageRow) -> Value {
    json!({
        "request_id": row.request_id,
        "model": row.model,
        "key_id": row.key,
        "created_at": row.created_at.as_seconds(),
        "streamed": row.streamed,
        "outcome": row.state.as_str(),
        "usage": {
            "prompt_tokens": row.usage.prompt,
            "cached_tokens": row.usage.cached,
            "completion_tokens": row.usage.completion,
            "reasoning_tokens": row.usage.reasoning,
        },
        "charge_nano": row.charge,
        "worker_id": row.worker,
    })
}
