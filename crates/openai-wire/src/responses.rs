//! The Responses API: the request as a typed view, the answer object, and the events of a stream.
//!
//! A [`ResponsesRequest`] keeps what it does not know in `extra` and never refuses a field, an
//! item or a tool for being unknown; whether a known one can be honoured is for the server to
//! decide. An answer is one [`Response`], or a row of numbered [`Event`]s that builds one up and
//! ends with it whole. Both have every key that OpenAI's schema and Open Responses' require,
//! `null` where there is nothing to say, and repeat the request's parameters ([`Echo`]).
//!
//! The API can be had without storage: nothing here refers to an earlier answer.
//! Source: the OpenAI API reference for responses, and the Open Responses specification.

mod answer;
mod event;
mod item;
mod request;
mod tool;

pub use answer::{
    Echo, FormatEcho, IncompleteDetails, IncompleteReason, InputDetails, OutputDetails, OutputItem,
    OutputPart, ReasoningEcho, Response, ResponseError, Status, SummaryPart, TextEcho, ToolEcho,
    Usage,
};
pub use event::{Event, failure};
pub use item::{Item, MessageRole};
pub use request::{
    INCLUDE_LOGPROBS, METADATA_PAIRS_MAX, ResponsesRequest, Summary, TextFormat, Verbosity,
};
pub use tool::{AllowedTool, Tool, ToolChoice};
