//! A response body of the uplink, cut into frames.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use bytes::Bytes;
use cocoon_uplink_wire::{Frame, FrameDecoder, FrameError};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;

/// What a worker sends; dropping it resets the stream, which is how a worker learns of a
/// cancellation.
pub(crate) type Upstream = UnsyncBoxBody<Bytes, Reset>;

/// The stream or its connection failed.
#[derive(Debug, thiserror::Error)]
#[error("the stream was reset")]
pub(crate) struct Reset(#[source] pub(crate) BoxError);

/// Why there are no more frames, other than a clean end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Break {
    #[error("the frames are malformed")]
    Malformed(#[source] FrameError),
    #[error(transparent)]
    Reset(#[from] Reset),
    #[error("the stream ended within a frame")]
    Cut,
}

/// Frames as they arrive. Backpressure is the body's own: nothing is read ahead.
#[derive(Debug)]
pub(crate) struct Frames {
    upstream: Upstream,
    decoder: FrameDecoder,
    is_ended: bool,
}

impl Frames {
    pub(crate) fn new(upstream: Upstream, payload_bytes_max: usize) -> Self {
        Self { upstream, decoder: FrameDecoder::new(payload_bytes_max), is_ended: false }
    }

    /// The next frame; `None` at a clean end.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Break>>> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(Break::Malformed(error)))),
            }
            if self.is_ended {
                let cut = (!self.decoder.is_empty()).then_some(Err(Break::Cut));
                return Poll::Ready(cut);
            }
            match ready!(Pin::new(&mut self.upstream).poll_frame(cx)) {
                Some(Ok(part)) => {
                    if let Ok(chunk) = part.into_data() {
                        self.decoder.push(chunk);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(Break::Reset(error)))),
                None => self.is_ended = true,
            }
        }
    }
}
