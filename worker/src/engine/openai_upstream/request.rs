//! The body for the server: the client's, with what must be ours written over it.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::{EngineError, Job};

/// Says who asked, or asks the server to keep something. The server needs none of it.
const PRIVATE: [&str; 6] =
    ["user", "metadata", "store", "safety_identifier", "prompt_cache_key", "service_tier"];

pub(super) fn body(job: &Job, model: &str) -> Result<Bytes, EngineError> {
    let parsed: Result<Map<String, Value>, _> = serde_json::from_slice(&job.raw);
    let mut body = parsed.map_err(|_| EngineError::InvalidRequest {
        message: "the body is not a JSON object".to_owned(),
        param: None,
        code: "invalid_json",
    })?;
    for name in PRIVATE {
        body.remove(name);
    }
    // A job is one choice, and the older name of the limit is the one that every server knows.
    body.remove("n");
    body.remove("max_completion_tokens");
    body.insert("max_tokens".to_owned(), job.max_tokens.into());
    body.insert("model".to_owned(), model.into());
    body.insert("stream".to_owned(), true.into());
    body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    Ok(serde_json::to_vec(&body).expect("a JSON value has a text form").into())
}
