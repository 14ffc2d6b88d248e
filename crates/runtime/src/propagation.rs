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

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_callers_trace_goes_on_in_the_next_hop() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let caller = format!("00-{TRACE}-b7ad6b7169203331-01");
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_str(&caller).unwrap());
            let span = tracing::info_span!("hop");
            set_remote_parent(&span, &headers);
            let mut forwarded = HeaderMap::new();
            span.in_scope(|| inject_current(&mut forwarded));
            let forwarded = forwarded["traceparent"].to_str().unwrap();
            assert!(forwarded.contains(TRACE), "{forwarded}");
            assert_ne!(forwarded, caller);
        });
    }

    #[test]
    fn a_malformed_header_starts_a_new_trace() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_static("00-zz-yy-01"));
            let span = tracing::info_span!("hop");
            set_remote_parent(&span, &headers);
            let mut forwarded = HeaderMap::new();
            inject(&span, &mut forwarded);
            assert!(forwarded.contains_key("traceparent"));
        });
    }
}
