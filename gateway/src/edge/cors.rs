//! Browsers: any origin may call, and a preflight needs no key.
//!
//! Credentials are bearer tokens that a page has to hold itself, never cookies, so an open
//! origin gives a page nothing that it does not have.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// What pages may read beside the body.
const EXPOSED: &str = "x-request-id, retry-after, retry-after-ms, x-should-retry, \
    openai-processing-ms, x-ratelimit-limit-requests, x-ratelimit-limit-tokens, \
    x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, \
    x-ratelimit-reset-tokens, cocoon-receipt-id, cocoon-assurance, cocoon-worker, \
    cocoon-dropped-tools, idempotent-replayed, openai-version, allow";

/// What pages may send where the browser does not say: the OpenAI SDK's headers.
const ALLOWED: &str = "authorization, content-type, openai-beta, openai-organization, \
    openai-project, x-client-request-id, \
    x-stainless-arch, x-stainless-async, x-stainless-helper-method, x-stainless-lang, \
    x-stainless-os, x-stainless-package-version, x-stainless-raw-response, \
    x-stainless-read-timeout, x-stainless-retry-count, x-stainless-runtime, \
    x-stainless-runtime-version, x-stainless-timeout, idempotency-key, traceparent, tracestate";

/// The longest list of requested headers that is echoed.
const REQUESTED_BYTES_MAX: usize = 2048;

pub(super) async fn cors(request: Request, next: Next) -> Response {
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response =
        if is_preflight { preflight(request.headers()) } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    response
}

/// Every header that is asked for is allowed: new SDKs bring new ones, and none of them is read.
fn preflight(asked: &HeaderMap) -> Response {
    let requested = asked
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .filter(|value| value.len() <= REQUESTED_BYTES_MAX)
        .cloned()
        .unwrap_or(HeaderValue::from_static(ALLOWED));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, requested);
    let methods = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(VARY, HeaderValue::from_static("access-control-request-headers"));
    response
}
