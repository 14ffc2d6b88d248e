//! Trace context over HTTP headers: W3C `traceparent` and `tracestate`, in and out.
//!
//! Without a configured exporter there is no trace to continue and both functions do nothing.

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Makes the caller's span, named in `headers`, the parent of `span`. Malformed headers are
/// ignored: the span starts a trace of its own.
pub fn set_remote_parent(span: &tracing::Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // Fails only where no OpenTelemetry layer is installed: nothing to continue then.
        drop(span.set_parent(parent));
    }
}

/// Writes the current span into `headers`, for the next hop to continue.
pub fn inject_current(headers: &mut HeaderMap) {
    inject(&tracing::Span::current(), headers);
}

/// Writes `span` into `headers`.
pub fn inject(span: &tracing::Span, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(headers));
}
