//! A response body that keeps something alive until it ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// `inner`, with `held` dropped when the body is: at its end, or when the client goes away.
pub(super) struct HeldBody<T> {
    inner: Body,
    /// Here to be dropped.
    _held: T,
}

impl<T: Send + Unpin + 'static> HeldBody<T> {
    pub(super) fn wrap(inner: Body, held: T) -> Body {
        Body::new(Self { inner, _held: held })
    }

    /// Lets the answer keep `held`; a refusal lets go of it at once, before its request's body is
    /// drained.
    pub(super) fn hold(response: Response, held: T) -> Response {
        if is_refusal(&response) { response } else { response.map(|body| Self::wrap(body, held)) }
    }
}

pub(super) fn is_refusal(response: &Response) -> bool {
    response.status().is_client_error() || response.status().is_server_error()
}

impl<T: Unpin> HttpBody for HeldBody<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
