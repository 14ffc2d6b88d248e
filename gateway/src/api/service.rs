//! `GET /health` and `GET /ready`: for load balancers and load tools, without a key.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cocoon_primitives::{Clock, WalletAddress};
use cocoon_runtime::Lifecycle;
use cocoon_store::Store;
use serde_json::json;
use tokio::time::timeout;

use crate::edge::problem::not_ready;
use crate::uplink::SharedFleet;

/// How long the store may take to answer the probe.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// No wallet has this address; its balance is only read to see that reading works.
const NOBODY: WalletAddress = WalletAddress::new(0, [0; 32]);

/// The process answers: that is all it says.
pub(super) async fn health() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// Whether a request would be served now.
pub(super) async fn ready(
    State(lifecycle): State<Lifecycle>,
    State(store): State<Store>,
    State(fleet): State<SharedFleet>,
    State(clock): State<Arc<dyn Clock>>,
) -> Response {
    if lifecycle.is_draining() {
        return not_ready("draining");
    }
    if !matches!(timeout(STORE_TIMEOUT, store.balance(NOBODY)).await, Ok(Ok(_))) {
        return not_ready("store_unavailable");
    }
    let models = fleet.lock().unwrap_or_else(PoisonError::into_inner).models(clock.now());
    if models.is_empty() {
        return not_ready("no_worker");
    }
    Json(json!({ "status": "ready", "models": models.len() })).into_response()
}
