//! `GET /v1/models`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::shape;
use crate::api::StartedAt;
use crate::auth::Principal;
use crate::dispatch::Dispatcher;

/// Models that an attested worker serves now and that have a price.
pub(in crate::api) async fn list(
    _principal: Principal,
    State(dispatcher): State<Arc<Dispatcher>>,
    State(started_at): State<StartedAt>,
) -> Json<Value> {
    let offers = dispatcher.offers();
    let data: Vec<Value> = offers.iter().map(|offer| shape::model(offer, started_at)).collect();
    Json(json!({ "object": "list", "data": data }))
}
