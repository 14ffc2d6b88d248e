//! HTTP/2 over an enrolled connection, this side as server.

use std::convert::Infallible;
use std::error::Error as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cocoon_attest::enrol::Challenge;
use cocoon_attest::renewal;
use cocoon_uplink_wire::headers::{
    CHAT_PATH, COMPLETIONS_PATH, EMBEDDINGS_PATH, EVENTS_PATH, RENEW_PATH, REQUEST_BODY_BYTES_MAX,
    RESPONSES_PATH, RETRYABLE,
};
use cocoon_uplink_wire::message::{from_cbor, to_cbor};
use cocoon_uplink_wire::renew::{RENEWAL_BYTES_MAX, RenewalAnswer, RenewalRequest};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::WorkerBody;
use super::dial::{Connection, DialError};
use super::events::Events;
use super::{LeaseContext, Link};

const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const STREAMS_MAX: u32 = 2048;
/// What one stream may buffer towards a gateway that reads slowly.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// For a request's body.
const BODY_DEADLINE: Duration = Duration::from_secs(60);
/// For evidence, the wait for earlier questions included.
const EVIDENCE_DEADLINE: Duration = Duration::from_secs(45);
/// Events that may wait for the connection.
const EVENTS_MAX: usize = 64;
/// How long a drain waits for the gateway to acknowledge what it got.
const ACKNOWLEDGED_DEADLINE: Duration = Duration::from_secs(2);
const ACKNOWLEDGED_CHECK: Duration = Duration::from_millis(20);

/// One connection being served.
struct Session {
    link: Arc<Link>,
    lease: Arc<LeaseContext>,
    exporter: [u8; 32],
    /// Answers that are not finished.
    running: TaskTracker,
    /// The drain is over: events end and the connection closes.
    finished: CancellationToken,
}

impl Link {
    /// Serves one connection to its end.
    pub(super) async fn serve(self: &Arc<Self>, connection: Connection) {
        let Connection { stream, exporter, lease } = connection;
        tracing::info!(
            worker.id = %lease.worker_id(), lease.id = %lease.lease_id(),
            "leased as {} with {} assurance", lease.worker_id(), lease.assurance()
        );
        let session = Arc::new(Session {
            link: Arc::clone(self),
            lease,
            exporter,
            running: TaskTracker::new(),
            finished: CancellationToken::new(),
        });
        // Whatever ends the connection ends its events.
        let _finished = session.finished.clone().drop_guard();
        let serving = Arc::clone(&session);
        let service = service_fn(move |request| {
            let session = Arc::clone(&serving);
            async move { Ok::<_, Infallible>(session.route(request).await) }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(STREAMS_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let outcome = tokio::select! {
            outcome = serving.as_mut() => outcome,
            () = session.drain() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        match outcome {
            Ok(()) => tracing::info!("the connection to the gateway ended"),
            Err(error) => tracing::warn!(%error, "the connection to the gateway failed"),
        }
    }
}

impl Session {
    async fn route(self: Arc<Self>, request: Request<Incoming>) -> Response<WorkerBody> {
        if request.method() != Method::POST {
            return status(StatusCode::METHOD_NOT_ALLOWED);
        }
        match request.uri().path() {
            CHAT_PATH | RESPONSES_PATH | COMPLETIONS_PATH | EMBEDDINGS_PATH => {
                self.infer(request).await
            }
            EVENTS_PATH => self.events(request),
            RENEW_PATH => self.renew(request).await,
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    async fn infer(&self, request: Request<Incoming>) -> Response<WorkerBody> {
        let running = self.running.token();
        let (head, body) = request.into_parts();
        let body = match collect(body, REQUEST_BODY_BYTES_MAX).await {
            Ok(body) => body,
            Err(refused) => return refused,
        };
        let request = Request::from_parts(head, body);
        let answer = self.link.parts.surface.handle(&self.lease, request).await;
        answer.map(|body| WorkerBody::Answer { body: Box::new(body), _running: running })
    }

    fn events(&self, request: Request<Incoming>) -> Response<WorkerBody> {
        let parts = &self.link.parts;
        let (out, events) = mpsc::channel(EVENTS_MAX);
        let run = Events {
            engine: Arc::clone(&parts.engine),
            outbox: Arc::clone(&parts.outbox),
            queue: self.link.config.queue,
            soft: parts.lifecycle.soft().clone(),
            finished: self.finished.clone(),
            out,
        };
        parts.lifecycle.spawn("uplink.events", run.run(request.into_body()));
        Response::new(WorkerBody::Events(events))
    }

    async fn renew(&self, request: Request<Incoming>) -> Response<WorkerBody> {
        let body = match collect(request.into_body(), RENEWAL_BYTES_MAX).await {
            Ok(body) => body,
            Err(refused) => return refused,
        };
        let answer = match from_cbor(&body) {
            Ok(RenewalRequest::Light { nonce }) => {
                let (key, lease_id) = (&self.link.parts.receipt_key, self.lease.lease_id());
                let signature = renewal::answer(key, &nonce, &self.exporter, lease_id);
                RenewalAnswer::Light { signature }
            }
            Ok(RenewalRequest::Full(challenge)) => match self.evidence(&challenge).await {
                Ok(evidence) => RenewalAnswer::Full(evidence),
                Err(refused) => return status(refused),
            },
            Err(error) => {
                tracing::warn!(%error, "a renewal of the gateway is not valid");
                return status(StatusCode::BAD_REQUEST);
            }
        };
        Response::new(WorkerBody::whole(to_cbor(&answer)))
    }

    /// Fresh evidence for a full renewal, or for a report over a nonce that a client chose.
    async fn evidence(&self, challenge: &[u8]) -> Result<Vec<u8>, StatusCode> {
        let challenge = Challenge::decode(challenge).map_err(|_| StatusCode::BAD_REQUEST)?;
        let answer = timeout(EVIDENCE_DEADLINE, self.link.answer(challenge, self.exporter)).await;
        match answer {
            Ok(Ok(evidence)) => Ok(evidence),
            Ok(Err(DialError::GatewayKey)) => Err(StatusCode::BAD_REQUEST),
            Ok(Err(error)) => {
                let cause = error.source().map(ToString::to_string);
                tracing::error!(
                    reason = error.code(),
                    cause,
                    "no evidence for the gateway: {error}"
                );
                Err(StatusCode::SERVICE_UNAVAILABLE)
            }
            Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// Returns when the process drains, every answer has ended and every receipt is acknowledged,
    /// or the gateway took longer than [`ACKNOWLEDGED_DEADLINE`]. Until then `/events` stays open:
    /// the receipt of an abort travels there alone, one of a finished answer in its stream too.
    async fn drain(&self) {
        self.link.parts.lifecycle.soft().cancelled().await;
        self.running.close();
        self.running.wait().await;
        let mut check = interval(ACKNOWLEDGED_CHECK);
        let acknowledged = async {
            while !self.link.parts.outbox.is_empty() {
                check.tick().await;
            }
        };
        if timeout(ACKNOWLEDGED_DEADLINE, acknowledged).await.is_err() {
            let left = self.link.parts.outbox.len();
            tracing::warn!(left, "{left} receipts were not acknowledged before the end");
        }
        self.finished.cancel();
    }
}

/// The whole body within its bound and deadline, or the answer that refuses it.
async fn collect(body: Incoming, bytes_max: usize) -> Result<Bytes, Response<WorkerBody>> {
    let collected = timeout(BODY_DEADLINE, Limited::new(body, bytes_max).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(status(StatusCode::PAYLOAD_TOO_LARGE))
        }
        Ok(Err(_)) => Err(status(StatusCode::BAD_REQUEST)),
        Err(_) => Err(status(StatusCode::REQUEST_TIMEOUT)),
    }
}

/// A refusal by the transport itself, in the form of every other: an OpenAI error object.
fn status(status: StatusCode) -> Response<WorkerBody> {
    let message = status.canonical_reason().unwrap_or("refused");
    let error = serde_json::json!({"error": {
        "message": message, "type": "invalid_request_error", "param": null, "code": null,
    }});
    let mut response = Response::new(WorkerBody::whole(error.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::REQUEST_TIMEOUT {
        response.headers_mut().insert(RETRYABLE, HeaderValue::from_static("1"));
    }
    response
}
