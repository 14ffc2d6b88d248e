//! Reading a request's body: all of it, bounded in bytes and time.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::extract::rejection::QueryRejection;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// What a request's own text is refused for.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the body did not arrive in time")]
    Timeout,
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

/// The whole body. A content type is never asked for: clients send it wrong or not at all.
pub async fn read(request: Request, limits: BodyLimits) -> Result<Bytes, BodyError> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > limits.bytes_max) {
        return Err(BodyError::TooLarge { bytes_max: limits.bytes_max });
    }
    let body = request.into_body();
    timeout(limits.timeout, collect(body, announced.unwrap_or(0), limits.bytes_max))
        .await
        .map_err(|_| BodyError::Timeout)?
}

async fn collect(mut body: Body, announced: usize, bytes_max: usize) -> Result<Bytes, BodyError> {
    /// An announcement is only a claim: no more memory than this is taken on its word.
    const TRUSTED_BYTES_MAX: usize = 1 << 20;
    let mut collected = BytesMut::with_capacity(announced.min(TRUSTED_BYTES_MAX));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        if collected.len().saturating_add(data.len()) > bytes_max {
            return Err(BodyError::TooLarge { bytes_max });
        }
        collected.extend_from_slice(data);
    }
    Ok(collected.freeze())
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
