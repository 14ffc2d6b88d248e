//! Who asks, as an argument of the handlers that need to know.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;

use super::problem::Problem;
use crate::auth::{Authenticator, Principal};

/// A wallet's session. Keys are managed with one; a bare API key may not make another.
#[derive(Debug, Clone, Copy)]
pub struct SignedIn(pub Principal);

impl<S> FromRequestParts<S> for Principal
where
    Arc<Authenticator>: FromRef<S>,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // Known already, unless the request is to be refused.
        if let Some(principal) = parts.extensions.get::<Self>() {
            return Ok(*principal);
        }
        Arc::<Authenticator>::from_ref(state).authenticate(&parts.headers).map_err(Problem::Auth)
    }
}

impl<S> FromRequestParts<S> for SignedIn
where
    Arc<Authenticator>: FromRef<S>,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let principal = Principal::from_request_parts(parts, state).await?;
        if principal.key.is_some() { Err(Problem::SessionRequired) } else { Ok(Self(principal)) }
    }
}
