//! A sealed answer on its way to the client: opened frame by frame, as fast as the client reads.
//!
//! Invariants: nothing is passed on that did not open at its place; an answer without its last
//! frame never ends cleanly; whatever happens to an answer that began, its receipt is asked for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cocoon_attest::receipt::Commitment;
use cocoon_seal::{AnswerHead, AnswerOpener, Frame, FrameKind, OpenError, SealedRefusal};
use reqwest::Response;
use tokio::time::timeout;

use super::Proxy;
use super::exchange::Exchange;
use super::judge::{End, Seen};
use super::problem::Problem;
use super::room::Room;
use super::send::{settle, watch};
use super::usage::{ToldUsage, UsageWatch, of_json};
use crate::trust::Doubt;
use crate::trust::worker::Admitted;

/// What a worker writes in one frame, and some more.
const FRAME_BYTES_MAX: usize = (1 << 20) + (1 << 10);
/// An answer in one piece, at most.
const WHOLE_BYTES_MAX: usize = 64 << 20;
/// How long the connection's end is waited for behind the last frame, so that it can be used again.
const END_WAIT: Duration = Duration::from_millis(200);

/// An answer that has begun.
pub(super) struct Relay {
    proxy: Arc<Proxy>,
    exchange: Arc<Exchange>,
    response: Response,
    opener: AnswerOpener,
    frames: Commitment,
    watch: UsageWatch,
    told: Option<ToldUsage>,
    end: End,
    worker: Option<Admitted>,
    /// A worker refused the request: then nobody may charge it, another worker neither.
    is_refused: bool,
}

/// How an answer begins.
pub(super) enum Opening {
    Answer { head: AnswerHead, worker: Box<Admitted> },
    Refusal(SealedRefusal),
}

/// Why there is no next frame.
enum Break {
    /// The connection ended, or broke.
    Cut,
    Tampered(OpenError),
}

impl Relay {
    pub(super) fn new(
        proxy: Arc<Proxy>,
        exchange: Arc<Exchange>,
        response: Response,
        opener: AnswerOpener,
    ) -> Self {
        Self {
            proxy,
            exchange,
            response,
            opener: opener.with_frame_max(FRAME_BYTES_MAX),
            frames: Commitment::new(),
            watch: UsageWatch::new(),
            told: None,
            end: End::Left,
            worker: None,
            is_refused: false,
        }
    }

    /// Waits for the first frame.
    pub(super) async fn open(&mut self) -> Result<Opening, Problem> {
        let frame = self.next().await.map_err(|stop| self.stopped(&stop))?;
        let unreadable = || Doubt::new("answer_malformed", "the answer's head is unreadable");
        match frame.kind {
            FrameKind::Error => {
                let refusal = SealedRefusal::from_json(&frame.data).ok_or_else(unreadable)?;
                self.is_refused = true;
                Ok(Opening::Refusal(refusal))
            }
            FrameKind::Head => {
                let id = self.opener.worker_id();
                let worker =
                    self.exchange.workers.iter().find(|worker| Some(worker.worker_id) == id);
                let worker = worker.cloned().ok_or_else(unreadable)?;
                self.worker = Some(worker.clone());
                let head = AnswerHead::from_json(&frame.data).ok_or_else(unreadable)?;
                Ok(Opening::Answer { head, worker: Box::new(worker) })
            }
            FrameKind::Data => Err(unreadable().into()),
        }
    }

    /// The rest of the answer in one piece, and the room that it takes.
    pub(super) async fn whole(mut self) -> Result<(Bytes, Room), Problem> {
        let mut body = Vec::new();
        let mut room = Room::new(&self.proxy.answers);
        while let Some(data) = self.data().await.map_err(|stop| self.stopped(&stop))? {
            if body.len().saturating_add(data.len()) > WHOLE_BYTES_MAX {
                return Err(Problem::Shape("it is too long"));
            }
            room.cover(body.len().saturating_add(data.len())).await?;
            body.extend_from_slice(&data);
        }
        self.told = of_json(&body);
        Ok((body.into(), room))
    }

    /// The rest of the answer, opened as it is read.
    pub(super) fn stream(self) -> Body {
        Body::from_stream(futures_util::stream::try_unfold(self, |mut relay| async move {
            match relay.data().await {
                Ok(Some(data)) => {
                    relay.watch.push(&data);
                    relay.told = relay.watch.last();
                    Ok(Some((data, relay)))
                }
                Ok(None) => Ok(None),
                Err(stop) => Err(io::Error::other(relay.stopped(&stop).to_string())),
            }
        }))
    }

    /// The next bytes of the body, `None` behind the last frame.
    async fn data(&mut self) -> Result<Option<Bytes>, Break> {
        loop {
            if self.end == End::Whole {
                // Whatever still comes is no part of the answer; the keep-alives are skipped.
                if let Ok(Ok(Some(rest))) = timeout(END_WAIT, self.response.chunk()).await {
                    self.opener.push(&rest);
                    self.opener.next_frame().map_err(Break::Tampered)?;
                }
                return self.opener.finish().map(|()| None).map_err(Break::Tampered);
            }
            let frame = self.next().await?;
            if !frame.data.is_empty() {
                return Ok(Some(frame.data));
            }
        }
    }

    async fn next(&mut self) -> Result<Frame, Break> {
        loop {
            if let Some(frame) = self.opener.next_frame().map_err(Break::Tampered)? {
                self.frames.push(&frame.payload);
                if frame.is_final {
                    self.end = End::Whole;
                }
                return Ok(frame);
            }
            match self.response.chunk().await {
                Ok(Some(piece)) => self.opener.push(&piece),
                Ok(None) | Err(_) => return Err(Break::Cut),
            }
        }
    }

    /// What is said of an answer that stopped. One that was changed ends all work.
    fn stopped(&mut self, stop: &Break) -> Problem {
        match stop {
            Break::Cut => {
                self.end = End::Cut;
                let reason = "the answer was cut off before its last frame";
                Doubt::new("answer_truncated", reason).into()
            }
            Break::Tampered(error) => {
                self.end = End::Cut;
                let doubt =
                    Doubt::new("answer_tampered", format!("the answer was changed: {error}"));
                let request_id = self.exchange.head.request_id;
                self.proxy.settlement.latch.close(doubt.clone(), Some(request_id));
                doubt.into()
            }
        }
    }
}

impl Drop for Relay {
    /// Also where the client left: what was generated until then is charged, and has a receipt.
    fn drop(&mut self) {
        if self.is_refused {
            return watch(&self.proxy, &self.exchange);
        }
        let (worker, frames, end) = (self.worker.take(), self.frames.clone(), self.end);
        // Of a stream that was left in the middle, the last usage may be any.
        let usage = self.told.filter(|_| end == End::Whole);
        let seen = Seen { worker, frames, usage, end };
        settle(&self.proxy, Arc::clone(&self.exchange), seen);
    }
}
