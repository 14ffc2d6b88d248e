//! Who hears a stream that is recorded: its client, as long as it reads; then nobody.
//!
//! A client that goes away, or does not read for too long, is let go; the recording goes on. What
//! goes on so counts as one of its account's running requests, as the client's connection did,
//! and ends where the account has its share without it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cocoon_primitives::WalletAddress;
use http_body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

use crate::edge::share::{Share, Shares};

/// Parts that wait for a slow reader before the worker does.
const PARTS_AHEAD: usize = 16;

enum Part {
    Data(Bytes),
    /// Without it the end is not a clean one.
    End,
}

/// A recording's listeners.
pub(super) struct Audience {
    client: Option<mpsc::Sender<Part>>,
    patience: Duration,
    shares: Arc<Shares>,
    wallet: WalletAddress,
    share: Option<Share>,
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
    pub(super) fn new(
        shares: Arc<Shares>,
        wallet: WalletAddress,
        share: Option<Share>,
        patience: Duration,
    ) -> (Self, Body) {
        let (client, parts) = mpsc::channel(PARTS_AHEAD);
        let body = Body::new(Listener { parts, is_over: false });
        (Self { client: Some(client), patience, shares, wallet, share }, body)
    }

    /// Waits until the client has room for it. False where nobody listens and the account may not
    /// run the request without a listener: it has to end.
    pub(super) async fn hear(&mut self, part: Bytes) -> bool {
        if self.send(Part::Data(part)).await {
            return true;
        }
        if self.share.is_none() {
            self.share = self.shares.take(self.wallet);
        }
        self.share.is_some()
    }

    /// The clean end.
    pub(super) async fn end(mut self) {
        self.send(Part::End).await;
    }

    /// False where the client is gone; from then on it is.
    async fn send(&mut self, part: Part) -> bool {
        let Some(client) = &self.client else { return false };
        if client.send_timeout(part, self.patience).await.is_ok() {
            return true;
        }
        metrics::counter!("cocoon_idempotency_clients_gone_total").increment(1);
        self.client = None;
        false
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

    const WALLET: WalletAddress = WalletAddress::new(0, [7; 32]);
    const PATIENCE: Duration = Duration::from_secs(90);

    fn audience(shares: usize) -> (Audience, Body, Arc<Shares>) {
        let shares = Arc::new(Shares::new(shares));
        let (audience, body) = Audience::new(Arc::clone(&shares), WALLET, None, PATIENCE);
        (audience, body, shares)
    }

    fn part() -> Bytes {
        Bytes::from_static(b"data: {}\n\n")
    }

    #[tokio::test]
    async fn a_client_gets_every_part_and_a_clean_end() {
        let (mut audience, body, _shares) = audience(1);
        assert!(audience.hear(part()).await && audience.hear(part()).await);
        audience.end().await;
        let heard = body.collect().await.expect("a clean end").to_bytes();
        assert_eq!(heard.len(), 2 * part().len());
    }

    #[tokio::test]
    async fn a_recording_that_stops_breaks_its_client_off() {
        let (mut audience, body, _shares) = audience(1);
        assert!(audience.hear(part()).await);
        drop(audience);
        body.collect().await.expect_err("a broken answer looks whole");
    }

    #[tokio::test]
    async fn without_its_client_a_request_counts_as_one_of_its_accounts() {
        let (mut audience, body, shares) = audience(1);
        drop(body);
        assert!(audience.hear(part()).await && audience.hear(part()).await);
        assert!(shares.take(WALLET).is_none(), "it runs beyond the account's share");
        drop(audience);
        let other = shares.take(WALLET);
        assert!(other.is_some());

        let (mut unheard, body) = Audience::new(Arc::clone(&shares), WALLET, None, PATIENCE);
        assert!(unheard.hear(part()).await, "its client is there");
        drop(body);
        assert!(!unheard.hear(part()).await, "the account's share is taken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_recording_keeps_pace_with_its_client() {
        let (mut audience, mut body, _shares) = audience(1);
        for _ in 0..PARTS_AHEAD {
            assert!(audience.hear(part()).await);
        }
        let is_waiting = timeout(PATIENCE / 2, audience.hear(part())).await.is_err();
        assert!(is_waiting, "the worker runs ahead of the client");
        let heard = body.frame().await.expect("a part").expect("it is whole");
        assert_eq!(heard.into_data().ok(), Some(part()));
        assert!(audience.hear(part()).await && audience.client.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_let_go_in_time() {
        let (mut audience, body, _shares) = audience(1);
        for _ in 0..PARTS_AHEAD {
            assert!(audience.hear(part()).await);
        }
        let waited = tokio::time::Instant::now();
        assert!(audience.hear(part()).await, "the recording goes on");
        assert_eq!(waited.elapsed().as_secs(), PATIENCE.as_secs());
        assert!(audience.client.is_none());
        body.collect().await.expect_err("its answer looks whole");
    }
}
