//! How many requests run at once.
//!
//! A request under `/v1` holds a permit from its head to the last byte of its answer: the
//! permit lives in the response body, so an open stream counts. A refusal gives it back before
//! the rest of its body is drained, or strangers with bodies that never end would fill the
//! gateway. A full gateway sheds at once and says when to come back; it never queues.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::held::HeldBody;
use super::problem::Problem;

const IN_FLIGHT: &str = "cocoon_requests_in_flight";

/// The permits of one gateway.
#[derive(Debug)]
pub struct Admission {
    permits: Arc<Semaphore>,
}

impl Admission {
    pub fn new(requests_in_flight: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(requests_in_flight.min(Semaphore::MAX_PERMITS))) }
    }
}

pub(super) async fn admit(
    State(admission): State<Arc<Admission>>,
    request: Request,
    next: Next,
) -> Response {
    if !request.uri().path().starts_with("/v1/") {
        return next.run(request).await;
    }
    let Ok(permit) = Arc::clone(&admission.permits).try_acquire_owned() else {
        metrics::counter!("cocoon_requests_shed_total").increment(1);
        return Problem::Overloaded.into_response();
    };
    let admitted = Admitted::new(permit);
    HeldBody::hold(next.run(request).await, admitted)
}

/// A permit, and its place in the metrics.
struct Admitted {
    _permit: OwnedSemaphorePermit,
}

impl Admitted {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!(IN_FLIGHT).increment(1.0);
        Self { _permit: permit }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        metrics::gauge!(IN_FLIGHT).decrement(1.0);
    }
}
