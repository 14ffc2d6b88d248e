//! The OpenAI API's shapes: what clients send, what they must get back, and the event stream
//! between them.
//!
//! Liberal in, strict out: an unknown field is never a reason to refuse a request, and every
//! answer has all the keys that the strictest client checks. A refusal is an [`error::ErrorBody`]
//! with its four keys, and names the parameter at fault.
//!
//! Pure: no clock, no randomness, no IO. Every decoder is bounded and never panics.
//! Source: the OpenAI API reference for chat completions, and the HTML standard for event streams.

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod endpoint;
pub mod error;
mod fields;
pub mod inputs;
pub mod peek;
pub mod responses;
pub mod sse;
