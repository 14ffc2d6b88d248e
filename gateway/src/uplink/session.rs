//! The life of a leased connection: HTTP/2, membership, events, renewal, end.

use std::sync::Arc;
use std::time::Duration;

use cocoon_attest::appraisal::Appraised;
use cocoon_attest::enrol::Attested;
use cocoon_attest::receipt::{ReceiptError, SignedReceipt};
use cocoon_fleet::{Load, NotAdmitted};
use cocoon_primitives::LeaseId;
use cocoon_runtime::Lifecycle;
use cocoon_uplink_wire::event::{EVENT_BYTES_MAX, WorkerEvent};
use cocoon_uplink_wire::headers::EVENTS_PATH;
use cocoon_uplink_wire::{MessageDecoder, MessageError};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Either};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, interval, sleep_until, timeout};

use super::acknowledgements::Acknowledgements;
use super::driver::Driver;
use super::handshake::Enrolled;
use super::link::{LinkBody, LinkError, Revoked, WorkerLink};
use super::registry::Registry;
use super::renewal::{Prolonged, RenewalError, Renewals};
use super::verifier::{Channel, Verifier};
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
/// How long to wait for a lease's end at most before looking at the clock again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often a draining gateway looks whether the worker is idle.
const IDLE_CHECK: Duration = Duration::from_millis(50);

/// What all connections share.
pub(super) struct Sessions {
    verifier: Arc<Verifier>,
    registry: Arc<Registry>,
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
    #[error("the lease has ended")]
    Expired,
    #[error("the policy no longer admits the worker: {}", .0.reason)]
    Revoked(Revoked),
    #[error("the policy changed before the worker was admitted")]
    PolicyChanged,
    #[error("the events request failed")]
    Events(#[source] LinkError),
    #[error("the events request was answered with status {0}")]
    EventsStatus(StatusCode),
    #[error("an event is not valid")]
    Event(#[source] MessageError),
    #[error("a receipt is not valid")]
    Receipt(#[source] ReceiptError),
    #[error("the worker is not admitted")]
    NotAdmitted(#[source] NotAdmitted),
}

impl Ended {
    const fn code(&self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Left => "left",
            Self::Closed => "closed",
            Self::Draining => "draining",
            Self::Renewal(_) => "renewal",
            Self::Expired => "expired",
            Self::Revoked(_) => "revoked",
            Self::PolicyChanged => "policy_changed",
            Self::Events(_) | Self::EventsStatus(_) => "events",
            Self::Event(_) => "bad_event",
            Self::Receipt(_) => "bad_receipt",
            Self::NotAdmitted(reason) => reason.code(),
        }
    }

    /// A worker that breaks the protocol is cut off; any other may finish what runs.
    const fn is_violation(&self) -> bool {
        matches!(
            self,
            Self::EventsStatus(_) | Self::Event(_) | Self::Receipt(_) | Self::NotAdmitted(_)
        )
    }
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
    pub(super) fn new(
        verifier: Arc<Verifier>,
        registry: Arc<Registry>,
        parts: UplinkParts,
    ) -> Self {
        Self { verifier, registry, parts }
    }

    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.parts.lifecycle
    }

    /// Runs one worker's connection to its end.
    pub(super) async fn run(&self, enrolled: Enrolled) {
        let Enrolled { stream, attested, channel } = enrolled;
        let lease = Arc::new(attested.lease().clone());
        let (lease_id, worker) = (lease.lease_id, lease.worker_id);
        let Some((sender, driver)) = self.open(TokioIo::new(stream)).await else {
            tracing::warn!(worker.id = %worker, "worker {worker} did not speak HTTP/2");
            return;
        };
        let appraised = Arc::new(attested.appraised().clone());
        let (link, acknowledgements) = WorkerLink::new(
            Arc::clone(&lease),
            Arc::clone(&appraised),
            sender,
            Arc::clone(&self.verifier),
        );
        let _stop = driver.abort.clone().drop_guard();
        // Before it is a member, and until its last stream has ended.
        let _registered = self.registry.enter(&link);
        let events = match self.open_events(&link, acknowledgements).await {
            Ok(events) => events,
            Err(ended) => return report(&link, &ended),
        };
        if let Err(ended) = self.admit(attested, &link) {
            return report(&link, &ended);
        }
        metrics::gauge!("cocoon_uplink_workers").increment(1.0);
        let membership = Membership { sessions: self, link: Arc::clone(&link), lease_id };
        tracing::info!(
            worker.id = %worker, lease.id = %lease_id, assurance = %lease.assurance,
            "worker {worker} enrolled with {} assurance", lease.assurance
        );
        let ended = self.serve(&link, events, &channel, appraised, &driver).await;
        report(&link, &ended);
        if let Ended::Renewal(error) = &ended
            && let Some(reason) = error.refusal()
        {
            // As where a change of the policy refuses it.
            let streams = self.verifier.policy.in_force().policy.on_revocation();
            link.revoke(Revoked { reason, streams });
        }
        lock(&self.parts.fleet).drain(worker, lease_id);
        link.close();
        if !ended.is_violation() {
            // Streams that run may finish; the driver ends with the last of them.
            tokio::select! {
                _ = timeout(FINISH_DEADLINE, driver.done.cancelled()) => {}
                () = link.cut().cancelled() => {}
            }
        }
        drop(membership);
    }

    /// Takes the worker into the fleet, if it was judged by the policy in force: a change of the
    /// policy comes before this, or after it and re-appraises the worker.
    fn admit(&self, attested: Attested, link: &Arc<WorkerLink>) -> Result<(), Ended> {
        let mut fleet = lock(&self.parts.fleet);
        if attested.appraised().policy_digest != self.verifier.policy.in_force().digest() {
            return Err(Ended::PolicyChanged);
        }
        let now = self.verifier.clock.now();
        let replaced = fleet.admit(attested, Arc::clone(link), now).map_err(Ended::NotAdmitted)?;
        drop(fleet);
        if let Some(old) = replaced {
            old.close();
        }
        Ok(())
    }

    /// HTTP/2 over the enrolled stream, this side as client.
    async fn open(
        &self,
        io: TokioIo<tokio_rustls::server::TlsStream<tokio::net::TcpStream>>,
    ) -> Option<(http2::SendRequest<LinkBody>, Driver)> {
        let (driver, tasks) = Driver::new(&self.parts.lifecycle);
        let mut builder = http2::Builder::new(tasks.clone());
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
        tasks.execute(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a worker's connection failed");
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
        channel: &Channel,
        appraised: Arc<Appraised>,
        driver: &Driver,
    ) -> Ended {
        let renewals = Renewals {
            verifier: &self.verifier,
            link,
            channel,
            fleet: &self.parts.fleet,
            appraised,
        };
        tokio::select! {
            () = driver.done.cancelled() => Ended::Lost,
            () = link.closing().cancelled() => link.revoked().map_or(Ended::Closed, Ended::Revoked),
            () = self.drained(link) => Ended::Draining,
            ended = self.follow(link, events) => ended,
            error = renewals.run(|prolonged| self.prolong(link, prolonged)) => Ended::Renewal(error),
            () = self.expired(link) => Ended::Expired,
        }
    }

    /// What was renewed under a policy that is no longer in force counts for nothing: the next
    /// renewal follows at once, under the new one.
    fn prolong(&self, link: &WorkerLink, prolonged: Prolonged) {
        let Prolonged { renewed, appraised } = prolonged;
        let mut fleet = lock(&self.parts.fleet);
        if appraised.policy_digest == self.verifier.policy.in_force().digest() {
            link.prolong(Arc::new(renewed.lease().clone()), Arc::clone(&appraised));
            fleet.renewed(renewed, appraised);
        }
    }

    /// Waits until the lease has ended, as last renewed.
    async fn expired(&self, link: &WorkerLink) {
        loop {
            let left = link.lease().expires.since(self.verifier.clock.now());
            if left.is_zero() {
                return;
            }
            sleep_until(Instant::now() + left.min(LOOK_AGAIN)).await;
        }
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
