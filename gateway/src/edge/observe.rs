//! Every request gets a name, a span, a line in the metrics and its headers.
//!
//! The span continues the client's `traceparent` and lives until the last byte of the answer.
//! Neither bodies nor credentials nor peers' addresses are recorded.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use cocoon_primitives::{Clock, RequestId, Timestamp};
use cocoon_runtime::propagation;
use http::HeaderValue;
use tokio::time::Instant;
use tracing::Instrument;

use super::held::HeldBody;

/// The route of a request that matched none.
const NO_ROUTE: &str = "none";

/// The version of the API that is spoken under `/v1`, as OpenAI names it.
const OPENAI_VERSION: HeaderValue = HeaderValue::from_static("2020-10-01");

pub(super) async fn observe(
    State(clock): State<Arc<dyn Clock>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(clock.now());
    let is_api = request.uri().path().starts_with("/v1/");
    request.extensions_mut().insert(id);
    let route = request.extensions().get::<MatchedPath>().map(|path| Arc::from(path.as_str()));
    let route: Arc<str> = route.unwrap_or_else(|| Arc::from(NO_ROUTE));
    let method = bounded_method(request.method());
    let span = tracing::info_span!(
        "http.request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        request.id = %id,
        http.request.method = method,
        http.route = &*route,
        http.response.status_code = tracing::field::Empty,
    );
    propagation::set_remote_parent(&span, request.headers());
    let mut response = next.run(request).instrument(span.clone()).await;

    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    let elapsed = started.elapsed();
    let labels = [
        ("method", method.to_owned()),
        ("route", route.to_string()),
        ("status", status.to_string()),
    ];
    metrics::counter!("cocoon_http_requests_total", &labels).increment(1);
    metrics::histogram!("cocoon_http_response_head_seconds", "route" => route.to_string())
        .record(elapsed.as_secs_f64());
    let _in_span = span.enter();
    tracing::debug!(status, duration_ms = elapsed.as_secs_f64() * 1000.0, "request {id} answered");
    drop(_in_span);

    let headers = response.headers_mut();
    headers.insert("x-request-id", ascii(&id.to_string()));
    headers.insert("openai-processing-ms", ascii(&elapsed.as_millis().to_string()));
    if is_api {
        headers.insert("openai-version", OPENAI_VERSION);
    }
    response.map(|body| HeldBody::wrap(body, span))
}

/// 48 bits of milliseconds, then 80 random ones: requests lie in the store in the order in which
/// they came, which spares it a page per request, and an id still cannot be guessed.
fn request_id(now: Timestamp) -> RequestId {
    let [_, _, time @ ..] = now.as_millis().to_be_bytes();
    let mut id = [0; RequestId::BYTES];
    id[..time.len()].copy_from_slice(&time);
    id[time.len()..].copy_from_slice(&crate::auth::random::<10>());
    RequestId::from_bytes(id)
}

/// A method as a label: clients may invent any number of others.
fn bounded_method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        _ => "OTHER",
    }
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("ids and numbers are visible ASCII")
}
