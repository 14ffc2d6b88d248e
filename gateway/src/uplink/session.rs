//! The life of a leased connection: HTTP/2, membership, events, renewal, end.

use std::sync::Arc;
use std::time::Duration;

use cocoon_attest::receipt::{ReceiptError, SignedReceipt};
use cocoon_attest::renewal::Renewed;
use cocoon_fleet::Load;
use cocoon_primitives::LeaseId;
use cocoon_runtime::Lifecycle;
use cocoon_uplink_wire::event::{EVENT_BYTES_MAX, WorkerEvent};
use cocoon_uplink_wire::headers::EVENTS_PATH;
use cocoon_uplink_wire::{MessageDecoder, MessageError};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Either};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::acknowledgements::Acknowledgements;
use super::handshake::{Enrolled, Verifier};
use super::link::{LinkBody, LinkError, WorkerLink};
use super::renewal::{RenewalError, Renewals};
use super::{LateReceipt, UplinkParts, lock};

const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const STREAMS_MAX: usize = 1024;
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// For the HTTP/2 preface and for the head of the events answer.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// How long running streams get after a lease ended.
const FINISH_DEADLINE: Duration = Duration::from_secs(600);
/// How often a draining gateway looks whether the worker is idle.
const IDLE_CHECK: Duration = Duration::from_millis(50);

/// What all connections share.
pub(super) struct Sessions {
    verifier: Verifier,
    parts: UplinkParts,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the connection was lost")]
    Lost,
    #[error("the worker closed its events")]
    Left,
    #[error("the link was closed")]
    Closed,
    #[error("the gateway drains")]
    Draining,
    #[error("the lease was not renewed")]
    Renewal(#[source] RenewalError),
    #[error("the events request failed")]
    Events(#[source] LinkError),
    #[error("the events request was answered with status {0}")]
    EventsStatus(StatusCode),
    #[error("an event is not valid")]
    Event(#[source] MessageError),
    #[error("a receipt is not valid")]
    Receipt(#[source] ReceiptError),
}

impl Ended {
    const fn code(&self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Left => "left",
            Self::Closed => "closed",
            Self::Draining => "draining",
            Self::Renewal(_) => "renewal",
            Self::Events(_) | Self::EventsStatus(_) => "events",
            Self::Event(_) => "bad_event",
            Self::Receipt(_) => "bad_receipt",
        }
    }

    /// A worker that breaks the protocol is cut off; any other may finish what runs.
    const fn is_violation(&self) -> bool {
        matches!(self, Self::EventsStatus(_) | Self::Event(_) | Self::Receipt(_))
    }
}

/// The connection's own task: what drives HTTP/2, and how to stop it.
struct Driver {
    done: CancellationToken,
    abort: CancellationToken,
}

/// Leaves the fleet when dropped, however the session ends.
struct Membership<'a> {
    sessions: &'a Sessions,
    link: Arc<WorkerLink>,
    lease_id: LeaseId,
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        lock(&self.sessions.parts.fleet).remove(self.link.worker_id(), self.lease_id);
        self.link.close();
        metrics::gauge!("cocoon_uplink_workers").decrement(1.0);
    }
}

impl Sessions {
    pub(super) fn new(verifier: Verifier, parts: UplinkParts) -> Self {
        Self { verifier, parts }
    }

    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.parts.lifecycle
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Runs one worker's connection to its end.
    pub(super) async fn run(&self, enrolled: Enrolled) {
        let Enrolled { stream, attested, exporter, peer_spki } = enrolled;
        let lease = Arc::new(attested.lease().clone());
        let (lease_id, worker) = (lease.lease_id, lease.worker_id);
        let Some((sender, driver)) = self.open(TokioIo::new(stream)).await else {
            tracing::warn!(worker.id = %worker, "worker {worker} did not speak HTTP/2");
            return;
        };
        let (link, acknowledgements) = WorkerLink::new(Arc::clone(&lease), sender);
        let _stop = driver.abort.clone().drop_guard();
        let events = match self.open_events(&link, acknowledgements).await {
            Ok(events) => events,
            Err(ended) => return report(&link, &ended),
        };
        let replaced =
            lock(&self.parts.fleet).admit(attested, Arc::clone(&link), self.verifier.clock.now());
        if let Some(old) = replaced {
            old.close();
        }
        metrics::gauge!("cocoon_uplink_workers").increment(1.0);
        let membership = Membership { sessions: self, link: Arc::clone(&link), lease_id };
        tracing::info!(
            worker.id = %worker, lease.id = %lease_id, assurance = %lease.assurance,
            "worker {worker} enrolled with {} assurance", lease.assurance
        );
        let ended = self.serve(&link, events, &exporter, &peer_spki, &driver).await;
        report(&link, &ended);
        lock(&self.parts.fleet).drain(worker, lease_id);
        link.close();
        if !ended.is_violation() {
            // Streams that run may finish; the driver ends with the last of them.
            drop(timeout(FINISH_DEADLINE, driver.done.cancelled()).await);
        }
        drop(membership);
    }

    /// HTTP/2 over the enrolled stream, this side as client.
    async fn open(
        &self,
        io: TokioIo<tokio_rustls::server::TlsStream<tokio::net::TcpStream>>,
    ) -> Option<(http2::SendRequest<LinkBody>, Driver)> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_max_send_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        let (sender, connection) =
            timeout(OPEN_DEADLINE, builder.handshake(io)).await.ok()?.ok()?;
        let driver = Driver { done: CancellationToken::new(), abort: CancellationToken::new() };
        let (done, abort) = (driver.done.clone().drop_guard(), driver.abort.clone());
        self.parts.lifecycle.spawn("uplink.http2", async move {
            let _done = done;
            tokio::select! {
                outcome = connection => if let Err(error) = outcome {
                    tracing::debug!(%error, "a worker's connection failed");
                },
                () = abort.cancelled() => {}
            }
        });
        Some((sender, driver))
    }

    async fn open_events(
        &self,
        link: &WorkerLink,
        acknowledgements: Acknowledgements,
    ) -> Result<Incoming, Ended> {
        let request = Request::post(EVENTS_PATH)
            .body(Either::Right(acknowledgements))
            .expect("a constant path is a request");
        let answer = timeout(OPEN_DEADLINE, link.send_body(request)).await;
        let response = answer.map_err(|_| Ended::Lost)?.map_err(Ended::Events)?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(Ended::EventsStatus(status)),
        }
    }

    /// Events and renewals side by side, until something ends the session.
    async fn serve(
        &self,
        link: &Arc<WorkerLink>,
        events: Incoming,
        exporter: &[u8; 32],
        peer_spki: &[u8],
        driver: &Driver,
    ) -> Ended {
        let renewals = Renewals { verifier: &self.verifier, link, exporter, peer_spki };
        tokio::select! {
            () = driver.done.cancelled() => Ended::Lost,
            () = link.closing().cancelled() => Ended::Closed,
            () = self.drained(link) => Ended::Draining,
            ended = self.follow(link, events) => ended,
            error = renewals.run(|renewed| self.prolong(link, renewed)) => Ended::Renewal(error),
        }
    }

    fn prolong(&self, link: &WorkerLink, renewed: Renewed) {
        link.set_lease(Arc::new(renewed.lease().clone()));
        lock(&self.parts.fleet).renewed(renewed);
        metrics::counter!("cocoon_uplink_renewals_total").increment(1);
    }

    /// Waits until the gateway drains and nothing that it sent to this worker runs.
    async fn drained(&self, link: &WorkerLink) {
        self.parts.lifecycle.soft().cancelled().await;
        let mut check = interval(IDLE_CHECK);
        while lock(&self.parts.fleet).in_flight(link.worker_id()) > 0 {
            check.tick().await;
        }
    }

    async fn follow(&self, link: &Arc<WorkerLink>, mut events: Incoming) -> Ended {
        let mut decoder = MessageDecoder::new(EVENT_BYTES_MAX);
        loop {
            loop {
                match decoder.next_message() {
                    Ok(Some(event)) => {
                        if let Err(ended) = self.take(link, event).await {
                            return ended;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return Ended::Event(error),
                }
            }
            match events.frame().await {
                Some(Ok(frame)) => {
                    if let Some(chunk) = frame.data_ref() {
                        decoder.push(chunk);
                    }
                }
                Some(Err(_)) => return Ended::Lost,
                None => return Ended::Left,
            }
        }
    }

    async fn take(&self, link: &Arc<WorkerLink>, event: WorkerEvent) -> Result<(), Ended> {
        let worker = link.worker_id();
        match event {
            WorkerEvent::Load { running, waiting, permits, queue } => {
                lock(&self.parts.fleet).load(worker, Load { running, waiting, permits, queue });
            }
            WorkerEvent::Draining => {
                tracing::info!(worker.id = %worker, "worker {worker} drains");
                lock(&self.parts.fleet).drain(worker, link.lease().lease_id);
            }
            WorkerEvent::Receipt(bytes) => {
                let receipt = SignedReceipt::from_bytes(&bytes).map_err(Ended::Receipt)?;
                let late = LateReceipt { link: Arc::clone(link), receipt };
                if self.parts.late_receipts.send(late).await.is_err() {
                    return Err(Ended::Draining);
                }
            }
        }
        Ok(())
    }
}

fn report(link: &WorkerLink, ended: &Ended) {
    let (worker, reason) = (link.worker_id(), ended.code());
    metrics::counter!("cocoon_uplink_sessions_ended_total", "reason" => reason).increment(1);
    let cause = std::error::Error::source(ended).map(ToString::to_string);
    match ended {
        Ended::Left | Ended::Closed | Ended::Draining => {
            tracing::info!(worker.id = %worker, reason, "worker {worker} left: {ended}");
        }
        _ => tracing::warn!(worker.id = %worker, reason, cause, "worker {worker} left: {ended}"),
    }
}
