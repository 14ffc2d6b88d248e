//! Chat completions: the request as a typed view, and the two shapes of an answer.
//!
//! A [`ChatRequest`] keeps what it does not know in `extra` and never refuses a field for being
//! unknown. Whether a known one can be honoured is for the server to decide. An answer is either
//! one [`ChatCompletion`] or a series of [`ChatCompletionChunk`]s; both serialise with every key
//! that the API requires, `null` where there is nothing to say, and both read the looser forms
//! that other servers send.

mod answer;
mod format;
mod message;
mod request;
mod tool;

pub use answer::{
    AnswerMessage, ChatCompletion, ChatCompletionChunk, Choice, ChunkChoice, CompletionDetails,
    Delta, FinishReason, Logprobs, PromptDetails, TokenLogprob, ToolCall, ToolCallDelta,
    ToolFunction, ToolFunctionDelta, TopLogprob, Usage,
};
pub use format::{NamedSchema, ResponseFormat};
pub(crate) use message::content;
pub use message::{Content, Message, Part, Role};
pub use request::{ChatRequest, Effort, StreamOptions, TOP_LOGPROBS_MAX};
pub(crate) use request::{effort, logit_bias, stop, stream_options};
pub use tool::{FunctionTool, Tool, ToolChoice};
