//! The events of a streamed answer.
//!
//! Every event has a `type`, which is also the name of the server-sent event, and a
//! `sequence_number`, from 0 without a gap over the whole stream. A stream is `response.created`,
//! `response.in_progress`, the items one after the other, each from `added` to `done`, then one of
//! `response.completed`, `response.incomplete` and `response.failed`, and `[DONE]`.

use serde::Serialize;

use super::answer::{OutputItem, OutputPart, Response, SummaryPart};
use crate::chat::TokenLogprob;
use crate::error::ErrorObject;
use crate::sse;

/// What happened to an answer. `output_index` is the item's place in the output, `content_index`
/// the part's place in the item, `summary_index` the part's place in the item's summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Event<'a> {
    Created {
        response: &'a Response<'a>,
    },
    InProgress {
        response: &'a Response<'a>,
    },
    Completed {
        response: &'a Response<'a>,
    },
    /// The answer ended before its end: the response says why.
    Incomplete {
        response: &'a Response<'a>,
    },
    Failed {
        response: &'a Response<'a>,
    },
    OutputItemAdded {
        output_index: u32,
        item: &'a OutputItem,
    },
    OutputItemDone {
        output_index: u32,
        item: &'a OutputItem,
    },
    ContentPartAdded {
        item_id: &'a str,
        output_index: u32,
        content_index: u32,
        part: &'a OutputPart,
    },
    ContentPartDone {
        item_id: &'a str,
        output_index: u32,
        content_index: u32,
        part: &'a OutputPart,
    },
    OutputTextDelta {
        item_id: &'a str,
        output_index: u32,
        content_index: u32,
        delta: &'a str,
        /// Empty unless asked for.
        logprobs: &'a [TokenLogprob],
    },
    OutputTextDone {
        item_id: &'a str,
        output_index: u32,
        content_index: u32,
        text: &'a str,
        /// All of them again.
        logprobs: &'a [TokenLogprob],
    },
    ReasoningTextDelta {
        item_id: &'a str,
        output_index: u32,
        content_index: u32,
        delta: &'a str,
    },
    ReasoningTextDone {
        item_id: &'a str,
        output_index: u32,
        content_index: u32,
        text: &'a str,
    },
    ReasoningSummaryPartAdded {
        item_id: &'a str,
        output_index: u32,
        summary_index: u32,
        part: &'a SummaryPart,
    },
    ReasoningSummaryPartDone {
        item_id: &'a str,
        output_index: u32,
        summary_index: u32,
        part: &'a SummaryPart,
    },
    ReasoningSummaryTextDelta {
        item_id: &'a str,
        output_index: u32,
        summary_index: u32,
        delta: &'a str,
    },
    ReasoningSummaryTextDone {
        item_id: &'a str,
        output_index: u32,
        summary_index: u32,
        text: &'a str,
    },
    FunctionCallArgumentsDelta {
        item_id: &'a str,
        output_index: u32,
        delta: &'a str,
    },
    FunctionCallArgumentsDone {
        item_id: &'a str,
        output_index: u32,
        name: &'a str,
        arguments: &'a str,
    },
    CustomToolCallInputDelta {
        item_id: &'a str,
        output_index: u32,
        delta: &'a str,
    },
    CustomToolCallInputDone {
        item_id: &'a str,
        output_index: u32,
        input: &'a str,
    },
    /// Both of the shapes that clients look for: OpenAI's is flat, Open Responses' nested.
    Error {
        code: Option<&'a str>,
        message: &'a str,
        param: Option<&'a str>,
        error: &'a ErrorObject,
    },
}

impl Event<'_> {
    /// The event's `type`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "response.created",
            Self::InProgress { .. } => "response.in_progress",
            Self::Completed { .. } => "response.completed",
            Self::Incomplete { .. } => "response.incomplete",
            Self::Failed { .. } => "response.failed",
            Self::OutputItemAdded { .. } => "response.output_item.added",
            Self::OutputItemDone { .. } => "response.output_item.done",
            Self::ContentPartAdded { .. } => "response.content_part.added",
            Self::ContentPartDone { .. } => "response.content_part.done",
            Self::OutputTextDelta { .. } => "response.output_text.delta",
            Self::OutputTextDone { .. } => "response.output_text.done",
            Self::ReasoningTextDelta { .. } => "response.reasoning_text.delta",
            Self::ReasoningTextDone { .. } => "response.reasoning_text.done",
            Self::ReasoningSummaryPartAdded { .. } => "response.reasoning_summary_part.added",
            Self::ReasoningSummaryPartDone { .. } => "response.reasoning_summary_part.done",
            Self::ReasoningSummaryTextDelta { .. } => "response.reasoning_summary_text.delta",
            Self::ReasoningSummaryTextDone { .. } => "response.reasoning_summary_text.done",
            Self::FunctionCallArgumentsDelta { .. } => "response.function_call_arguments.delta",
            Self::FunctionCallArgumentsDone { .. } => "response.function_call_arguments.done",
            Self::CustomToolCallInputDelta { .. } => "response.custom_tool_call_input.delta",
            Self::CustomToolCallInputDone { .. } => "response.custom_tool_call_input.done",
            Self::Error { .. } => "error",
        }
    }

    /// Whether the event adds text that nobody should measure: such a one may have `obfuscation`.
    pub const fn is_delta(&self) -> bool {
        matches!(
            self,
            Self::OutputTextDelta { .. }
                | Self::ReasoningTextDelta { .. }
                | Self::ReasoningSummaryTextDelta { .. }
                | Self::FunctionCallArgumentsDelta { .. }
                | Self::CustomToolCallInputDelta { .. }
        )
    }

    /// The event's data: one line of JSON.
    pub fn to_json(&self, sequence_number: u64) -> Vec<u8> {
        #[derive(Serialize)]
        struct Numbered<'a> {
            #[serde(rename = "type")]
            name: &'static str,
            sequence_number: u64,
            #[serde(flatten)]
            event: &'a Event<'a>,
        }
        let numbered = Numbered { name: self.name(), sequence_number, event: self };
        serde_json::to_vec(&numbered).expect("an event has string keys and finite numbers")
    }

    /// Appends an event whose data is `json`, as [`Event::to_json`] made it.
    pub fn write(&self, json: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(self.name().as_bytes());
        out.push(b'\n');
        sse::encode(out, json);
    }
}

/// Appends the end of a stream that failed: `error`, which every client takes for a failure, then
/// `response.failed` with `response`, then `[DONE]`. The first event has `sequence_number`.
pub fn failure(
    error: &ErrorObject,
    response: &Response<'_>,
    sequence_number: u64,
    out: &mut Vec<u8>,
) {
    let told = Event::Error {
        code: error.code.as_deref(),
        message: &error.message,
        param: error.param.as_deref(),
        error,
    };
    let failed = Event::Failed { response };
    told.write(&told.to_json(sequence_number), out);
    failed.write(&failed.to_json(sequence_number.saturating_add(1)), out);
    out.extend_from_slice(sse::DONE);
}
