//! From engine events to the answer object, and to the events that build it up.
//!
//! One state machine for both shapes, so that a stream and a whole answer end in the same object:
//! a stream also writes what happens. Deltas that arrive before anybody takes them are merged.
//! Nothing is written before the first delta or the end, so that a failure before it is a real
//! status.

use std::sync::Arc;

use cocoon_openai_wire::error::ErrorObject;
use cocoon_openai_wire::responses::{
    self, Echo, Event, IncompleteDetails, IncompleteReason, OutputItem, OutputPart, Response,
    Status, SummaryPart, Usage,
};
use cocoon_openai_wire::sse;
use cocoon_primitives::Clock;

use super::ResponsesShape;
use super::items::{self, Ids, Open};
use crate::engine::{self, Channel, FinishReason, TokenLogprob};
use crate::serve::padding::Padding;
use crate::serve::record::Record;
use crate::serve::transcript::{Call, chat_logprobs};

/// The end of a failed stream repeats the output so far, up to this; a longer one is left out.
const FAILURE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An answer as it grows.
pub(in crate::serve) struct ResponsesTranscript {
    id: String,
    created: u64,
    clock: Arc<dyn Clock>,
    echo: Echo,
    has_logprobs: bool,
    has_summary: bool,
    /// Custom tools, which the model knows as functions.
    customs: Vec<String>,
    ids: Ids,
    /// Items that have ended, in order.
    output: Vec<OutputItem>,
    open: Option<Open>,
    has_calls: bool,
    finish: FinishReason,
    /// `None` where the answer leaves in one piece.
    wire: Option<Wire>,
}

/// The stream's side.
struct Wire {
    sequence_number: u64,
    is_padded: bool,
    padding: Padding,
    has_begun: bool,
    /// Events that are complete.
    ready: Vec<u8>,
}

impl ResponsesTranscript {
    pub(in crate::serve) fn new(shape: ResponsesShape, record: &Record) -> Self {
        let ids = Ids::new(record);
        let wire = shape.is_stream.then(|| Wire::new(shape.is_padded, &ids));
        Self {
            id: record.answer_id().to_owned(),
            created: record.created(),
            clock: record.clock(),
            echo: shape.echo,
            has_logprobs: shape.has_logprobs,
            has_summary: shape.has_summary,
            customs: shape.customs,
            ids,
            output: Vec::new(),
            open: None,
            has_calls: false,
            finish: FinishReason::Stop,
            wire,
        }
    }

    pub(in crate::serve) fn delta(
        &mut self,
        channel: Channel,
        text: &str,
        logprobs: Vec<TokenLogprob>,
    ) {
        let has_logprobs = self.has_logprobs && channel == Channel::Content;
        if text.is_empty() && (logprobs.is_empty() || !has_logprobs) {
            return;
        }
        self.open(channel);
        let Some(open) = &mut self.open else { return };
        open.text.push_str(text);
        if has_logprobs {
            open.logprobs.extend(chat_logprobs(logprobs));
        }
    }

    /// A whole call: added, one delta, done.
    pub(in crate::serve) fn call(&mut self, call: Call) {
        self.close(Status::Completed);
        self.begin();
        self.has_calls = true;
        let item = items::call(call, &self.customs, &mut self.ids);
        let output_index = self.index();
        if let Some(wire) = &mut self.wire {
            wire.call(output_index, &item);
        }
        self.output.push(item);
    }

    pub(in crate::serve) fn has_calls(&self) -> bool {
        self.has_calls
    }

    pub(in crate::serve) fn is_stream(&self) -> bool {
        self.wire.is_some()
    }

    pub(in crate::serve) fn take_ready(&mut self) -> Option<Vec<u8>> {
        self.write_delta();
        let wire = self.wire.as_mut()?;
        (!wire.ready.is_empty()).then(|| std::mem::take(&mut wire.ready))
    }

    /// The last item has ended, in the middle if `finish` says so.
    pub(in crate::serve) fn end(&mut self, finish: FinishReason) {
        self.finish = finish;
        let status = match finish {
            FinishReason::Stop | FinishReason::ToolCalls => Status::Completed,
            FinishReason::Length | FinishReason::ContentFilter => Status::Incomplete,
        };
        let has_spoken = self.output.iter().any(|item| !items::is_reasoning(item))
            || self.open.as_ref().is_some_and(|open| open.channel == Channel::Content);
        self.close(status);
        // An answer of nothing is an empty message: clients look for one.
        if !has_spoken && status == Status::Completed {
            self.open(Channel::Content);
            self.close(status);
        }
        self.begin();
    }

    /// The last payload. Call [`ResponsesTranscript::end`] and
    /// [`ResponsesTranscript::take_ready`] first.
    pub(in crate::serve) fn finish(&mut self, usage: engine::Usage) -> Vec<u8> {
        let usage = Usage::new(usage.prompt, usage.cached, usage.completion, usage.reasoning);
        let begun = Response::begun(&self.id, self.created, &self.echo);
        let ended = Response { output: &self.output, usage: Some(usage), ..begun };
        let incomplete = |reason| Response {
            status: Status::Incomplete,
            incomplete_details: Some(IncompleteDetails { reason }),
            ..ended.clone()
        };
        let response = match self.finish {
            FinishReason::Length => incomplete(IncompleteReason::MaxOutputTokens),
            FinishReason::ContentFilter => incomplete(IncompleteReason::ContentFilter),
            FinishReason::Stop | FinishReason::ToolCalls => {
                let now = self.clock.now().as_seconds();
                let completed_at = Some(now.max(self.created));
                Response { status: Status::Completed, completed_at, ..ended }
            }
        };
        let Some(wire) = &mut self.wire else { return response.to_json() };
        wire.emit(&match response.status {
            Status::Incomplete => Event::Incomplete { response: &response },
            _ => Event::Completed { response: &response },
        });
        wire.ready.extend_from_slice(sse::DONE);
        std::mem::take(&mut wire.ready)
    }

    /// What tells the client of a failure in this protocol's own events; a whole answer has no
    /// such words.
    pub(in crate::serve) fn failure(&mut self, error: &ErrorObject) -> Option<String> {
        self.begin();
        if let Some(open) = self.open.take() {
            self.output.push(open.into_item(Status::Incomplete));
        }
        let wire = self.wire.as_mut()?;
        let begun = std::mem::take(&mut wire.ready);
        let mut text = begun.clone();
        let (id, created) = (self.id.as_str(), self.created);
        let response = Response::failed(id, created, &self.echo, &self.output, error);
        responses::failure(error, &response, wire.sequence_number, &mut text);
        if text.len() > FAILURE_BYTES_MAX {
            text = begun;
            let echo = Echo::unknown(self.echo.model.clone());
            let response = Response::failed(id, created, &echo, &[], error);
            responses::failure(error, &response, wire.sequence_number, &mut text);
        }
        wire.sequence_number = wire.sequence_number.saturating_add(2);
        String::from_utf8(text).ok()
    }

    /// The place of the next item.
    fn index(&self) -> u32 {
        u32::try_from(self.output.len()).unwrap_or(u32::MAX)
    }

    /// An item of this channel is open.
    fn open(&mut self, channel: Channel) {
        if self.open.as_ref().is_some_and(|open| open.channel == channel) {
            return;
        }
        self.close(Status::Completed);
        self.begin();
        let open = Open::new(channel, self.index(), self.has_summary, &mut self.ids);
        if let Some(wire) = &mut self.wire {
            wire.open(&open);
        }
        self.open = Some(open);
    }

    /// Writes what the open item grew by.
    fn write_delta(&mut self) {
        if let (Some(open), Some(wire)) = (&mut self.open, &mut self.wire) {
            wire.delta(open);
        }
    }

    /// Ends the open item.
    fn close(&mut self, status: Status) {
        self.write_delta();
        let Some(open) = self.open.take() else { return };
        let output_index = open.output_index;
        let item = open.into_item(status);
        if let Some(wire) = &mut self.wire {
            wire.close(output_index, &item);
        }
        self.output.push(item);
    }

    /// The first two events.
    fn begin(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        if !std::mem::replace(&mut wire.has_begun, true) {
            let response = &Response::begun(&self.id, self.created, &self.echo);
            wire.emit(&Event::Created { response });
            wire.emit(&Event::InProgress { response });
        }
    }
}

impl Wire {
    fn new(is_padded: bool, ids: &Ids) -> Self {
        let item_id = &ids.message_id();
        let empty = Event::OutputTextDelta {
            item_id,
            output_index: 0,
            content_index: 0,
            delta: "",
            logprobs: &[],
        };
        let padding = Padding::of_events(empty.to_json(0).len());
        Self { sequence_number: 0, is_padded, padding, has_begun: false, ready: Vec::new() }
    }

    fn emit(&mut self, event: &Event<'_>) {
        let mut json = event.to_json(self.sequence_number);
        self.sequence_number = self.sequence_number.saturating_add(1);
        if self.is_padded && event.is_delta() {
            self.padding.close_event(&mut json);
        }
        event.write(&json, &mut self.ready);
    }

    fn open(&mut self, open: &Open) {
        let (item_id, output_index) = (open.id.as_str(), open.output_index);
        let item = &open.begun();
        self.emit(&Event::OutputItemAdded { output_index, item });
        let part = &open.empty_part();
        self.emit(&Event::ContentPartAdded { item_id, output_index, content_index: 0, part });
        if let Some(part) = &open.empty_summary() {
            let summary_index = 0;
            self.emit(&Event::ReasoningSummaryPartAdded {
                item_id,
                output_index,
                summary_index,
                part,
            });
        }
    }

    fn delta(&mut self, open: &mut Open) {
        let delta = &open.text[open.text_written..];
        let logprobs = &open.logprobs[open.logprobs_written..];
        if delta.is_empty() && logprobs.is_empty() {
            return;
        }
        let (item_id, output_index, content_index) = (open.id.as_str(), open.output_index, 0);
        self.emit(&match open.channel {
            Channel::Content => {
                Event::OutputTextDelta { item_id, output_index, content_index, delta, logprobs }
            }
            Channel::Reasoning => {
                Event::ReasoningTextDelta { item_id, output_index, content_index, delta }
            }
        });
        if open.has_summary {
            let summary_index = 0;
            self.emit(&Event::ReasoningSummaryTextDelta {
                item_id,
                output_index,
                summary_index,
                delta,
            });
        }
        open.text_written = open.text.len();
        open.logprobs_written = open.logprobs.len();
    }

    fn close(&mut self, output_index: u32, item: &OutputItem) {
        let (item_id, content_index) = (item.id(), 0);
        for part in items::parts(item) {
            self.emit(&match part {
                OutputPart::OutputText { text, logprobs, .. } => {
                    Event::OutputTextDone { item_id, output_index, content_index, text, logprobs }
                }
                OutputPart::ReasoningText { text } => {
                    Event::ReasoningTextDone { item_id, output_index, content_index, text }
                }
            });
            self.emit(&Event::ContentPartDone { item_id, output_index, content_index, part });
        }
        for part in items::summaries(item) {
            let (SummaryPart::SummaryText { text }, summary_index) = (part, 0);
            self.emit(&Event::ReasoningSummaryTextDone {
                item_id,
                output_index,
                summary_index,
                text,
            });
            self.emit(&Event::ReasoningSummaryPartDone {
                item_id,
                output_index,
                summary_index,
                part,
            });
        }
        self.emit(&Event::OutputItemDone { output_index, item });
    }

    fn call(&mut self, output_index: u32, item: &OutputItem) {
        let begun = &items::begun_call(item);
        self.emit(&Event::OutputItemAdded { output_index, item: begun });
        let item_id = item.id();
        match item {
            OutputItem::FunctionCall { name, arguments, .. } => {
                let delta = arguments;
                self.emit(&Event::FunctionCallArgumentsDelta { item_id, output_index, delta });
                let done =
                    Event::FunctionCallArgumentsDone { item_id, output_index, name, arguments };
                self.emit(&done);
            }
            OutputItem::CustomToolCall { input, .. } => {
                let delta = input;
                self.emit(&Event::CustomToolCallInputDelta { item_id, output_index, delta });
                self.emit(&Event::CustomToolCallInputDone { item_id, output_index, input });
            }
            OutputItem::Message { .. } | OutputItem::Reasoning { .. } => {}
        }
        self.emit(&Event::OutputItemDone { output_index, item });
    }
}
