//! Reading a request's body: all of it, bounded in bytes and time.
//!
//! Inference takes large bodies before anything in them can be judged, so what all of them hold
//! together has a budget too: see [`BodyBudget`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::extract::rejection::QueryRejection;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// What a request's own text is refused for.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error(
        "a request with another Content-Encoding than identity is not read: send the body plain"
    )]
    Encoding,
    #[error("the body did not arrive in time")]
    Timeout,
    /// Other requests' bodies hold all the memory that there is for them.
    #[error("there is no room for the body now")]
    NoRoom,
    /// The client stopped in the middle: nobody reads the answer.
    #[error("the body broke off")]
    Broken,
    #[error("the body is not valid JSON: {0}")]
    Json(String),
    #[error("the query is not valid: {0}")]
    Query(String),
    #[error("{message}")]
    Field { param: &'static str, message: &'static str },
}

/// How much of a body is read, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    pub bytes_max: usize,
    pub timeout: Duration,
}

/// The memory that the bodies of all requests may hold at once.
///
/// Taken as a body grows, not on its announcement, so that what holds memory is what counts;
/// given back when the last handle on the bytes is dropped. A body that finds no room is refused
/// at once: it never waits.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    kib: Arc<Semaphore>,
}

impl BodyBudget {
    pub fn new(bytes: usize) -> Self {
        let kib = (bytes / KIB).clamp(1, Semaphore::MAX_PERMITS);
        Self { kib: Arc::new(Semaphore::new(kib)) }
    }

    fn empty_claim(&self) -> Claim {
        Claim { kib: Arc::clone(&self.kib), held: None }
    }
}

const KIB: usize = 1 << 10;

/// One body's part of the budget.
struct Claim {
    kib: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Claim {
    /// Makes the claim cover so many bytes.
    fn cover(&mut self, bytes: usize) -> Result<(), BodyError> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(KIB).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).map_err(|_| BodyError::NoRoom)?;
        let kib = Arc::clone(&self.kib);
        let more = kib.try_acquire_many_owned(missing).map_err(|_| {
            metrics::counter!("cocoon_bodies_shed_total").increment(1);
            BodyError::NoRoom
        })?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

/// Bytes, and the part of the budget that they hold.
struct Claimed {
    bytes: Vec<u8>,
    _claim: Claim,
}

impl AsRef<[u8]> for Claimed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The whole body of an inference request, within the budget until the bytes are dropped.
pub async fn read_claimed(
    request: Request,
    limits: BodyLimits,
    budget: &BodyBudget,
) -> Result<Bytes, BodyError> {
    let mut claim = budget.empty_claim();
    let bytes = read_within(request, limits, |bytes| claim.cover(bytes)).await?;
    Ok(Bytes::from_owner(Claimed { bytes, _claim: claim }))
}

/// The whole body. A content type is never asked for: clients send it wrong or not at all.
pub async fn read(request: Request, limits: BodyLimits) -> Result<Bytes, BodyError> {
    read_within(request, limits, |_| Ok(())).await.map(Bytes::from)
}

/// How long a body will be, where its sender says so.
pub fn announced(head: &HeaderMap) -> Option<usize> {
    head.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the body stands for itself. Nothing is decompressed here: its bound would be another.
fn is_plain(head: &HeaderMap) -> bool {
    let is_identity = |coding: &str| coding.is_empty() || coding.eq_ignore_ascii_case("identity");
    head.get_all(CONTENT_ENCODING).iter().all(|value| {
        value.to_str().is_ok_and(|codings| codings.split(',').map(str::trim).all(is_identity))
    })
}

async fn read_within(
    request: Request,
    limits: BodyLimits,
    claim: impl FnMut(usize) -> Result<(), BodyError>,
) -> Result<Vec<u8>, BodyError> {
    if !is_plain(request.headers()) {
        return Err(BodyError::Encoding);
    }
    let announced = announced(request.headers());
    if announced.is_some_and(|bytes| bytes > limits.bytes_max) {
        return Err(BodyError::TooLarge { bytes_max: limits.bytes_max });
    }
    let body = request.into_body();
    timeout(limits.timeout, collect(body, announced.unwrap_or(0), limits.bytes_max, claim))
        .await
        .map_err(|_| BodyError::Timeout)?
}

/// `claim` is told what the body is about to hold, before memory is taken for it.
async fn collect(
    mut body: Body,
    announced: usize,
    bytes_max: usize,
    mut claim: impl FnMut(usize) -> Result<(), BodyError>,
) -> Result<Vec<u8>, BodyError> {
    /// An announcement is only a claim: no more memory than this is taken on its word.
    const TRUSTED_BYTES_MAX: usize = 64 << 10;
    let trusted = announced.min(TRUSTED_BYTES_MAX);
    claim(trusted)?;
    let mut collected = Vec::with_capacity(trusted);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        let length = collected.len().saturating_add(data.len());
        if length > bytes_max {
            return Err(BodyError::TooLarge { bytes_max });
        }
        if length > collected.capacity() {
            // Twofold, so that a body is moved a few times only; never beyond what may come.
            let wanted = length.max(collected.capacity().saturating_mul(2)).min(bytes_max);
            claim(wanted)?;
            collected.reserve_exact(wanted - collected.len());
        }
        collected.extend_from_slice(data);
    }
    Ok(collected)
}

/// A JSON object of ours. An empty body reads as `{}`, as several clients send it.
pub async fn read_json<T: DeserializeOwned>(
    request: Request,
    limits: BodyLimits,
) -> Result<T, BodyError> {
    let body = read(request, limits).await?;
    let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(text).map_err(|error| BodyError::Json(error.to_string()))
}

impl From<QueryRejection> for BodyError {
    fn from(rejection: QueryRejection) -> Self {
        Self::Query(rejection.body_text())
    }
}
