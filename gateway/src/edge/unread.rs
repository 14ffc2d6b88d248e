//! What a refused request still has to say.
//!
//! Closing a connection while its client is writing resets it, and the client reports a broken
//! pipe in place of our answer. So whatever part of a body no handler has read is read here and
//! thrown away, within a bound and a deadline, before a refusal goes out.
//!
//! Draining is a courtesy: so many requests at once get it, the next is cut off. Invariant: a
//! request that is drained holds nothing but its connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONNECTION, EXPECT};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::held::is_refusal;

/// Bytes that are read for the sake of an answer; a client that sends more is cut off.
const DRAINED_BYTES_MAX: usize = 64 << 20;
const CLOSE: &str = "close";

/// Bodies that are drained at once.
pub(super) const DRAINS_MAX: usize = 64;

/// How refused requests are drained.
#[derive(Debug, Clone)]
pub(super) struct Drains {
    permits: Arc<Semaphore>,
    timeout: Duration,
}

impl Drains {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(DRAINS_MAX)), timeout }
    }

    /// Whether the body has come to its end.
    async fn finish(&self, body: Body) -> bool {
        let Ok(_permit) = self.permits.try_acquire() else { return false };
        matches!(timeout(self.timeout, discard(body)).await, Ok(true))
    }
}

pub(super) async fn drain(State(drains): State<Drains>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    // A client that waits to be told to go on has sent nothing yet, and after a refusal will not.
    let is_waiting = parts.headers.contains_key(EXPECT);
    let (give_back, given_back) = oneshot::channel();
    let body = LentBody { inner: Some(body), give_back: Some(give_back), is_read: false };
    let mut response = next.run(Request::from_parts(parts, Body::new(body))).await;
    let Ok(Lent { body, is_read }) = given_back.await else { return response };
    // A refusal that closes anyway has waited for its sender already.
    let closes = response.headers().get(CONNECTION).is_some_and(|value| value == CLOSE);
    let is_sending = (is_read || !is_waiting) && !body.is_end_stream();
    if is_refusal(&response) && is_sending && !closes && !drains.finish(body).await {
        // Nothing that still comes belongs to another request.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static(CLOSE));
    }
    response
}

/// Reads to the end; false where the bound is hit or the client fails.
async fn discard(mut body: Body) -> bool {
    let mut discarded: usize = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        discarded = discarded.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if discarded > DRAINED_BYTES_MAX {
            return false;
        }
    }
    true
}

/// A body that comes back from whoever drops it.
struct LentBody {
    inner: Option<Body>,
    give_back: Option<oneshot::Sender<Lent>>,
    is_read: bool,
}

struct Lent {
    body: Body,
    /// Whether anyone asked for its bytes, which tells a waiting client to send.
    is_read: bool,
}

impl Drop for LentBody {
    fn drop(&mut self) {
        if let (Some(body), Some(give_back)) = (self.inner.take(), self.give_back.take()) {
            // Nobody waits where the whole request was dropped: its client is gone.
            drop(give_back.send(Lent { body, is_read: self.is_read }));
        }
    }
}

impl HttpBody for LentBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_read = true;
        match &mut self.inner {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
