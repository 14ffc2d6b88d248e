//! The body of an answer on the uplink: frames, made as they are polled.
//!
//! One state machine per answer and no task: polling drains the engine's events that are ready,
//! renders them into one data frame, and arms the heartbeat; the end is receipt, then last data
//! frame. Dropping it early cancels the engine and leaves the receipt of an abort.
//! Source: the uplink decisions, "life of a chat completion".

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use cocoon_attest::receipt::{Finish, SignedReceipt, Usage};
use cocoon_runtime::semconv;
use cocoon_uplink_wire::{FrameKind, encode_frame};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::fanout::Fanout;
use super::held::Held;
use super::record::Record;
use super::refusal::{Refusal, Words};
use super::sealed::Wrapping;
use super::tally::Tally;
use super::transcript::{Call, Transcript};
use crate::engine::{self, Channel, EngineError, EngineEvent, FinishReason, TokenLogprob};

/// Silence after which the gateway is told that the worker lives.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Events rendered in one poll, and so in one data frame.
const EVENTS_PER_FRAME_MAX: u32 = 64;
/// Text, calls and log probabilities of one answer, before JSON.
const ANSWER_BYTES_MAX: usize = 24 * 1024 * 1024;

/// What [`super::Surface::handle`] answers with.
pub struct UplinkBody(State);

enum State {
    /// A refusal, not framed.
    Whole(Option<Bytes>),
    Live(Box<Live>),
}

impl UplinkBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(State::Whole(Some(bytes)))
    }

    pub(super) fn live(live: Live) -> Self {
        Self(State::Live(Box::new(live)))
    }
}

impl Body for UplinkBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut self.get_mut().0 {
            State::Whole(bytes) => bytes.take(),
            State::Live(live) => ready!(live.poll_bytes(context)),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            State::Whole(bytes) => bytes.is_none(),
            State::Live(live) => live.is_over && live.frames.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            State::Live(_) => SizeHint::default(),
        }
    }
}

// === impl Live ===

/// An answer in progress.
pub(super) struct Live {
    words: Words,
    fanout: Fanout,
    /// Until it is released nothing leaves but heartbeats.
    held: Held,
    /// The answer has ended, however it ended.
    is_over: bool,
    transcript: Transcript,
    wrapping: Wrapping,
    record: Record,
    tally: Tally,
    /// The gravest of how the choices ended so far.
    finish: FinishReason,
    answer_bytes: usize,
    frames: VecDeque<Bytes>,
    heartbeat: Interval,
    span: tracing::Span,
}

/// What an answer in progress is made of.
pub(super) struct LiveParts {
    pub(super) words: Words,
    pub(super) fanout: Fanout,
    pub(super) held: Held,
    pub(super) tally: Tally,
    pub(super) transcript: Transcript,
    pub(super) wrapping: Wrapping,
    pub(super) record: Record,
    pub(super) span: tracing::Span,
}

impl Live {
    /// `first` are the events of the first choice that were awaited before the head could leave.
    pub(super) fn new(parts: LiveParts, first: Vec<EngineEvent>) -> Self {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut live = Self {
            words: parts.words,
            fanout: parts.fanout,
            held: parts.held,
            is_over: false,
            transcript: parts.transcript,
            wrapping: parts.wrapping,
            record: parts.record,
            tally: parts.tally,
            finish: FinishReason::Stop,
            answer_bytes: 0,
            frames: VecDeque::new(),
            heartbeat,
            span: parts.span,
        };
        // At once, so that an abort before the first poll knows what the head has promised.
        for event in first {
            live.apply(0, event);
        }
        live
    }

    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(frame));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        let span = self.span.clone();
        let _entered = span.enter();
        let drained = self.drain(context);
        if !self.is_over
            && let Err(refusal) = self.flush()
        {
            self.fail(&refusal);
        }
        if let Some(frame) = self.frames.pop_front() {
            self.heartbeat.reset();
            return Poll::Ready(Some(frame));
        }
        if self.heartbeat.poll_tick(context).is_ready() {
            let count = self.tally.cumulative();
            return Poll::Ready(Some(encode_frame(FrameKind::Heartbeat, count, &[])));
        }
        if drained.is_ready() {
            // More events may be there than one poll takes.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Takes events in until none is ready, the answer ends, or a frame's worth was taken.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..EVENTS_PER_FRAME_MAX {
            if self.is_over {
                break;
            }
            let Some((choice, event)) = ready!(self.fanout.poll_event(context)) else { break };
            self.apply(choice, event);
        }
        Poll::Ready(())
    }

    fn apply(&mut self, choice: u32, event: EngineEvent) {
        if self.is_over {
            return;
        }
        match event {
            EngineEvent::Started { prompt_tokens } => {
                self.held.started(choice);
                self.tally.started(choice, prompt_tokens.unwrap_or(0));
            }
            EngineEvent::Delta { channel, text, completion_tokens, logprobs } => {
                let bytes = text.len() + logprobs.iter().map(logprob_bytes).sum::<usize>();
                if self.count_up(choice, completion_tokens, channel) && self.grow(bytes) {
                    self.transcript.delta(choice, channel, &text, logprobs);
                }
            }
            EngineEvent::ToolCall { index, id, name, arguments, completion_tokens } => {
                let bytes = id.len() + name.len() + arguments.len();
                if self.count_up(choice, completion_tokens, Channel::Content) && self.grow(bytes) {
                    self.transcript.call(choice, Call { index, id, name, arguments });
                }
            }
            EngineEvent::Embedding { index, vector } => {
                if self.grow(size_of::<f32>() * vector.len())
                    && !self.transcript.vector(index, vector)
                {
                    self.fail(&EngineError::Crashed.into());
                }
            }
            EngineEvent::Finished { finish, usage } => self.finished(choice, finish, usage),
            EngineEvent::Failed(error) => self.fail(&Refusal::from(error).about(self.words)),
        }
    }

    /// Moves the count on; over the limit the choice ends with what it had.
    fn count_up(&mut self, choice: u32, completion_tokens: u32, channel: Channel) -> bool {
        let is_within = self.tally.count_up(choice, completion_tokens, channel);
        if !is_within {
            self.end_choice(choice, FinishReason::Length);
        }
        is_within
    }

    /// Bounds the answer's memory, whatever the engine sends. What has grown so far is of use, and
    /// has its price: every choice ends here, as at its limit of tokens.
    fn grow(&mut self, bytes: usize) -> bool {
        self.answer_bytes = self.answer_bytes.saturating_add(bytes);
        if self.answer_bytes <= ANSWER_BYTES_MAX {
            return true;
        }
        for choice in self.fanout.curtail() {
            if !self.is_over {
                self.end_choice(choice, FinishReason::Length);
            }
        }
        false
    }

    fn finished(&mut self, choice: u32, finish: FinishReason, usage: engine::Usage) {
        self.held.started(choice);
        let is_over_limit = self.tally.finished(choice, usage);
        let finish = match finish {
            _ if is_over_limit => FinishReason::Length,
            FinishReason::Stop if self.transcript.has_calls(choice) => FinishReason::ToolCalls,
            finish => finish,
        };
        self.end_choice(choice, finish);
    }

    /// Ends one choice, and with the last one the answer.
    fn end_choice(&mut self, choice: u32, finish: FinishReason) {
        self.fanout.end(choice);
        if gravity(finish) > gravity(self.finish) {
            self.finish = finish;
        }
        let is_last = self.fanout.is_over();
        if is_last && !self.transcript.is_complete() {
            return self.fail(&EngineError::Crashed.into());
        }
        // The last finish leaves with the end, so that whoever has seen it has seen the receipt.
        if is_last && let Err(refusal) = self.flush() {
            return self.fail(&refusal);
        }
        self.transcript.end_choice(choice, finish);
        if is_last {
            self.conclude();
        }
    }

    /// The clean end: the receipt, then the last data frame.
    fn conclude(&mut self) {
        let usage = self.record.bounded(self.tally.usage());
        let shown = engine::Usage {
            prompt: usage.prompt,
            cached: usage.cached,
            completion: usage.completion,
            reasoning: usage.reasoning,
        };
        let last = self.transcript.finish(shown);
        let mut payloads = match self.wrapping.payloads(last, true) {
            Ok(payloads) => payloads,
            Err(refusal) => return self.fail(&refusal),
        };
        let last = payloads.pop().unwrap_or_default();
        for payload in &payloads {
            self.deliver(payload);
        }
        self.record.commit(&last);
        let receipt = self.end(receipt_finish(self.finish), usage);
        self.push(FrameKind::Receipt, &receipt.to_bytes());
        self.push(FrameKind::Data, &last);
    }

    /// The unclean end. A stream's delivered prefix has a receipt; a whole answer that never came
    /// has none, and costs nothing.
    fn fail(&mut self, refusal: &Refusal) {
        let code = if self.wrapping.is_sealed() { refusal.bare_code() } else { refusal.code() };
        self.span.record(semconv::ERROR_TYPE, code);
        let flushed = self.flush().is_ok();
        let mut event = self.transcript.failure(refusal.error());
        if flushed && self.transcript.is_stream() && self.record.has_delivered() {
            if self.wrapping.is_sealed()
                && let Some(event) = event.take()
            {
                // An event that cannot be sealed is one that the client goes without.
                drop(self.deliver_bytes(event.into()));
            }
            let receipt = self.end(Finish::Error, self.tally.usage());
            self.push(FrameKind::Receipt, &receipt.to_bytes());
        }
        self.is_over = true;
        self.fanout.stop();
        let payload = match self.wrapping {
            Wrapping::Clear => refusal.to_frame_payload(event),
            // The gateway has to know what kind of failure it was, and nothing more.
            Wrapping::Sealed(_) => refusal.bare().to_frame_payload(None),
        };
        self.push(FrameKind::Error, &payload);
    }

    /// Frames what the transcript has ready, unless it is held back.
    fn flush(&mut self) -> Result<(), Refusal> {
        if self.held.is_held() {
            return Ok(());
        }
        match self.transcript.take_ready() {
            Some(bytes) => self.deliver_bytes(bytes),
            None => Ok(()),
        }
    }

    fn deliver_bytes(&mut self, bytes: Vec<u8>) -> Result<(), Refusal> {
        for payload in self.wrapping.payloads(bytes, false)? {
            self.deliver(&payload);
        }
        Ok(())
    }

    fn deliver(&mut self, payload: &[u8]) {
        self.record.commit(payload);
        self.push(FrameKind::Data, payload);
    }

    fn push(&mut self, kind: FrameKind, payload: &[u8]) {
        self.frames.push_back(encode_frame(kind, self.tally.cumulative(), payload));
    }

    /// Stops the engine and signs: the one place where an answer gets its receipt.
    fn end(&mut self, finish: Finish, usage: Usage) -> SignedReceipt {
        self.is_over = true;
        self.fanout.stop();
        self.span.record(semconv::GEN_AI_RESPONSE_ID, self.record.answer_id());
        self.span.record(semconv::GEN_AI_RESPONSE_FINISH_REASONS, finish.as_str());
        self.span.record(semconv::GEN_AI_USAGE_INPUT_TOKENS, usage.prompt);
        self.span.record(semconv::GEN_AI_USAGE_OUTPUT_TOKENS, usage.completion);
        metrics::counter!("cocoon_worker_answers_total", "finish" => finish.as_str()).increment(1);
        self.record.sign(finish, usage)
    }
}

impl Drop for Live {
    /// The client has gone, or the connection: what was generated so far is owed.
    fn drop(&mut self) {
        if !self.is_over {
            let span = self.span.clone();
            let _entered = span.enter();
            let usage = self.tally.usage();
            self.end(Finish::ClientAbort, usage);
        }
    }
}

fn logprob_bytes(token: &TokenLogprob) -> usize {
    let one = |token: &str, bytes: &[u8]| 64 + token.len() + 4 * bytes.len();
    let top: usize = token.top.iter().map(|top| one(&top.token, &top.bytes)).sum();
    one(&token.token, &token.bytes) + top
}

/// Of several choices the receipt names the end that is furthest from a plain one.
fn gravity(finish: FinishReason) -> u8 {
    match finish {
        FinishReason::Stop => 0,
        FinishReason::ToolCalls => 1,
        FinishReason::Length => 2,
        FinishReason::ContentFilter => 3,
    }
}

fn receipt_finish(finish: FinishReason) -> Finish {
    match finish {
        FinishReason::Stop => Finish::Stop,
        FinishReason::Length => Finish::Length,
        FinishReason::ToolCalls => Finish::ToolCalls,
        FinishReason::ContentFilter => Finish::ContentFilter,
    }
}
