//! The error object that every OpenAI client reads: `message`, `type`, `param` and `code`, all
//! four always there, with room for further keys beside them.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The values of `error.type` that clients know.
pub mod kind {
    pub const INVALID_REQUEST: &str = "invalid_request_error";
    pub const AUTHENTICATION: &str = "authentication_error";
    pub const PERMISSION: &str = "permission_error";
    pub const NOT_FOUND: &str = "not_found_error";
    pub const INSUFFICIENT_FUNDS: &str = "insufficient_funds_error";
    pub const RATE_LIMIT: &str = "rate_limit_error";
    pub const SERVER: &str = "server_error";
    pub const UNAVAILABLE: &str = "service_unavailable_error";
}

/// The whole body of a refusal: `{"error": {…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorObject,
}

/// What went wrong. Reading tolerates absent keys and numeric codes, as other servers send them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorObject {
    #[serde(default)]
    pub message: String,
    #[serde(rename = "type", default = "server_kind", deserialize_with = "kind_or_server")]
    pub kind: Cow<'static, str>,
    #[serde(default, deserialize_with = "text_or_number")]
    pub param: Option<String>,
    #[serde(default, deserialize_with = "text_or_number")]
    pub code: Option<String>,
    /// Further keys, such as `request_id` or `metadata`.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ErrorBody {
    pub fn new(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (kind, message) = (kind.into(), message.into());
        Self { error: ErrorObject { message, kind, param: None, code: None, extra: Map::new() } }
    }

    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.error.code = Some(code.into());
        self
    }

    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.error.param = Some(param.into());
        self
    }

    /// Adds a key beside the four; one of the four names is ignored.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        if !["message", "type", "param", "code"].contains(&key) {
            self.error.extra.insert(key.to_owned(), value.into());
        }
        self
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an error object has string keys and finite values")
    }
}

/// A request that its sender has to change before it can succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidRequest {
    /// A sentence for the person who wrote the request; it never repeats what they sent.
    pub message: String,
    /// The parameter at fault, as in `messages[0].content`; `None` where the whole body is.
    pub param: Option<String>,
    pub code: &'static str,
}

impl InvalidRequest {
    pub fn body(code: &'static str, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: None, code }
    }

    pub fn param(code: &'static str, param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()), code }
    }

    pub(crate) fn wrong_type(param: &str, expected: &str, got: &str) -> Self {
        let message = format!("Invalid type for '{param}': expected {expected}, but got {got}.");
        Self::param("invalid_type", param, message)
    }

    pub(crate) fn missing(param: &str) -> Self {
        let message = format!("Missing required parameter: '{param}'.");
        Self::param("missing_required_parameter", param, message)
    }

    /// A parameter that is understood but would change the answer in a way that cannot be kept.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::param("unsupported_parameter", param, message)
    }
}

impl From<InvalidRequest> for ErrorBody {
    fn from(invalid: InvalidRequest) -> Self {
        let body = Self::new(kind::INVALID_REQUEST, invalid.message).code(invalid.code);
        match invalid.param {
            Some(param) => body.param(param),
            None => body,
        }
    }
}

fn server_kind() -> Cow<'static, str> {
    Cow::Borrowed(kind::SERVER)
}

fn kind_or_server<'de, D: Deserializer<'de>>(input: D) -> Result<Cow<'static, str>, D::Error> {
    Ok(text_or_number(input)?.map_or_else(server_kind, Cow::Owned))
}

fn text_or_number<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_keys_are_always_there() {
        let body = ErrorBody::new(kind::SERVER, "no worker").with("request_id", "req_1");
        let value: Value = serde_json::from_slice(&body.to_json()).unwrap();
        let expected = serde_json::json!({"error": {
            "message": "no worker", "type": "server_error", "param": null, "code": null,
            "request_id": "req_1",
        }});
        assert_eq!(value, expected);
    }

    #[test]
    fn an_extra_key_never_shadows_one_of_the_four() {
        let body = ErrorBody::new(kind::SERVER, "kept").with("message", "lost");
        assert_eq!(body.to_json().windows(4).filter(|part| part == b"kept").count(), 1);
        assert!(body.error.extra.is_empty());
    }

    #[test]
    fn foreign_errors_are_read_with_defaults() {
        let read = |text: &str| serde_json::from_str::<ErrorBody>(text).unwrap().error;
        assert_eq!(read(r#"{"error":{"message":"m","code":429}}"#).code.as_deref(), Some("429"));
        assert_eq!(read(r#"{"error":{"type":null}}"#).kind, kind::SERVER);
    }
}
