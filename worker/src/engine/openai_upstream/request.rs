//! The body for the server: what of the client's body may pass, and what must be ours.
//!
//! Only parameters of the OpenAI API that shape one answer of text pass. Servers know many more,
//! and a client must not reach them: `best_of` and `min_tokens` make work that nobody pays for,
//! `priority` overtakes others, `chat_template` runs the client's own program, `ignore_eos` turns
//! every answer into the longest one. Nothing that says who asked passes either.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::{EngineError, Job};

/// What passes as the client wrote it. The worker's surface has checked the shapes; `messages`
/// are passed whole because servers render their own templates.
const PASSED: [&str; 16] = [
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "messages",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "verbosity",
];

pub(super) fn body(job: &Job, model: &str, continuous_usage: bool) -> Result<Bytes, EngineError> {
    let parsed: Result<Map<String, Value>, _> = serde_json::from_slice(&job.raw);
    let mut body = parsed.map_err(|_| EngineError::InvalidRequest {
        message: "the body is not a JSON object".to_owned(),
        param: None,
        code: "invalid_json",
    })?;
    body.retain(|name, _| PASSED.contains(&name.as_str()));
    // The older name of the limit is the one that every server knows.
    body.insert("max_tokens".to_owned(), job.max_tokens.into());
    body.insert("model".to_owned(), model.into());
    body.insert("stream".to_owned(), true.into());
    let mut options = json!({ "include_usage": true });
    if continuous_usage {
        options["continuous_usage_stats"] = true.into();
    }
    body.insert("stream_options".to_owned(), options);
    Ok(serde_json::to_vec(&body).expect("a JSON value has a text form").into())
}
