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
use cocoon_openai_wire::chat;
use cocoon_runtime::semconv;
use cocoon_uplink_wire::frame::PAYLOAD_BYTES_MAX;
use cocoon_uplink_wire::{FrameKind, encode_frame};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::record::Record;
use super::refusal::Refusal;
use super::transcript::{Call, Transcript};
use crate::engine::{
    self, Channel, EngineError, EngineEvent, FinishReason, Generation, TokenLogprob,
};

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
            State::Live(live) => live.generation.is_none() && live.frames.is_empty(),
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
    /// `None` once the answer has ended, however it ended.
    generation: Option<Generation>,
    transcript: Transcript,
    record: Record,
    /// Completion tokens at most.
    limit: u32,
    count: Count,
    answer_bytes: usize,
    frames: VecDeque<Bytes>,
    heartbeat: Interval,
    span: tracing::Span,
}

/// Tokens as the last event stated them.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    prompt: u64,
    completion: u32,
    reasoning: u32,
}

impl Count {
    fn usage(self) -> Usage {
        Usage {
            prompt: self.prompt,
            cached: 0,
            completion: self.completion.into(),
            reasoning: self.reasoning.into(),
        }
    }
}

impl Live {
    /// `first` is the event that was awaited before the head could leave.
    pub(super) fn new(
        generation: Generation,
        first: EngineEvent,
        transcript: Transcript,
        record: Record,
        limit: u32,
        span: tracing::Span,
    ) -> Self {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut live = Self {
            generation: Some(generation),
            transcript,
            record,
            limit,
            count: Count::default(),
            answer_bytes: 0,
            frames: VecDeque::new(),
            heartbeat,
            span,
        };
        // At once, so that an abort before the first poll knows what the head has promised.
        live.apply(first);
        live
    }

    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(frame));
        }
        if self.generation.is_none() {
            return Poll::Ready(None);
        }
        let span = self.span.clone();
        let _entered = span.enter();
        let drained = self.drain(context);
        if self.generation.is_some()
            && let Err(refusal) = self.flush()
        {
            self.fail(&refusal);
        }
        if let Some(frame) = self.frames.pop_front() {
            self.heartbeat.reset();
            return Poll::Ready(Some(frame));
        }
        if self.heartbeat.poll_tick(context).is_ready() {
            return Poll::Ready(Some(encode_frame(
                FrameKind::Heartbeat,
                self.count.completion,
                &[],
            )));
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
            let Some(generation) = &mut self.generation else { break };
            let event = ready!(generation.events.poll_recv(context));
            self.apply(event.unwrap_or(EngineEvent::Failed(EngineError::Crashed)));
        }
        Poll::Ready(())
    }

    fn apply(&mut self, event: EngineEvent) {
        match event {
            EngineEvent::Started { prompt_tokens } => {
                self.count.prompt = prompt_tokens.unwrap_or(0);
            }
            EngineEvent::Delta { channel, text, completion_tokens, logprobs } => {
                let bytes = text.len() + logprobs.iter().map(logprob_bytes).sum::<usize>();
                if self.count_up(completion_tokens, channel) && self.grow(bytes) {
                    self.transcript.delta(channel, &text, logprobs);
                }
            }
            EngineEvent::ToolCall { index, id, name, arguments, completion_tokens } => {
                let bytes = id.len() + name.len() + arguments.len();
                if self.count_up(completion_tokens, Channel::Content) && self.grow(bytes) {
                    self.transcript.call(Call { index, id, name, arguments });
                }
            }
            EngineEvent::Finished { finish, usage } => self.finished(finish, usage),
            EngineEvent::Failed(error) => self.fail(&error.into()),
        }
    }

    /// Moves the count on; over the limit the answer ends with what it had.
    fn count_up(&mut self, completion_tokens: u32, channel: Channel) -> bool {
        if completion_tokens > self.limit {
            let usage = self.count.usage();
            self.seal(FinishReason::Length, usage);
            return false;
        }
        let new = completion_tokens.saturating_sub(self.count.completion);
        self.count.completion = self.count.completion.max(completion_tokens);
        if channel == Channel::Reasoning {
            self.count.reasoning = self.count.reasoning.saturating_add(new);
        }
        true
    }

    /// Bounds the answer's memory, whatever the engine sends.
    fn grow(&mut self, bytes: usize) -> bool {
        self.answer_bytes = self.answer_bytes.saturating_add(bytes);
        if self.answer_bytes > ANSWER_BYTES_MAX {
            self.fail(&Refusal::answer_too_large());
            return false;
        }
        true
    }

    fn finished(&mut self, finish: FinishReason, usage: engine::Usage) {
        // The last count never falls behind what the frames have said.
        let completion = usage.completion.max(self.count.completion.into());
        let over = completion > u64::from(self.limit);
        let finish = match finish {
            _ if over => FinishReason::Length,
            FinishReason::Stop if self.transcript.has_calls() => FinishReason::ToolCalls,
            finish => finish,
        };
        let usage = Usage {
            prompt: usage.prompt,
            cached: usage.cached,
            completion: completion.min(self.limit.into()),
            reasoning: usage.reasoning,
        };
        self.seal(finish, usage);
    }

    /// The clean end: what is left, the receipt, the last data frame.
    fn seal(&mut self, finish: FinishReason, usage: Usage) {
        if let Err(refusal) = self.flush() {
            return self.fail(&refusal);
        }
        let usage = self.record.bounded(usage);
        self.count.completion = u32::try_from(usage.completion).unwrap_or(self.limit);
        let shown = chat::Usage::new(usage.prompt, usage.cached, usage.completion, usage.reasoning);
        let last = self.transcript.finish(chat_finish(finish), shown);
        if last.len() > PAYLOAD_BYTES_MAX {
            return self.fail(&Refusal::answer_too_large());
        }
        self.record.commit(&last);
        let receipt = self.end(receipt_finish(finish), usage);
        self.push(FrameKind::Receipt, &receipt.to_bytes());
        self.push(FrameKind::Data, &last);
    }

    /// The unclean end. A stream's delivered prefix has a receipt; a whole answer that never came
    /// has none, and costs nothing.
    fn fail(&mut self, refusal: &Refusal) {
        self.span.record(semconv::ERROR_TYPE, refusal.code());
        let flushed = self.flush().is_ok();
        if flushed && self.transcript.is_stream() && self.record.has_delivered() {
            let receipt = self.end(Finish::Error, self.count.usage());
            self.push(FrameKind::Receipt, &receipt.to_bytes());
        }
        self.generation = None;
        self.push(FrameKind::Error, &refusal.to_frame_payload());
    }

    /// Frames what the transcript has ready.
    fn flush(&mut self) -> Result<(), Refusal> {
        let Some(payload) = self.transcript.take_ready() else { return Ok(()) };
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Refusal::answer_too_large());
        }
        self.record.commit(&payload);
        self.push(FrameKind::Data, &payload);
        Ok(())
    }

    fn push(&mut self, kind: FrameKind, payload: &[u8]) {
        self.frames.push_back(encode_frame(kind, self.count.completion, payload));
    }

    /// Stops the engine and signs: the one place where an answer gets its receipt.
    fn end(&mut self, finish: Finish, usage: Usage) -> SignedReceipt {
        self.generation = None;
        self.span.record(semconv::GEN_AI_RESPONSE_ID, self.record.chat_id());
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
        if self.generation.is_some() {
            let span = self.span.clone();
            let _entered = span.enter();
            let usage = self.count.usage();
            self.end(Finish::ClientAbort, usage);
        }
    }
}

fn logprob_bytes(token: &TokenLogprob) -> usize {
    let one = |token: &str, bytes: &[u8]| 64 + token.len() + 4 * bytes.len();
    let top: usize = token.top.iter().map(|top| one(&top.token, &top.bytes)).sum();
    one(&token.token, &token.bytes) + top
}

fn chat_finish(finish: FinishReason) -> chat::FinishReason {
    match finish {
        FinishReason::Stop => chat::FinishReason::Stop,
        FinishReason::Length => chat::FinishReason::Length,
        FinishReason::ToolCalls => chat::FinishReason::ToolCalls,
        FinishReason::ContentFilter => chat::FinishReason::ContentFilter,
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
