//! `POST /v1/auth/ton-proof/payload`: what a wallet is asked to sign.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use cocoon_primitives::Clock;
use serde_json::{Value, json};

use crate::api::small;
use crate::auth::{SignIn, Throttle};
use crate::edge::body::{self, BodyLimits};
use crate::edge::problem::Problem;
use crate::edge::serve::Peer;

pub(in crate::api) async fn payload(
    Extension(Peer(peer)): Extension<Peer>,
    State(throttle): State<Arc<Throttle>>,
    State(sign_in): State<Arc<SignIn>>,
    State(clock): State<Arc<dyn Clock>>,
    State(limits): State<BodyLimits>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let now = clock.now();
    throttle.admit(peer, now).map_err(Problem::throttled)?;
    // Nothing in the body matters yet; it is read so that its sender may send one.
    body::read(request, small(limits)).await?;
    let challenge = sign_in.challenge(now);
    Ok(Json(json!({
        "payload": challenge.payload,
        "attempt": challenge.attempt,
        "expires_at": challenge.expires_at.as_seconds(),
    })))
}
