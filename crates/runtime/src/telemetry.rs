//! Logs, traces and metrics, set up once per process.
//!
//! Logs go to standard error, filtered by `RUST_LOG` (default `info`). Traces go to an OTLP
//! collector over HTTP where one is configured. Metrics go to a Prometheus recorder that the
//! caller's own listener renders. Nothing recorded here may hold a prompt, a completion, a key
//! or a peer's address.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// How long one export may take, and how long the last one may hold up an exit.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// What is logged where `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str = "info,h2=warn,hyper=warn,rustls=warn,opentelemetry=warn";

/// Seconds; from a cache hit to a long generation.
const SECONDS_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

/// What a process says about itself, and to whom.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// `service.name` of every span, as in `cocoon-gateway`.
    pub service: &'static str,
    /// Base URL of an OTLP/HTTP collector, as in `http://127.0.0.1:4318`; plain HTTP only.
    pub otlp_endpoint: Option<String>,
    /// Logs as JSON lines instead of text.
    pub json: bool,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("failed to build the OTLP exporter")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
    #[error("a tracing subscriber is already installed")]
    AlreadyInstalled,
    #[error("failed to install the metrics recorder")]
    Metrics(#[source] BuildError),
}

/// Flushes what is left on drop. Keep it until the process ends, inside the runtime.
#[derive(Debug)]
#[must_use = "spans that are not exported yet are lost when the guard goes"]
pub struct TelemetryGuard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT)
        {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Installs the process's subscriber. Must be called within a multi-thread Tokio runtime.
pub fn init(config: &TelemetryConfig) -> Result<TelemetryGuard, TelemetryError> {
    let provider = match &config.otlp_endpoint {
        Some(endpoint) => Some(tracer_provider(config.service, endpoint)?),
        None => None,
    };
    let tracer = provider.as_ref().map(|provider| provider.tracer(config.service));
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    tracing_subscriber::registry()
        .with(filter)
        .with(log_layer(config.json))
        .with(tracer.map(trace_layer))
        .try_init()
        .map_err(|_| TelemetryError::AlreadyInstalled)?;
    Ok(TelemetryGuard { provider })
}

fn log_layer<S>(json: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    if json {
        layer.json().flatten_event(true).boxed()
    } else {
        layer.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).with_target(false).boxed()
    }
}

fn trace_layer<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer().with_tracer(tracer)
}

fn tracer_provider(
    service: &'static str,
    endpoint: &str,
) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(RuntimeClient {
            inner: HyperClient::with_default_connector(EXPORT_TIMEOUT, None),
            runtime: Handle::current(),
        })
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(TelemetryError::Exporter)?;
    let resource = Resource::builder()
        .with_attribute(KeyValue::new("service.name", service))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// The batch processor exports from a thread of its own, outside any runtime; this client
/// carries the request into the process's runtime, where sockets and timers work.
#[derive(Debug)]
struct RuntimeClient {
    inner: HyperClient,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for RuntimeClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.inner.clone();
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}

/// The process's Prometheus recorder: installed by the first call, the same handle ever after.
pub fn prometheus() -> Result<PrometheusHandle, TelemetryError> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(TelemetryError::Metrics)?;
    Ok(HANDLE.get_or_init(|| handle).clone())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_reach_a_collector_when_the_guard_goes() {
        let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", collector.local_addr().unwrap());
        let config =
            TelemetryConfig { service: "test", otlp_endpoint: Some(endpoint), json: false };
        let guard = init(&config).unwrap();
        tracing::info_span!("exported").in_scope(|| {});
        let flushed = tokio::task::spawn_blocking(move || drop(guard));

        let (mut stream, _) = collector.accept().await.unwrap();
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        while !received.windows(8).any(|part| part == b"exported") {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&received));
            received.extend_from_slice(&buffer[..count]);
        }
        assert!(received.starts_with(b"POST /v1/traces "));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        flushed.await.unwrap();
    }

    #[test]
    fn the_recorder_is_installed_once() {
        let first = prometheus().unwrap();
        let second = prometheus().unwrap();
        metrics::counter!("cocoon_test_total").increment(1);
        assert!(first.render().contains("cocoon_test_total 1"));
        assert_eq!(first.render(), second.render());
    }
}
