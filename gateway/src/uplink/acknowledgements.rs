//! The body of the events request: acknowledgements, as they come.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cocoon_primitives::RequestId;
use cocoon_uplink_wire::event::GatewayEvent;
use cocoon_uplink_wire::message::encode;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

/// Ends when the link that feeds it closes.
#[derive(Debug)]
pub(super) struct Acknowledgements {
    batches: mpsc::Receiver<Vec<RequestId>>,
}

impl Acknowledgements {
    pub(super) fn new(batches: mpsc::Receiver<Vec<RequestId>>) -> Self {
        Self { batches }
    }
}

impl Body for Acknowledgements {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let batch = ready!(self.batches.poll_recv(context));
        Poll::Ready(
            batch.map(|request_ids| Ok(Frame::data(encode(&GatewayEvent::Ack { request_ids })))),
        )
    }
}
