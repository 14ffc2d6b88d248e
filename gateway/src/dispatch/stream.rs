//! One worker's answer as it comes in: frames through the relay, with the clocks that bound it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cocoon_primitives::{Assurance, WorkerId};
use cocoon_uplink_wire::Frame;
use http::HeaderValue;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use super::error::DispatchError;
use super::frames::{Break, Frames};
use super::place::Place;
use super::relay::{Fault, Relay, Step, WorkerError};
use super::ticket::{Closing, Ticket, Verdict};

/// Frames without a payload handled before the task yields to others.
const FRAMES_PER_POLL_MAX: u32 = 64;

/// What bounds one answer in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) silence_max: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) client_stall_max: Duration,
}

/// An answer of which at least one frame has come.
///
/// Dropping it resets the worker's stream, then frees the place, then closes the ticket: the
/// order of the fields.
#[derive(Debug)]
pub(crate) struct Stream {
    frames: Frames,
    place: Place,
    relay: Relay,
    /// The frame that ended the wait for the answer.
    first: Option<Frame>,
    pace: Pace,
    heard: Instant,
    sent: Instant,
    timer: Pin<Box<Sleep>>,
    has_forwarded: bool,
    dropped_tools: Option<HeaderValue>,
    ticket: Ticket,
}

/// What the head of an answer says of who gives it.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) worker: WorkerId,
    pub(crate) assurance: Assurance,
    /// The types of the tools that the worker left out, as it wrote them.
    pub(crate) dropped_tools: Option<HeaderValue>,
}

/// What the client's side has to know.
#[derive(Debug)]
pub(crate) enum Event {
    Forward(Bytes),
    /// Nothing came for a while: time for a comment.
    KeepAlive,
    /// The answer is whole. Settle before this is forwarded.
    Last(Bytes),
    Broken(Broken),
}

/// Why an answer will not become whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the worker's stream broke off")]
    Lost(#[source] Option<Break>),
    #[error("the worker was silent for too long")]
    Silent,
    #[error("the worker broke the protocol")]
    Fault(#[source] Fault),
    #[error("the worker failed")]
    Failed(WorkerError),
    #[error("the request's deadline passed")]
    Deadline,
}

impl Broken {
    /// What the worker itself has to tell the client.
    pub(crate) fn take_event(&mut self) -> Option<String> {
        match self {
            Self::Failed(error) => error.event.take(),
            Self::Lost(_) | Self::Silent | Self::Fault(_) | Self::Deadline => None,
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Lost(_) | Self::Silent => Verdict::WorkerLost,
            Self::Fault(_) | Self::Failed(_) | Self::Deadline => Verdict::Failed,
        }
    }

    /// Whether it counts against the worker.
    fn is_fault(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Silent | Self::Fault(_) => true,
            Self::Failed(error) => error.is_fault(),
            Self::Deadline => false,
        }
    }
}

impl From<Broken> for DispatchError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Lost(_) | Broken::Silent => Self::WorkerLost,
            Broken::Fault(_) => Self::WorkerFault,
            Broken::Failed(error) => error.into(),
            Broken::Deadline => Self::Deadline,
        }
    }
}

impl Stream {
    pub(crate) fn new(
        frames: Frames,
        first: Frame,
        place: Place,
        ticket: Ticket,
        pace: Pace,
    ) -> Self {
        let now = Instant::now();
        Self {
            frames,
            place,
            relay: Relay::new(ticket.agreement().completion_max),
            first: Some(first),
            pace,
            heard: now,
            sent: now,
            timer: Box::pin(sleep_until(now + pace.silence_max)),
            has_forwarded: false,
            dropped_tools: None,
            ticket,
        }
    }

    pub(crate) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    pub(crate) fn with_dropped_tools(self, dropped_tools: Option<HeaderValue>) -> Self {
        Self { dropped_tools, ..self }
    }

    /// The worker that answers, and what its lease says of it.
    pub(crate) fn chosen(&self) -> Chosen {
        let service = self.ticket.service().expect("an answer that has begun has its worker");
        let (worker, assurance) = (service.worker, service.lease.assurance);
        Chosen { worker, assurance, dropped_tools: self.dropped_tools.clone() }
    }

    /// Splits the money from the frames, so that the one can be settled while the other ends.
    pub(crate) fn into_ticket(self) -> (Frames, Ticket) {
        (self.frames, self.ticket)
    }

    /// Ends a broken answer: the worker's stream is reset, its outcome leaves.
    pub(crate) fn break_off(self, broken: &Broken) -> oneshot::Receiver<Closing> {
        let request = self.ticket.agreement().request_id;
        let worker = self.place.worker();
        let cause: &dyn std::error::Error = broken;
        let source = cause.source().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(
            request.id = %request, worker.id = %worker, cause = %broken, source,
            "answer of {request} broke off"
        );
        if broken.is_fault() {
            self.place.strike();
        }
        let is_unpaid = self.has_unpaid_work(broken);
        let Self { frames, place, mut ticket, .. } = self;
        if is_unpaid {
            ticket.use_up_rate();
        }
        drop(frames);
        drop(place);
        ticket.close(broken.verdict())
    }

    /// The next event. Once it was [`Event::Last`] or [`Event::Broken`] there is none.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        for _ in 0..FRAMES_PER_POLL_MAX {
            let frame = match self.first.take() {
                Some(frame) => frame,
                None => match self.frames.poll_next(cx) {
                    Poll::Pending => return self.poll_timer(cx),
                    Poll::Ready(Some(Ok(frame))) => frame,
                    Poll::Ready(Some(Err(Break::Malformed(error)))) => {
                        return broken(Broken::Fault(Fault::Malformed(error)));
                    }
                    Poll::Ready(Some(Err(cause))) => return broken(Broken::Lost(Some(cause))),
                    Poll::Ready(None) => return broken(Broken::Lost(None)),
                },
            };
            self.heard = Instant::now();
            let step = self.relay.step(frame);
            self.ticket.set_completion(self.relay.completion());
            match step {
                Step::Wait => {}
                Step::Receipt(receipt) => self.ticket.set_receipt(receipt),
                Step::Forward(payload) => {
                    self.ticket.forwarded(&payload);
                    self.forwarded();
                    return Poll::Ready(Event::Forward(payload));
                }
                Step::Last(payload) => {
                    self.ticket.set_last(payload.clone());
                    self.forwarded();
                    return Poll::Ready(Event::Last(payload));
                }
                Step::Failed(error) => return broken(Broken::Failed(error)),
                Step::Fault(fault) => return broken(Broken::Fault(fault)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The clocks, while no frame is here.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            let now = Instant::now();
            let deadline = self.ticket.agreement().deadline;
            let silent = self.heard + self.pace.silence_max;
            let comment = self.sent + self.pace.keep_alive;
            if now >= deadline {
                return broken(Broken::Deadline);
            }
            if now >= silent {
                return broken(Broken::Silent);
            }
            if now >= comment {
                self.sent = now;
                return Poll::Ready(Event::KeepAlive);
            }
            self.timer.as_mut().reset(deadline.min(silent).min(comment));
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Whether the request failed by its own fault after more tokens than will be charged.
    fn has_unpaid_work(&self, broken: &Broken) -> bool {
        let Broken::Failed(error) = broken else { return false };
        let counted = self.relay.completion();
        let charged = if self.ticket.agreement().is_streamed { counted } else { 0 };
        !error.retryable && error.generated.max(counted) > charged
    }

    fn forwarded(&mut self) {
        self.sent = self.heard;
        if !std::mem::replace(&mut self.has_forwarded, true) {
            let waited = self.heard.duration_since(self.ticket.agreement().opened);
            metrics::histogram!("cocoon_chat_time_to_first_token_seconds").record(waited);
        }
    }
}

fn broken(broken: Broken) -> Poll<Event> {
    Poll::Ready(Event::Broken(broken))
}
