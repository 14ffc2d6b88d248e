//! `GET /v1/models`.

use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::State;
use cocoon_primitives::Clock;
use serde_json::{Value, json};

use super::shape;
use crate::api::StartedAt;
use crate::auth::Principal;
use crate::dispatch::PriceList;
use crate::uplink::SharedFleet;

/// Models that an attested worker serves now and that have a price.
pub(in crate::api) async fn list(
    _principal: Principal,
    State(fleet): State<SharedFleet>,
    State(prices): State<Arc<PriceList>>,
    State(clock): State<Arc<dyn Clock>>,
    State(started_at): State<StartedAt>,
) -> Json<Value> {
    let served = fleet.lock().unwrap_or_else(PoisonError::into_inner).models(clock.now());
    let priced = served.iter().filter_map(|model| Some((model, prices.row(&model.name)?)));
    let data: Vec<Value> =
        priced.map(|(model, price)| shape::model(model, &price.row, started_at)).collect();
    Json(json!({ "object": "list", "data": data }))
}
