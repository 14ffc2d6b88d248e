//! Who hears a stream that is recorded: its client, as long as it reads; then nobody.
//!
//! A client that goes away, or does not read for too long, is let go; the recording goes on.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

/// Parts that wait for a slow reader before the worker does. A part may have 32 MiB, and none of
/// them counts against the memory of recordings.
const PARTS_AHEAD: usize = 2;

enum Part {
    Data(Bytes),
    /// Without it the end is not a clean one.
    End,
}

/// A recording's listeners.
pub(super) struct Audience {
    client: Option<mpsc::Sender<Part>>,
    patience: Duration,
}

/// The side of the client: the body of its answer.
struct Listener {
    parts: mpsc::Receiver<Part>,
    is_over: bool,
}

/// The recording ended before the answer did.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
struct BrokenOff;

impl Audience {
    /// With the body for its client, which is not there yet.
    pub(super) fn new(patience: Duration) -> (Self, Body) {
        let (client, parts) = mpsc::channel(PARTS_AHEAD);
        let body = Body::new(Listener { parts, is_over: false });
        (Self { client: Some(client), patience }, body)
    }

    /// Waits until the client has room for it, where there still is a client.
    pub(super) async fn hear(&mut self, part: Bytes) {
        self.send(Part::Data(part)).await;
    }

    /// The clean end.
    pub(super) async fn end(mut self) {
        self.send(Part::End).await;
    }

    /// A client that is gone stays so.
    async fn send(&mut self, part: Part) {
        let Some(client) = &self.client else { return };
        if client.send_timeout(part, self.patience).await.is_err() {
            metrics::counter!("cocoon_idempotency_clients_gone_total").increment(1);
            self.client = None;
        }
    }
}

impl HttpBody for Listener {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let part = ready!(self.parts.poll_recv(cx));
        self.is_over = !matches!(part, Some(Part::Data(_)));
        Poll::Ready(match part {
            Some(Part::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Part::End) => None,
            None => Some(Err(BrokenOff)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(90);

    fn part() -> Bytes {
        Bytes::from_static(b"data: {}\n\n")
    }

    #[tokio::test]
    async fn a_client_gets_every_part_and_a_clean_end() {
        let (mut audience, body) = Audience::new(PATIENCE);
        audience.hear(part()).await;
        audience.hear(part()).await;
        let (heard, ()) = tokio::join!(body.collect(), audience.end());
        let heard = heard.expect("a clean end").to_bytes();
        assert_eq!(heard.len(), 2 * part().len());
    }

    #[tokio::test]
    async fn a_recording_that_stops_breaks_its_client_off() {
        let (mut audience, body) = Audience::new(PATIENCE);
        audience.hear(part()).await;
        drop(audience);
        body.collect().await.expect_err("a broken answer looks whole");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_client_that_is_gone() {
        let (mut audience, body) = Audience::new(PATIENCE);
        drop(body);
        let waited = tokio::time::Instant::now();
        for _ in 0..100 {
            audience.hear(part()).await;
        }
        audience.end().await;
        assert_eq!(waited.elapsed(), Duration::ZERO);
    }

    /// Two parts of an answer, of up to 32 MiB each, are all that a slow client makes the gateway
    /// hold.
    #[tokio::test(start_paused = true)]
    async fn a_recording_keeps_pace_with_its_client() {
        let (mut audience, mut body) = Audience::new(PATIENCE);
        for _ in 0..2 {
            audience.hear(part()).await;
        }
        let is_waiting = timeout(PATIENCE / 2, audience.hear(part())).await.is_err();
        assert!(is_waiting, "the worker runs ahead of the client");
        let heard = body.frame().await.expect("a part").expect("it is whole");
        assert_eq!(heard.into_data().ok(), Some(part()));
        audience.hear(part()).await;
        assert!(audience.client.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_let_go_in_time() {
        let (mut audience, body) = Audience::new(PATIENCE);
        for _ in 0..PARTS_AHEAD {
            audience.hear(part()).await;
        }
        let waited = tokio::time::Instant::now();
        audience.hear(part()).await;
        assert_eq!(waited.elapsed().as_secs(), PATIENCE.as_secs());
        assert!(audience.client.is_none());
        body.collect().await.expect_err("its answer looks whole");
    }
}
