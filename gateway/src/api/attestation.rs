//! What anybody may check: who is admitted, on which evidence, under which policy, since when.
//!
//! No key is needed, so every route is throttled by the visitor's address, large answers by their
//! size, and every answer is bounded. Behind a proxy all visitors have the proxy's address. Answers that can never change say so to caches.

pub(super) mod evidence;
pub(super) mod log;
pub(super) mod policy;
pub(super) mod report;
mod shape;
pub(super) mod workers;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::response::{IntoResponse, Response};
use cocoon_primitives::{ModelName, Timestamp};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use serde::Serialize;

use super::ApiParts;
use crate::auth::Throttle;
use crate::edge::body::BodyError;
use crate::edge::problem::Problem;
use crate::edge::serve::Peer;

/// Answers that one address gets in a minute, reports apart: a local proxy asks every few seconds.
const READS_PER_MINUTE: u32 = 600;
/// Reports that one address asks for in a minute: each costs a machine a quote.
const REPORTS_PER_MINUTE: u32 = 20;

/// Bytes of an answer that one read stands for; a larger answer counts as more of them.
const READ_BYTES: usize = 64 * 1024;

/// A cache header and its value.
type Caching = [(HeaderName, HeaderValue); 1];

/// The same for everybody and for ever.
const FOR_EVER: Caching =
    [(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"))];
/// True now; ask again.
const NOT_KEPT: Caching = [(CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
/// For whoever asked alone.
const NOT_STORED: Caching = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// How often one address may ask.
#[derive(Debug, Clone)]
pub struct Visits {
    reads: Arc<Throttle>,
    reports: Arc<Throttle>,
}

impl Visits {
    pub fn new() -> Self {
        Self {
            reads: Arc::new(Throttle::new(READS_PER_MINUTE)),
            reports: Arc::new(Throttle::new(REPORTS_PER_MINUTE)),
        }
    }
}

impl Default for Visits {
    fn default() -> Self {
        Self::new()
    }
}

/// Somebody who may read now.
pub(super) struct Reader {
    peer: IpAddr,
    reads: Arc<Throttle>,
    /// When it was let in.
    at: Timestamp,
}

impl Reader {
    /// The answer, and what it costs beyond the read that was admitted.
    fn answer(&self, caching: Caching, answer: &impl Serialize) -> Response {
        let body = serde_json::to_vec(answer).expect("what is answered is JSON");
        let further = body.len() / READ_BYTES;
        self.reads.charge(self.peer, u64::try_from(further).unwrap_or(u64::MAX));
        let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (caching, json, body).into_response()
    }
}

/// Somebody who may ask for a report now.
pub(super) struct Asker;

impl FromRequestParts<ApiParts> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiParts) -> Result<Self, Problem> {
        let reads = Arc::clone(&state.visits.reads);
        let peer = admit(parts, state, &reads).await?;
        Ok(Self { peer, reads, at: state.clock.now() })
    }
}

impl FromRequestParts<ApiParts> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiParts) -> Result<Self, Problem> {
        admit(parts, state, &state.visits.reports).await.map(|_| Self)
    }
}

async fn admit(
    parts: &mut Parts,
    state: &ApiParts,
    throttle: &Throttle,
) -> Result<IpAddr, Problem> {
    let peer = Extension::<Peer>::from_request_parts(parts, state).await;
    // Every connection has one: without it nothing is known to throttle by.
    let Ok(Extension(Peer(peer))) = peer else { return Err(Problem::Overloaded) };
    throttle.admit(peer, state.clock.now()).map_err(Problem::throttled)?;
    Ok(peer)
}

/// The query, refused as the other routes refuse theirs.
fn query<Q>(query: Result<Query<Q>, QueryRejection>) -> Result<Q, Problem> {
    query.map(|Query(query)| query).map_err(|rejection| BodyError::from(rejection).into())
}

fn refuse(param: &'static str, message: &'static str) -> Problem {
    BodyError::Field { param, message }.into()
}

/// The model that a query asks for. `None`: no name that any model could have.
fn model(name: &str) -> Option<ModelName> {
    name.parse().ok()
}
