//! The body of a streamed answer: a worker's payloads, forwarded as they are and metered.
//!
//! Shape: waiting for an answer (comments only) → relaying → settling, with the last payload in
//! hand → ended; or failing: an error event, then, unless the event itself is an end in the
//! stream's protocol ([`super::failure`]), a pause for it to leave and an error that aborts the
//! connection, so that a broken answer never looks like a whole one.
//!
//! Invariants: the last payload is forwarded only after its request was settled; dropping the
//! body at any point resets the worker's stream and lets exactly one outcome leave.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use super::error::DispatchError;
use super::failure::{End, Farewell, Teller};
use super::frames::Frames;
use super::stream::{Event, Pace, Stream};
use super::ticket::{Agreement, Closing, Verdict};

/// How long an error event gets to leave before the connection is aborted: an abort discards
/// what is still queued.
const FLUSH: Duration = Duration::from_millis(100);

/// A comment: no part of the answer.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// An answer that will come, or will not.
pub(crate) type Opening = Pin<Box<dyn Future<Output = Result<Stream, DispatchError>> + Send>>;

/// The answer broke off; its connection must not end cleanly.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(crate) struct BrokenOff;

/// A streamed answer.
#[derive(Debug)]
pub(crate) struct MeteredBody {
    cell: Arc<StreamCell>,
}

/// The state of a body, reachable for the sweep while nobody polls the body.
#[derive(Debug)]
pub(crate) struct StreamCell {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    teller: Teller,
    pace: Pace,
    deadline: Instant,
    /// When the client was given the part that it has not come back from.
    handed: Option<Instant>,
    waker: Option<Waker>,
}

enum Phase {
    /// Without a timer until the first comment is out.
    Waiting {
        opening: Opening,
        timer: Option<Pin<Box<Sleep>>>,
    },
    Relaying(Box<Stream>),
    /// The frames are kept until the request is settled, so that they end by themselves.
    Settling {
        closing: oneshot::Receiver<Closing>,
        last: Bytes,
        _frames: Box<Frames>,
    },
    /// The outcome first, where there is one to wait for: a client that reads the error finds
    /// its balance exact.
    Failing {
        closing: Option<oneshot::Receiver<Closing>>,
        event: Option<Bytes>,
        end: End,
        flush: Option<Pin<Box<Sleep>>>,
    },
    Ended,
}

impl MeteredBody {
    /// The body of an answer that has begun.
    pub(crate) fn relaying(stream: Stream, pace: Pace) -> Self {
        let agreement = stream.ticket().agreement().clone();
        Self { cell: StreamCell::new(Phase::Relaying(Box::new(stream)), &agreement, pace) }
    }

    /// The body of an answer that is still waited for; begins with a comment at once.
    pub(crate) fn waiting(opening: Opening, agreement: &Agreement, pace: Pace) -> Self {
        let phase = Phase::Waiting { opening, timer: None };
        Self { cell: StreamCell::new(phase, agreement, pace) }
    }

    /// For the sweep of streams that nobody reads.
    pub(crate) fn cell(&self) -> Weak<StreamCell> {
        Arc::downgrade(&self.cell)
    }
}

impl Body for MeteredBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let mut state = self.cell.lock();
        state.handed = None;
        let polled = loop {
            match state.step(cx) {
                Some(polled) => break polled,
                None => continue,
            }
        };
        match &polled {
            Poll::Pending => state.waker = Some(cx.waker().clone()),
            Poll::Ready(_) => state.handed = Some(Instant::now()),
        }
        polled.map(|part| part.map(|part| part.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.cell.lock().phase, Phase::Ended)
    }
}

impl Drop for MeteredBody {
    fn drop(&mut self) {
        let left = std::mem::replace(&mut self.cell.lock().phase, Phase::Ended);
        // Outside the lock: what a stream does when it is dropped is its own affair.
        drop(left);
    }
}

impl StreamCell {
    fn new(phase: Phase, agreement: &Agreement, pace: Pace) -> Arc<Self> {
        let (teller, deadline) = (Teller::new(agreement), agreement.deadline);
        let state = State { phase, teller, pace, deadline, handed: None, waker: None };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Ends a stream that its client keeps waiting for too long: a client that does not read
    /// must hold neither a worker nor a reservation.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut state = self.lock();
        let stalled = state.handed.is_some_and(|at| now >= at + state.pace.client_stall_max);
        let overdue = now >= state.deadline && state.handed.is_some();
        if (stalled || overdue) && matches!(state.phase, Phase::Relaying(_) | Phase::Waiting { .. })
        {
            let failing =
                Phase::Failing { closing: None, event: None, end: End::Abort, flush: None };
            let left = std::mem::replace(&mut state.phase, failing);
            let waker = state.waker.take();
            drop(state);
            drop(left);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Polled = Poll<Option<Result<Bytes, BrokenOff>>>;

impl State {
    /// One transition; `None` where the new phase has to be asked at once.
    fn step(&mut self, cx: &mut Context<'_>) -> Option<Polled> {
        match &mut self.phase {
            Phase::Waiting { opening, timer } => {
                if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
                    self.opened(opened);
                    return None;
                }
                if let Some(timer) = timer
                    && timer.as_mut().poll(cx).is_pending()
                {
                    return Some(Poll::Pending);
                }
                *timer = Some(Box::pin(sleep_until(Instant::now() + self.pace.keep_alive)));
                Some(Poll::Ready(Some(Ok(self.teller.keep_alive()))))
            }
            Phase::Relaying(stream) => match stream.poll(cx) {
                Poll::Pending => Some(Poll::Pending),
                Poll::Ready(event) => self.on_event(event),
            },
            Phase::Settling { closing, last, .. } => match Pin::new(closing).poll(cx) {
                Poll::Pending => Some(Poll::Pending),
                Poll::Ready(closing) => {
                    let last = std::mem::take(last);
                    match closing.unwrap_or(Closing::Unrecorded).released() {
                        Ok(()) => {
                            self.phase = Phase::Ended;
                            Some(Poll::Ready(Some(Ok(last))))
                        }
                        Err(error) => {
                            self.fail(self.teller.tell(&error), None);
                            None
                        }
                    }
                }
            },
            Phase::Failing { closing, event, end, flush } => {
                if let Some(waiting) = closing {
                    if Pin::new(waiting).poll(cx).is_pending() {
                        return Some(Poll::Pending);
                    }
                    *closing = None;
                }
                if let Some(event) = event.take() {
                    return Some(Poll::Ready(Some(Ok(event))));
                }
                if *end == End::Clean {
                    self.phase = Phase::Ended;
                    return None;
                }
                let flush =
                    flush.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + FLUSH)));
                if flush.as_mut().poll(cx).is_pending() {
                    return Some(Poll::Pending);
                }
                self.phase = Phase::Ended;
                Some(Poll::Ready(Some(Err(BrokenOff))))
            }
            Phase::Ended => Some(Poll::Ready(None)),
        }
    }

    fn opened(&mut self, opened: Result<Stream, DispatchError>) {
        match opened {
            Ok(stream) => self.phase = Phase::Relaying(Box::new(stream)),
            Err(error) => self.fail(self.teller.tell(&error), None),
        }
    }

    fn on_event(&mut self, event: Event) -> Option<Polled> {
        match event {
            Event::Forward(payload) => {
                self.teller.forwarded(&payload);
                Some(Poll::Ready(Some(Ok(payload))))
            }
            Event::KeepAlive => Some(Poll::Ready(Some(Ok(self.teller.keep_alive())))),
            Event::Last(last) => {
                let (frames, ticket) = self.take_stream().into_ticket();
                let closing = ticket.close(Verdict::Completed);
                self.phase = Phase::Settling { closing, last, _frames: Box::new(frames) };
                None
            }
            Event::Broken(mut broken) => {
                let event = broken.take_event();
                let closing = self.take_stream().break_off(&broken);
                let farewell = match event {
                    Some(event) => self.teller.pass_on(event),
                    None => self.teller.tell(&broken.into()),
                };
                self.fail(farewell, Some(closing));
                None
            }
        }
    }

    fn take_stream(&mut self) -> Stream {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Relaying(stream) => *stream,
            _ => unreachable!("only a relayed stream has events"),
        }
    }

    fn fail(&mut self, farewell: Farewell, closing: Option<oneshot::Receiver<Closing>>) {
        let Farewell { event, end } = farewell;
        let event = (!event.is_empty()).then_some(event);
        self.phase = Phase::Failing { closing, event, end, flush: None };
    }
}

impl fmt::Debug for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting { .. } => "Waiting",
            Self::Relaying(_) => "Relaying",
            Self::Settling { .. } => "Settling",
            Self::Failing { .. } => "Failing",
            Self::Ended => "Ended",
        })
    }
}

#[cfg(test)]
mod tests;
