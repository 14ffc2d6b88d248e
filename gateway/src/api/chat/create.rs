//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use cocoon_primitives::RequestId;

use crate::auth::Principal;
use crate::dispatch::{Call, Dispatcher};
use crate::edge::body::{self, BodyBudget, BodyLimits};
use crate::edge::problem::Problem;

/// The principal comes before the body: a stranger's 32 MiB are never kept. What is kept counts
/// against the budget of all bodies until no worker needs it any more.
pub(in crate::api) async fn create(
    principal: Principal,
    Extension(request_id): Extension<RequestId>,
    State(dispatcher): State<Arc<Dispatcher>>,
    State(limits): State<BodyLimits>,
    State(budget): State<BodyBudget>,
    request: Request,
) -> Result<Response, Problem> {
    if principal.key.is_none() {
        return Err(Problem::KeyRequired);
    }
    let body = body::read_claimed(request, limits, &budget).await?;
    let call = Call { request_id, principal, body };
    Ok(Box::pin(dispatcher.chat(call)).await?)
}
