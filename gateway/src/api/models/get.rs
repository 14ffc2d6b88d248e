//! `GET /v1/models/{id}`: the id may contain slashes, escaped or not.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::shape;
use crate::api::StartedAt;
use crate::auth::Principal;
use crate::dispatch::{DispatchError, Dispatcher};
use crate::edge::path::PathText;
use crate::edge::problem::Problem;

pub(in crate::api) async fn get(
    _principal: Principal,
    PathText(id): PathText,
    State(dispatcher): State<Arc<Dispatcher>>,
    State(started_at): State<StartedAt>,
) -> Result<Json<Value>, Problem> {
    let offers = dispatcher.offers();
    let offer = offers.iter().find(|offer| offer.served.name.as_str() == id);
    let offer = offer.ok_or(DispatchError::UnknownModel { model: id })?;
    Ok(Json(shape::model(offer, started_at)))
}
