//! One worker's connection, as the dispatcher uses it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cocoon_attest::appraisal::Appraised;
use cocoon_attest::lease::Lease;
use cocoon_attest::policy::OnRevocation;
use cocoon_primitives::{RequestId, WorkerId};
use cocoon_uplink_wire::event::ACKNOWLEDGED_MAX;
use cocoon_uplink_wire::headers::RENEW_PATH;
use cocoon_uplink_wire::message::{MessageError, from_cbor, to_cbor};
use cocoon_uplink_wire::renew::{RENEWAL_BYTES_MAX, RenewalAnswer, RenewalRequest};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::acknowledgements::Acknowledgements;
use super::gated::Gated;
use super::turns::{Renewing, Turns};
use super::verifier::Verifier;

/// Batches of acknowledgements that may wait for the connection.
const ACKNOWLEDGEMENTS_MAX: usize = 1024;
/// For evidence over a given nonce, the wait for its turn included: a processor makes one quote
/// at a time, and every device takes its own time.
const REPORT_DEADLINE: Duration = Duration::from_secs(30);

pub(super) type LinkBody = Either<Gated, Acknowledgements>;

/// A leased connection to a worker. Requests on it are HTTP/2 streams: dropping a response resets
/// its stream, which cancels the generation.
pub struct WorkerLink {
    worker_id: WorkerId,
    lease: Mutex<Arc<Lease>>,
    /// What the last full evidence of the connection proved.
    appraised: Mutex<Arc<Appraised>>,
    /// Gone once the link closes: the connection ends when its last stream has.
    sender: Mutex<Option<SendRequest<LinkBody>>>,
    acknowledgements: Mutex<Option<mpsc::Sender<Vec<RequestId>>>>,
    closing: CancellationToken,
    /// Set before `closing` where the policy ended the lease.
    revoked: OnceLock<Revoked>,
    /// Cancelled where the policy cuts what still runs.
    cut: CancellationToken,
    verifier: Arc<Verifier>,
    turns: Turns,
}

/// The policy no longer admits the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Revoked {
    /// The refusal's stable code.
    pub(super) reason: &'static str,
    /// What becomes of streams that run.
    pub(super) streams: OnRevocation,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing was sent, or it was taken back before it was answered.
    #[error("the link to the worker is closed")]
    Closed,
    /// The worker may have begun.
    #[error("the connection to the worker failed")]
    Lost(#[source] hyper::Error),
}

/// Why a question to a worker has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the worker did not answer in time")]
    Deadline,
    /// Renewals come first.
    #[error("the worker's lease is being renewed")]
    Busy,
    #[error("the link failed")]
    Link(#[source] LinkError),
    #[error("the worker refused with status {0}")]
    Status(StatusCode),
    #[error("the answer's body failed or is over its bound")]
    Body,
    #[error("the answer is no renewal")]
    Message(#[source] MessageError),
    #[error("the answer is of another kind than asked")]
    Kind,
}

impl WorkerLink {
    /// The link, and the acknowledgements that its events request will carry.
    pub(super) fn new(
        lease: Arc<Lease>,
        appraised: Arc<Appraised>,
        sender: SendRequest<LinkBody>,
        verifier: Arc<Verifier>,
    ) -> (Arc<Self>, Acknowledgements) {
        let (acknowledgements, batches) = mpsc::channel(ACKNOWLEDGEMENTS_MAX);
        let link = Self {
            worker_id: lease.worker_id,
            lease: Mutex::new(lease),
            appraised: Mutex::new(appraised),
            sender: Mutex::new(Some(sender)),
            acknowledgements: Mutex::new(Some(acknowledgements)),
            closing: CancellationToken::new(),
            revoked: OnceLock::new(),
            cut: CancellationToken::new(),
            verifier,
            turns: Turns::new(),
        };
        (Arc::new(link), Acknowledgements::new(batches))
    }

    pub fn worker_id(&self) -> WorkerId {
        self.worker_id
    }

    /// The lease as last renewed.
    pub fn lease(&self) -> Arc<Lease> {
        Arc::clone(&held(&self.lease))
    }

    /// What the worker proved last on this connection.
    pub(crate) fn appraised(&self) -> Arc<Appraised> {
        Arc::clone(&held(&self.appraised))
    }

    /// The lease was prolonged, on this appraisal.
    pub(super) fn prolong(&self, lease: Arc<Lease>, appraised: Arc<Appraised>) {
        *held(&self.lease) = lease;
        *held(&self.appraised) = appraised;
    }

    /// Sends a request and waits for the head of its answer; the caller sets the deadline.
    /// A path is enough as the request's URI.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, LinkError> {
        let gated = |body| Either::Left(Gated::new(body, self.closing.clone()));
        self.send_body(request.map(gated)).await
    }

    pub(super) async fn send_body(
        &self,
        mut request: Request<LinkBody>,
    ) -> Result<Response<Incoming>, LinkError> {
        // A clone shares the connection; taken in one step, so that no guard crosses an await.
        let sender = held(&self.sender).clone();
        let mut sender = sender.ok_or(LinkError::Closed)?;
        *request.uri_mut() = absolute(request.uri());
        let sent = async {
            sender.ready().await.map_err(|_| LinkError::Closed)?;
            sender.send_request(request).await.map_err(LinkError::Lost)
        };
        tokio::select! {
            // Taken back where the link closes first. What waits within HTTP/2 for a stream's
            // place finds its body gone, see `gated`.
            biased;
            () = self.closing.cancelled() => Err(LinkError::Closed),
            sent = sent => sent,
        }
    }

    /// Tells the worker that these receipts are durable. Where the connection cannot carry it,
    /// nothing is lost: the worker brings them again.
    pub fn acknowledge(&self, request_ids: Vec<RequestId>) {
        let Some(acknowledgements) = held(&self.acknowledgements).clone() else {
            return;
        };
        let mut batch = request_ids;
        while !batch.is_empty() {
            let rest = batch.split_off(batch.len().min(ACKNOWLEDGED_MAX));
            if acknowledgements.try_send(batch).is_err() {
                tracing::debug!(worker.id = %self.worker_id, "acknowledgements wait for the next link");
                return;
            }
            batch = rest;
        }
    }

    /// Evidence of this worker over `nonce`, on this connection: the message as it came, which the
    /// caller examines. One at a time for each link; refused while a renewal is due or runs.
    pub async fn report(&self, nonce: [u8; 32]) -> Result<Vec<u8>, AskError> {
        let asked = timeout(
            REPORT_DEADLINE,
            self.turns.report(async {
                let open = self.verifier.challenge_for(nonce);
                self.ask_evidence(open.message()).await
            }),
        );
        asked.await.map_err(|_| AskError::Deadline)?.unwrap_or(Err(AskError::Busy))
    }

    /// The turn of a full renewal: a report that runs gives way to it.
    pub(super) async fn renewal(&self) -> Renewing<'_> {
        self.turns.renewal().await
    }

    /// Evidence for this challenge, by whoever has the turn. The caller sets the deadline.
    pub(super) async fn ask_evidence(&self, challenge: Vec<u8>) -> Result<Vec<u8>, AskError> {
        match self.ask(&RenewalRequest::Full(challenge)).await? {
            RenewalAnswer::Full(evidence) => Ok(evidence),
            RenewalAnswer::Light { .. } => Err(AskError::Kind),
        }
    }

    pub(super) async fn ask(&self, request: &RenewalRequest) -> Result<RenewalAnswer, AskError> {
        let body = Full::new(Bytes::from(to_cbor(request)));
        let request = Request::post(RENEW_PATH).body(body).expect("a constant path is a request");
        let response = self.send(request).await.map_err(AskError::Link)?;
        if response.status() != StatusCode::OK {
            return Err(AskError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), RENEWAL_BYTES_MAX).collect().await;
        let body = body.map_err(|_| AskError::Body)?.to_bytes();
        from_cbor(&body).map_err(AskError::Message)
    }

    /// The policy ended the lease: closes the link, and says what becomes of its streams. Whether
    /// that changed anything: the first reason stands, and what was left to finish may be cut.
    pub(super) fn revoke(&self, revoked: Revoked) -> bool {
        let is_first = self.revoked.set(revoked).is_ok();
        if is_first {
            self.close();
        }
        let is_cut = revoked.streams == OnRevocation::Cut && !self.cut.is_cancelled();
        if is_cut {
            self.cut.cancel();
        }
        is_first || is_cut
    }

    pub(super) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    pub(super) fn revoked(&self) -> Option<Revoked> {
        self.revoked.get().copied()
    }

    /// Takes nothing new; the connection ends when its streams have. Idempotent.
    pub fn close(&self) {
        held(&self.sender).take();
        held(&self.acknowledgements).take();
        self.closing.cancel();
    }

    pub fn is_closed(&self) -> bool {
        self.closing.is_cancelled()
    }

    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }
}

impl fmt::Debug for WorkerLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerLink({})", self.worker_id)
    }
}

/// HTTP/2 wants a scheme and an authority; on this connection they say nothing.
fn absolute(uri: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme.get_or_insert(Scheme::HTTPS);
    parts.authority.get_or_insert(Authority::from_static("worker"));
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).expect("scheme, authority and path make a URI")
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
