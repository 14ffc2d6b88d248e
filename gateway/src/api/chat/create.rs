//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use cocoon_primitives::{Clock, RequestId};

use crate::auth::Principal;
use crate::dispatch::{Call, Dispatcher};
use crate::edge::body::{self, BodyLimits};
use crate::edge::problem::Problem;

/// The principal comes before the body: a stranger's 32 MiB are never kept.
pub(in crate::api) async fn create(
    principal: Principal,
    Extension(request_id): Extension<RequestId>,
    State(dispatcher): State<Arc<Dispatcher>>,
    State(clock): State<Arc<dyn Clock>>,
    State(limits): State<BodyLimits>,
    request: Request,
) -> Result<Response, Problem> {
    if principal.key.is_none() {
        return Err(Problem::KeyRequired);
    }
    let received_at = clock.now();
    let body = body::read(request, limits).await?;
    let call = Call { request_id, principal, body, received_at };
    Ok(Box::pin(dispatcher.chat(call)).await?)
}
