//! `DELETE /v1/keys/{id}`: the key stops working at once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use cocoon_primitives::{Clock, KeyId};
use cocoon_store::Store;
use serde_json::{Value, json};

use crate::auth::KeyTable;
use crate::edge::path::PathText;
use crate::edge::principal::SignedIn;
use crate::edge::problem::Problem;

pub(in crate::api) async fn delete(
    SignedIn(principal): SignedIn,
    PathText(id): PathText,
    State(store): State<Store>,
    State(keys): State<Arc<KeyTable>>,
    State(clock): State<Arc<dyn Clock>>,
) -> Result<Json<Value>, Problem> {
    let unknown = || Problem::NotFound { what: "key", code: "key_not_found" };
    let id: KeyId = id.parse().map_err(|_| unknown())?;
    // Memory first: were this request dropped in between, the key would rather be dead too early
    // than live after it was revoked.
    keys.remove(id, principal.wallet);
    if !store.revoke_key(principal.wallet, id, clock.now()).await? {
        return Err(unknown());
    }
    tracing::info!(key.id = %id, "key {id} revoked");
    Ok(Json(json!({ "id": id, "deleted": true })))
}
