//! The body of a request to a worker, given out only while its link is open.
//!
//! HTTP/2 holds a request back until the worker takes a further stream, and asks for its body only
//! then, whether or not anybody still waits for the answer. So the body itself looks once more.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio_util::sync::CancellationToken;

/// A body in one piece, behind the link's own end.
#[derive(Debug)]
pub(super) struct Gated {
    body: Full<Bytes>,
    closing: CancellationToken,
}

/// The link closed before the body was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the link to the worker is closed")]
pub(super) struct TakenBack;

impl Gated {
    pub(super) fn new(body: Full<Bytes>, closing: CancellationToken) -> Self {
        Self { body, closing }
    }
}

impl Body for Gated {
    type Data = Bytes;
    type Error = TakenBack;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TakenBack>>> {
        if self.closing.is_cancelled() {
            return Poll::Ready(Some(Err(TakenBack)));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map(|frame| frame.map(|frame| frame.map_err(|never: Infallible| match never {})))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
