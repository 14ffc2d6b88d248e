//! `Idempotency-Key`: a request that is repeated gets the first one's answer and is charged once.
//!
//! Shape: [`key`] reads the header, [`derived`] turns it with the API key's secret into a lookup
//! id and two keys, the store's claim decides who runs, [`recording`] runs the request as a task
//! of its own, which forwards to the client ([`audience`]) and writes down what it forwards
//! ([`tape`]), [`sealed`] is the form in which the answer is kept, and a repeat opens it.
//!
//! Invariants: the claim has reached the operating system before the request is reserved; the
//! answer is kept before its client sees the end. The store holds neither the secret nor the key
//! nor anything from which they follow, so it cannot read what it keeps. A claim whose answer is
//! missing stands as the ledger says: open, spent or free (see `cocoon_store`), so a crash at any
//! point costs an answer at most, never a second charge.
//!
//! The header's form and the statuses 400, 409 and 422 are those of
//! draft-ietf-httpapi-idempotency-key-header, §2.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use cocoon_primitives::{Clock, RequestId, WalletAddress};
use cocoon_runtime::Lifecycle;
use cocoon_store::{Claim, ClaimOutcome, Store, StoreError};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use tokio::sync::{Semaphore, oneshot};

use crate::auth::bearer_key;
use crate::edge::problem::Problem;
use crate::edge::share::Share;

mod audience;
mod derived;
mod key;
mod limits;
mod recording;
mod sealed;
mod tape;

pub use limits::IdempotencyLimits;

use derived::Derived;
use key::IdempotencyKey;
use recording::Recording;
use sealed::RecordedAnswer;

/// On an answer that was recorded before.
const REPLAYED: &str = "idempotent-replayed";
/// More than this is worked through off the runtime's threads.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Why an idempotency key is refused.
#[derive(Debug, thiserror::Error)]
pub enum IdempotencyError {
    #[error("the Idempotency-Key is not one string of visible ASCII")]
    InvalidKey,
    #[error("a sealed request has an id of its own")]
    Sealed,
    #[error("the idempotency key belongs to another request")]
    Mismatch,
    #[error("the request under this idempotency key is still running")]
    InProgress,
    /// It was charged, and what it answered is not here.
    #[error("the answer under this idempotency key was not kept")]
    Unavailable { receipt: RequestId },
    #[error("the account holds all the idempotency keys that it may")]
    TooManyKeys { rows_max: u32 },
    #[error("failed to look the idempotency key up")]
    Store(#[from] StoreError),
    /// The process is ending.
    #[error("the work for an idempotency key was cut short")]
    CutShort,
}

/// What it is made of.
pub struct IdempotencyParts {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    /// Where requests go on that their client has left.
    pub lifecycle: Lifecycle,
    pub limits: IdempotencyLimits,
    /// How long a stream may wait for its client before the dispatcher ends it.
    pub client_stall_max: Duration,
}

/// Answers requests that carry an idempotency key.
pub struct Idempotency {
    store: Store,
    clock: Arc<dyn Clock>,
    lifecycle: Lifecycle,
    limits: IdempotencyLimits,
    client_patience: Duration,
    live: LiveClaims,
    /// KiB that recordings may hold at once.
    memory: Arc<Semaphore>,
}

/// Who claims what, as far as a request's head tells. The secret itself is not kept.
#[derive(Debug)]
pub struct Claimant {
    derived: Derived,
}

/// A request under an idempotency key.
#[derive(Debug)]
pub struct KeyedRequest {
    pub claimant: Claimant,
    pub request_id: RequestId,
    pub wallet: WalletAddress,
    /// It stays with the request when the client goes.
    pub share: Share,
    /// The path of its endpoint.
    pub endpoint: &'static str,
    pub body: Bytes,
}

/// The request itself, as it runs without an idempotency key.
pub type Run = BoxFuture<'static, Result<Response, Problem>>;

impl Claimant {
    /// `None` where the request has no idempotency key, or no API key to keep it under.
    pub fn read(headers: &HeaderMap) -> Result<Option<Self>, IdempotencyError> {
        let Some(key) = IdempotencyKey::read(headers)? else { return Ok(None) };
        let secret = bearer_key(headers);
        Ok(secret.map(|secret| Self { derived: Derived::new(secret.reveal().as_bytes(), &key) }))
    }
}

impl Idempotency {
    pub fn new(parts: IdempotencyParts) -> Arc<Self> {
        let IdempotencyParts { store, clock, lifecycle, limits, client_stall_max } = parts;
        Arc::new(Self {
            store,
            clock,
            lifecycle,
            limits,
            // Before the dispatcher's own patience ends, which would end the request.
            client_patience: client_stall_max * 3 / 4,
            live: LiveClaims::default(),
            memory: Arc::new(Semaphore::new(limits.recording_bytes_max / tape::KIB)),
        })
    }

    /// Whether this may be a repeat, which costs nothing.
    pub async fn may_repeat(&self, claimant: Option<&Claimant>) -> Result<bool, IdempotencyError> {
        match claimant {
            Some(claimant) => Ok(self.store.has_claim(*claimant.derived.lookup()).await?),
            None => Ok(false),
        }
    }

    /// Runs the request, unless it is a repeat: then the answer is what became of the first.
    ///
    /// Once the key is claimed the request is a task of its own: dropping this future, or later
    /// the answer's body, does not end it.
    pub async fn answer(
        self: &Arc<Self>,
        request: KeyedRequest,
        run: Run,
    ) -> Result<Response, Problem> {
        let KeyedRequest { claimant, request_id, wallet, share, endpoint, body } = request;
        let Claimant { derived } = claimant;
        let bytes = body.len();
        let authenticate = move || (derived.request_mac(endpoint, &body), derived);
        let (request_mac, derived) =
            off_runtime(bytes, authenticate).await.ok_or(IdempotencyError::CutShort)?;
        // From before the claim to after its conclusion.
        let seat = self.live.enter(request_id);
        let now = self.clock.now();
        let claim = Claim {
            lookup: *derived.lookup(),
            wallet,
            request_mac,
            request_id,
            now,
            expires_at: now.saturating_add(self.limits.keep),
            claims_max: self.limits.rows_per_account,
        };
        let live = self.live.clone();
        let outcome = self.store.claim(claim, move |request| live.contains(request)).await;
        let outcome = outcome.map_err(IdempotencyError::Store)?;
        count(outcome);
        match outcome {
            ClaimOutcome::Claimed => {}
            ClaimOutcome::Kept { request_id } => {
                return Ok(self.replay(derived, request_id).await?);
            }
            ClaimOutcome::Mismatch => return Err(IdempotencyError::Mismatch.into()),
            ClaimOutcome::Running { .. } => return Err(IdempotencyError::InProgress.into()),
            ClaimOutcome::Spent { request_id: receipt } => {
                return Err(IdempotencyError::Unavailable { receipt }.into());
            }
            ClaimOutcome::LimitReached => {
                let rows_max = self.limits.rows_per_account;
                return Err(IdempotencyError::TooManyKeys { rows_max }.into());
            }
        }
        let recording = Recording { idempotency: Arc::clone(self), derived, seat };
        let (client, answered) = oneshot::channel();
        self.lifecycle.spawn("idempotent", recording.perform(run, client, share));
        answered.await.unwrap_or(Err(IdempotencyError::CutShort.into()))
    }

    /// The answer of an earlier request, byte for byte.
    async fn replay(
        &self,
        derived: Derived,
        request_id: RequestId,
    ) -> Result<Response, IdempotencyError> {
        let lost = IdempotencyError::Unavailable { receipt: request_id };
        // It may have expired just now.
        let sealed = self.store.kept_answer(*derived.lookup(), request_id).await?;
        let Some(sealed) = sealed else { return Err(lost) };
        let open = move || RecordedAnswer::open(sealed, &derived, request_id);
        let opened = off_runtime(INLINE_BYTES_MAX + 1, open).await;
        let Some(answer) = opened.ok_or(IdempotencyError::CutShort)? else {
            tracing::error!(request.id = %request_id, "the kept answer of {request_id} is broken");
            return Err(lost);
        };
        let mut response = Response::new(Body::from(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(response)
    }
}

/// Requests of this process between their claim and its conclusion. Clones share them.
#[derive(Debug, Clone, Default)]
struct LiveClaims {
    requests: Arc<Mutex<HashSet<RequestId>>>,
}

impl LiveClaims {
    fn enter(&self, request_id: RequestId) -> Seat {
        self.lock().insert(request_id);
        Seat { live: self.clone(), request_id }
    }

    fn contains(&self, request_id: RequestId) -> bool {
        self.lock().contains(&request_id)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<RequestId>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's place among them; leaving is dropping it.
#[derive(Debug)]
struct Seat {
    live: LiveClaims,
    request_id: RequestId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.live.lock().remove(&self.request_id);
    }
}

/// Works through so many bytes; `None` where the process is ending.
async fn off_runtime<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if bytes <= INLINE_BYTES_MAX {
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}

fn count(outcome: ClaimOutcome) {
    let outcome = match outcome {
        ClaimOutcome::Claimed => "claimed",
        ClaimOutcome::Mismatch => "mismatch",
        ClaimOutcome::Running { .. } => "in_progress",
        ClaimOutcome::Kept { .. } => "replayed",
        ClaimOutcome::Spent { .. } => "unavailable",
        ClaimOutcome::LimitReached => "limit_reached",
    };
    metrics::counter!("cocoon_idempotency_claims_total", "outcome" => outcome).increment(1);
}
