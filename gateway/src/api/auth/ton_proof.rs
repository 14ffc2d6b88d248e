//! `POST /v1/auth/ton-proof`: a wallet's proof becomes a session.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use cocoon_primitives::Clock;
use cocoon_ton::UnverifiedProof;
use serde_json::{Value, json};

use crate::api::small;
use crate::auth::{SignIn, SignInError, Throttle};
use crate::edge::body::{self, BodyLimits};
use crate::edge::problem::Problem;
use crate::edge::serve::Peer;

pub(in crate::api) async fn ton_proof(
    Extension(Peer(peer)): Extension<Peer>,
    State(throttle): State<Arc<Throttle>>,
    State(sign_in): State<Arc<SignIn>>,
    State(clock): State<Arc<dyn Clock>>,
    State(limits): State<BodyLimits>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    throttle.admit(peer, clock.now()).map_err(Problem::throttled)?;
    let body = body::read(request, small(limits)).await?;
    let proof = UnverifiedProof::from_json(&body).map_err(SignInError::Proof)?;
    let outcome = sign_in.finish(&proof, clock.as_ref()).await;
    let result = if outcome.is_ok() { "opened" } else { "refused" };
    metrics::counter!("cocoon_sign_ins_total", "result" => result).increment(1);
    let session = outcome?;
    Ok(Json(json!({ "token": session.token, "expires_at": session.expires_at.as_seconds() })))
}
