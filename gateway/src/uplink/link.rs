//! One worker's connection, as the dispatcher uses it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cocoon_attest::lease::Lease;
use cocoon_primitives::{RequestId, WorkerId};
use cocoon_uplink_wire::event::ACKNOWLEDGED_MAX;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::acknowledgements::Acknowledgements;

/// Batches of acknowledgements that may wait for the connection.
const ACKNOWLEDGEMENTS_MAX: usize = 1024;

pub(super) type LinkBody = Either<Full<Bytes>, Acknowledgements>;

/// A leased connection to a worker. Requests on it are HTTP/2 streams: dropping a response resets
/// its stream, which cancels the generation.
pub struct WorkerLink {
    worker_id: WorkerId,
    lease: Mutex<Arc<Lease>>,
    /// Gone once the link closes: the connection ends when its last stream has.
    sender: Mutex<Option<SendRequest<LinkBody>>>,
    acknowledgements: Mutex<Option<mpsc::Sender<Vec<RequestId>>>>,
    closing: CancellationToken,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing was sent.
    #[error("the link to the worker is closed")]
    Closed,
    /// The worker may have begun.
    #[error("the connection to the worker failed")]
    Lost(#[source] hyper::Error),
}

impl WorkerLink {
    /// The link, and the acknowledgements that its events request will carry.
    pub(super) fn new(
        lease: Arc<Lease>,
        sender: SendRequest<LinkBody>,
    ) -> (Arc<Self>, Acknowledgements) {
        let (acknowledgements, batches) = mpsc::channel(ACKNOWLEDGEMENTS_MAX);
        let link = Self {
            worker_id: lease.worker_id,
            lease: Mutex::new(lease),
            sender: Mutex::new(Some(sender)),
            acknowledgements: Mutex::new(Some(acknowledgements)),
            closing: CancellationToken::new(),
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

    pub(super) fn set_lease(&self, lease: Arc<Lease>) {
        *held(&self.lease) = lease;
    }

    /// Sends a request and waits for the head of its answer; the caller sets the deadline.
    /// A path is enough as the request's URI.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, LinkError> {
        self.send_body(request.map(Either::Left)).await
    }

    pub(super) async fn send_body(
        &self,
        mut request: Request<LinkBody>,
    ) -> Result<Response<Incoming>, LinkError> {
        // A clone shares the connection; taken in one step, so that no guard crosses an await.
        let sender = held(&self.sender).clone();
        let mut sender = sender.ok_or(LinkError::Closed)?;
        *request.uri_mut() = absolute(request.uri());
        sender.ready().await.map_err(|_| LinkError::Closed)?;
        sender.send_request(request).await.map_err(LinkError::Lost)
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
