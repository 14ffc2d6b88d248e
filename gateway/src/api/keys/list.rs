//! `GET /v1/keys`: every key of the wallet, revoked ones included, none of their secrets.

use axum::Json;
use axum::extract::State;
use cocoon_primitives::Timestamp;
use cocoon_store::{KeyRow, Store};
use serde_json::{Value, json};

use crate::auth::masked;
use crate::edge::principal::SignedIn;
use crate::edge::problem::Problem;

pub(in crate::api) async fn list(
    SignedIn(principal): SignedIn,
    State(store): State<Store>,
) -> Result<Json<Value>, Problem> {
    let rows = store.list_keys(principal.wallet).await?;
    let data: Vec<Value> = rows.iter().map(key).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

fn key(row: &KeyRow) -> Value {
    json!({
        "id": row.id,
        "name": row.name,
        "masked": masked(row.id),
        "created_at": row.created_at.as_seconds(),
        "expires_at": row.expires_at.map(Timestamp::as_seconds),
        "last_used_at": row.last_used_at.map(Timestamp::as_seconds),
        "spend_cap_nano": row.spend_cap,
        "spent_nano": row.spent,
        "revoked_at": row.revoked_at.map(Timestamp::as_seconds),
    })
}
