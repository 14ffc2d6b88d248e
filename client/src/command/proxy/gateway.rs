//! The gateway behind the proxy: plain questions, and sealed requests.

use bytes::Bytes;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::error::{ErrorBody, kind};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use reqwest::{Client, Response, Url};

use super::problem::{Problem, Told, WORDLESS};

/// Answers to plain questions.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const REFUSAL_BYTES_MAX: usize = 256 << 10;
/// Headers of the gateway's that clients act on.
const PASSED: [&str; 5] =
    ["retry-after-ms", "x-should-retry", "x-request-id", "cocoon-receipt-id", "cocoon-worker"];
const RATE_LIMITS: &str = "x-ratelimit-";

/// The gateway, for whoever's key a request brings.
pub(super) struct Gateway {
    http: Client,
    base_url: Url,
}

impl Gateway {
    pub(super) fn new(http: Client, base_url: Url) -> Self {
        Self { http, base_url }
    }

    /// A plain question; a refusal is the gateway's own words.
    pub(super) async fn get(&self, path: &str, key: &str) -> Result<Vec<u8>, Problem> {
        let request = self.http.get(self.url(path)).header(AUTHORIZATION, bearer(key)?);
        let response = request.send().await.map_err(|_| Problem::Unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await);
        }
        collect(response, ANSWER_BYTES_MAX).await
    }

    /// A sealed request. What comes back has status 200 or is sealed itself.
    pub(super) async fn ask(
        &self,
        endpoint: Endpoint,
        key: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, Problem> {
        let path = endpoint.path().trim_start_matches("/v1");
        let request = self
            .http
            .post(self.url(path))
            .headers(headers)
            .header(AUTHORIZATION, bearer(key)?)
            .header(CONTENT_TYPE, cocoon_seal::CONTENT_TYPE)
            .body(body);
        let response = request.send().await.map_err(|error| match error.is_connect() {
            true => Problem::Unreachable,
            false => Problem::Lost,
        })?;
        if is_sealed(response.headers()) {
            return Ok(response);
        }
        if response.status() == StatusCode::OK {
            return Err(crate::trust::Doubt::new(
                "answer_not_sealed",
                "the gateway answered a sealed request in the clear",
            )
            .into());
        }
        Err(refusal(response).await)
    }

    /// `path` starts with a slash and is made of constants and checked names.
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }
}

fn bearer(key: &str) -> Result<HeaderValue, Problem> {
    let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| Problem::NoKey)?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_sealed(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value == cocoon_seal::CONTENT_TYPE)
}

/// What of an answer's headers a client may see.
pub(super) fn passed(headers: &HeaderMap) -> HeaderMap {
    let is_passed = |name: &HeaderName| {
        *name == RETRY_AFTER
            || PASSED.contains(&name.as_str())
            || name.as_str().starts_with(RATE_LIMITS)
    };
    let passed = headers.iter().filter(|(name, _)| is_passed(name));
    passed.map(|(name, value)| (name.clone(), value.clone())).collect()
}

async fn refusal(response: Response) -> Problem {
    let (status, headers) = (response.status(), passed(response.headers()));
    if !(status.is_client_error() || status.is_server_error()) {
        return Problem::Shape("its status is none of an answer");
    }
    let body = match collect(response, REFUSAL_BYTES_MAX).await {
        Ok(body) => body,
        Err(problem) => return problem,
    };
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| {
        let reason = status.canonical_reason().unwrap_or("no reason given");
        ErrorBody::new(kind::SERVER, reason).code(WORDLESS)
    });
    Problem::Told(Box::new(Told { status, headers, body }))
}

/// The whole body, bounded.
async fn collect(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|_| Problem::Unreachable)? {
        if body.len().saturating_add(piece.len()) > bytes_max {
            return Err(Problem::Shape("it is too long"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
