//! `GET /v1/models/{id}`: the id may contain slashes, escaped or not.

use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::State;
use cocoon_primitives::Clock;
use serde_json::Value;

use super::shape;
use crate::api::StartedAt;
use crate::auth::Principal;
use crate::dispatch::{DispatchError, PriceList};
use crate::edge::path::PathText;
use crate::edge::problem::Problem;
use crate::uplink::SharedFleet;

pub(in crate::api) async fn get(
    _principal: Principal,
    PathText(id): PathText,
    State(fleet): State<SharedFleet>,
    State(prices): State<Arc<PriceList>>,
    State(clock): State<Arc<dyn Clock>>,
    State(started_at): State<StartedAt>,
) -> Result<Json<Value>, Problem> {
    let served = fleet.lock().unwrap_or_else(PoisonError::into_inner).models(clock.now());
    let model = served.iter().find(|model| model.name.as_str() == id);
    let priced = model.and_then(|model| Some((model, prices.row(&model.name)?)));
    let (model, price) = priced.ok_or(DispatchError::UnknownModel { model: id })?;
    Ok(Json(shape::model(model, &price.row, started_at)))
}
