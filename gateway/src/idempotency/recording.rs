//! One request under an idempotency key, as a task: runs it, forwards its answer, keeps it.
//!
//! Order: what is not a whole answer concludes the claim before its client hears of the end, and
//! a whole answer is kept before its last part is forwarded. So a client that repeats its request
//! right after the end never finds it still running.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use cocoon_store::{Conclusion, ConclusionOutcome};
use http::{HeaderMap, StatusCode, response};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::audience::Audience;
use super::derived::Derived;
use super::sealed::RecordedAnswer;
use super::tape::Tape;
use super::{Idempotency, Run, Seat, off_runtime};
use crate::dispatch::KEEP_ALIVE;
use crate::edge::problem::Problem;
use crate::edge::share::Share;

/// Tries to conclude a claim where the store is busy, and the pause before the first repeat.
const ATTEMPTS_MAX: u32 = 3;
const RETRY: Duration = Duration::from_millis(50);

type Answered = Result<Response, Problem>;

/// A request that holds its key.
pub(super) struct Recording {
    pub(super) idempotency: Arc<Idempotency>,
    pub(super) derived: Derived,
    /// Left when the claim is concluded, or when this is dropped in the middle.
    pub(super) seat: Seat,
}

impl Recording {
    /// Ends with the answer, whether its client stays or not. All the time it has its share of its
    /// wallet's running requests, which it lets go of before its client sees the end: who asks
    /// again then is not in its own way.
    pub(super) async fn perform(self, run: Run, client: oneshot::Sender<Answered>, share: Share) {
        // Where this is cut short, the dispatcher settles what was generated, and the claim stands
        // by that.
        match run.await {
            Ok(response) if response.status().is_success() => {
                if response.body().size_hint().exact().is_some() {
                    self.whole(response, client, share).await;
                } else {
                    self.stream(response, client, share).await;
                }
            }
            refused => {
                self.conclude(None).await;
                drop(share);
                // Nobody listens where the client is gone.
                drop(client.send(refused));
            }
        }
    }

    async fn whole(self, response: Response, client: oneshot::Sender<Answered>, share: Share) {
        let (head, body) = response.into_parts();
        let Ok(body) = body.collect().await else {
            // Not with a body that is all there.
            self.conclude(None).await;
            return;
        };
        let body = body.to_bytes();
        let fits = body.len() <= self.idempotency.limits.answer_bytes_max;
        self.keep(&head, fits.then(|| body.clone())).await;
        drop(share);
        drop(client.send(Ok(Response::from_parts(head, Body::from(body)))));
    }

    async fn stream(self, response: Response, client: oneshot::Sender<Answered>, share: Share) {
        let (head, mut body) = response.into_parts();
        let Idempotency { limits, memory, client_patience, .. } = &*self.idempotency;
        let (mut audience, heard) = Audience::new(*client_patience);
        drop(client.send(Ok(Response::from_parts(head.clone(), heard))));
        let mut tape = Tape::new(limits.answer_bytes_max, Arc::clone(memory));
        let last = loop {
            let Some(frame) = body.frame().await else { break None };
            let Ok(frame) = frame else {
                self.conclude(None).await;
                drop(share);
                // The audience is dropped, so its client's answer breaks off too.
                return;
            };
            let Ok(part) = frame.into_data() else { continue };
            if part != KEEP_ALIVE {
                tape.push(&part);
            }
            if body.is_end_stream() {
                break Some(part);
            }
            audience.hear(part).await;
        };
        self.keep(&head, tape.take()).await;
        drop(share);
        if let Some(part) = last {
            audience.hear(part).await;
        }
        audience.end().await;
    }

    /// Keeps a whole answer, if there is one to keep.
    async fn keep(&self, head: &response::Parts, body: Option<Bytes>) {
        let sealed = match body {
            Some(body) => self.seal(head.status, head.headers.clone(), body).await,
            None => None,
        };
        self.conclude(sealed.map(Arc::new)).await;
    }

    async fn seal(&self, status: StatusCode, headers: HeaderMap, body: Bytes) -> Option<Vec<u8>> {
        let (derived, request_id, bytes) = (self.derived.clone(), self.seat.request_id, body.len());
        let seal = move || RecordedAnswer::seal((status, &headers), &body, &derived, request_id);
        off_runtime(bytes, seal).await
    }

    /// Ends the claim. Where the store cannot, the claim stands by the ledger.
    async fn conclude(&self, answer: Option<Arc<Vec<u8>>>) {
        let limits = &self.idempotency.limits;
        let conclusion = Conclusion {
            lookup: *self.derived.lookup(),
            request_id: self.seat.request_id,
            answer,
            bytes_per_account: limits.bytes_per_account,
            bytes_total: limits.bytes_total,
        };
        let mut attempt = 1;
        let concluded = loop {
            match self.idempotency.store.conclude_claim(conclusion.clone()).await {
                Err(error) if error.transient() && attempt < ATTEMPTS_MAX => {
                    sleep_until(Instant::now() + RETRY * attempt).await;
                    attempt += 1;
                }
                concluded => break concluded,
            }
        };
        let outcome = match concluded {
            Ok(ConclusionOutcome::Kept) => "kept",
            Ok(ConclusionOutcome::Spent) => "not_kept",
            Ok(ConclusionOutcome::Freed) => "freed",
            Ok(ConclusionOutcome::Open) => "open",
            Ok(ConclusionOutcome::Gone) => "gone",
            Err(error) => {
                tracing::warn!(
                    request.id = %self.seat.request_id, cause = %error,
                    "the answer of {} is not kept for repeats", self.seat.request_id
                );
                "failed"
            }
        };
        metrics::counter!("cocoon_idempotency_conclusions_total", "outcome" => outcome)
            .increment(1);
    }
}
