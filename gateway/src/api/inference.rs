//! The four inference endpoints: `POST /v1/chat/completions`, `/v1/responses`, `/v1/completions`
//! and `/v1/embeddings`. What they share is all that a gateway does; the rest is the worker's.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_primitives::RequestId;

use super::ApiParts;
use crate::auth::Principal;
use crate::dispatch::{Call, DispatchError, SealedCall};
use crate::edge::body;
use crate::edge::problem::Problem;
use crate::edge::share::Share;
use crate::idempotency::{Claimant, IdempotencyError, KeyedRequest, Run};

pub(super) async fn chat_completions(asked: Asked) -> Result<Response, Problem> {
    asked.answer(Endpoint::ChatCompletions).await
}

pub(super) async fn responses(asked: Asked) -> Result<Response, Problem> {
    asked.answer(Endpoint::Responses).await
}

pub(super) async fn completions(asked: Asked) -> Result<Response, Problem> {
    asked.answer(Endpoint::Completions).await
}

pub(super) async fn embeddings(asked: Asked) -> Result<Response, Problem> {
    asked.answer(Endpoint::Embeddings).await
}

/// From here on a body is not read for a wallet that has nothing to spend.
const LARGE_BODY_BYTES: usize = 1 << 20;

/// A request for inference, and the parts that answer it.
pub(super) struct Asked {
    principal: Principal,
    request_id: RequestId,
    /// Of its wallet's running requests.
    share: Share,
    request: Request,
    parts: ApiParts,
}

impl FromRequest<ApiParts> for Asked {
    type Rejection = Problem;

    /// The principal comes before the body: a stranger's 32 MiB are never kept.
    async fn from_request(request: Request, parts: &ApiParts) -> Result<Self, Problem> {
        let (mut head, body) = request.into_parts();
        let principal = Principal::from_request_parts(&mut head, parts).await?;
        let request_id = head.extensions.get::<RequestId>().copied();
        let request_id = request_id.expect("the edge names every request");
        // Without one the key was made while the request came in.
        let share = head.extensions.remove::<Share>().ok_or(Problem::ShareTaken)?;
        let request = Request::from_parts(head, body);
        Ok(Self { principal, request_id, share, request, parts: parts.clone() })
    }
}

impl Asked {
    /// What is kept of the body counts against the budget of all bodies until no worker needs it
    /// any more.
    async fn answer(self, endpoint: Endpoint) -> Result<Response, Problem> {
        if self.principal.key.is_none() {
            return Err(Problem::KeyRequired);
        }
        let (rates, wallet) = (self.parts.rates.clone(), self.principal.wallet);
        let mut response = match rates.request(wallet) {
            Ok(()) => self.serve(endpoint).await.unwrap_or_else(Problem::into_response),
            Err(limited) => Problem::from(DispatchError::from(limited)).into_response(),
        };
        rates.write_head(wallet, response.headers_mut());
        Ok(response)
    }

    async fn serve(self, endpoint: Endpoint) -> Result<Response, Problem> {
        let Self { principal, request_id, share, request, parts } = self;
        let sealed = SealedCall::read(endpoint.path(), request.headers())?;
        let claimant = Claimant::read(request.headers())?;
        if sealed.is_some() && claimant.is_some() {
            return Err(IdempotencyError::Sealed.into());
        }
        // A sealed request has its client's id: it is what makes a repeat known.
        let request_id = sealed.as_ref().map_or(request_id, |sealed| sealed.head.request_id);
        // What is too large altogether is refused for that.
        let large = LARGE_BODY_BYTES + 1..=parts.body_limits.bytes_max;
        let is_large = body::announced(request.headers()).is_some_and(|it| large.contains(&it));
        if is_large && !parts.idempotency.may_repeat(claimant.as_ref()).await? {
            parts.dispatcher.check_funds(principal.wallet).await?;
        }
        let body = body::read_claimed(request, parts.body_limits, &parts.body_budget).await?;
        let (dispatcher, asked) = (parts.dispatcher, body.clone());
        let call = Call { endpoint, request_id, principal, body, sealed };
        let run: Run = Box::pin(async move { Ok(dispatcher.answer(call).await?) });
        let Some(claimant) = claimant else { return run.await };
        let (wallet, endpoint) = (principal.wallet, endpoint.path());
        let keyed = KeyedRequest { claimant, request_id, wallet, share, endpoint, body: asked };
        parts.idempotency.answer(keyed, run).await
    }
}
