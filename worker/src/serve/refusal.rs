//! What cannot be served: a status, OpenAI's error object, and whether another worker may do
//! better. A 400-class refusal is the client's own fault and reaches it unchanged.

use bytes::Bytes;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::error::{ErrorBody, ErrorObject, InvalidRequest, kind};
use cocoon_uplink_wire::headers;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::body::UplinkBody;
use super::sealed::Envelope;
use crate::engine::EngineError;

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// Clients ignore a longer wait, or give up over it.
const RETRY_AFTER_MS_MAX: u64 = 60_000;
/// Until requests are forgotten, which takes minutes.
const REPLAYS_FULL_WAIT_MS: u64 = 10_000;
pub(super) const SEALED_TYPE: HeaderValue = HeaderValue::from_static(cocoon_seal::CONTENT_TYPE);
/// Keeps the whole body far under the bound of a refusal.
const MESSAGE_CHARS_MAX: usize = 2000;

/// Why a request gets no answer.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    /// Another worker may do better.
    is_retryable: bool,
    retry_after_ms: Option<u64>,
    body: ErrorBody,
}

/// How a request names its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    Of(Endpoint),
    /// A chat completion's, with `functions` for its tools.
    Deprecated,
}

impl Words {
    /// What the request calls a parameter, where that is not what an engine calls it.
    fn name(self, param: &str) -> Option<&'static str> {
        let endpoint = match self {
            Self::Of(endpoint) => endpoint,
            Self::Deprecated => Endpoint::ChatCompletions,
        };
        match (param, self) {
            ("messages" | "prompt" | "input", _) => Some(endpoint.content_param()),
            ("max_completion_tokens" | "max_tokens", _) => {
                Some(endpoint.limit_param().unwrap_or("input"))
            }
            ("response_format", Self::Of(Endpoint::Responses)) => Some("text.format"),
            ("reasoning_effort", Self::Of(Endpoint::Responses)) => Some("reasoning.effort"),
            ("tool_choice", Self::Deprecated) => Some("function_call"),
            ("tools", Self::Deprecated) => Some("functions"),
            _ => None,
        }
    }
}

impl Refusal {
    fn new(status: StatusCode, body: ErrorBody) -> Self {
        Self { status, is_retryable: false, retry_after_ms: None, body }
    }

    pub(super) fn unknown_route() -> Self {
        let body = ErrorBody::new(kind::INVALID_REQUEST, "Unknown request URL.");
        Self::new(StatusCode::NOT_FOUND, body.code("unknown_url"))
    }

    /// The gateway chose a worker that does not serve the model, so another one may.
    pub(super) fn unknown_model() -> Self {
        let body = ErrorBody::new(kind::INVALID_REQUEST, "The model does not exist.");
        let body = body.code("model_not_found").param("model");
        Self { is_retryable: true, ..Self::new(StatusCode::NOT_FOUND, body) }
    }

    /// The gateway left out, or garbled, what no answer starts without.
    pub(super) fn bad_head(header: &str) -> Self {
        Self::internal(&format!("the header {header} is missing or malformed"))
    }

    pub(super) fn prompt_over_limit() -> Self {
        Self::internal("the prompt has more tokens than were reserved for it")
    }

    /// The client set the limit itself.
    pub(super) fn prompt_over_sealed_limit() -> Self {
        let message = "The prompt has more tokens than 'Cocoon-Max-Prompt-Tokens' allows.";
        InvalidRequest::param("sealed_limit_exceeded", "cocoon-max-prompt-tokens", message).into()
    }

    /// Nobody counts the prompt before it is answered, so the limit has to cover all of it.
    pub(super) fn sealed_limit_too_low(bound: u64) -> Self {
        let message = format!(
            "The model's prompts are not counted before they are answered: \
             'Cocoon-Max-Prompt-Tokens' must be at least {bound} for this request."
        );
        InvalidRequest::param("sealed_limit_exceeded", "cocoon-max-prompt-tokens", message).into()
    }

    pub(super) fn answer_too_large() -> Self {
        let message = "The answer grew too large to send.";
        let body = ErrorBody::new(kind::SERVER, message).code("answer_too_large");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, body)
    }

    /// A fault between gateway and worker, which no client can mend.
    pub(super) fn internal(why: &str) -> Self {
        tracing::warn!("a request was refused: {why}");
        let message = "The worker could not serve the request.";
        let body = ErrorBody::new(kind::SERVER, message).code("worker_refused");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, body)
    }

    /// The gateway states other terms than the client sealed.
    pub(super) fn other_terms(header: &str) -> Self {
        Self::internal(&format!("the terms do not agree with the header {header}"))
    }

    /// The request cannot be opened here: it has to be sealed anew, or another worker can.
    pub(super) fn seal_key_config() -> Self {
        let message = "The worker cannot open the sealed request. Please fetch its key again.";
        let body = ErrorBody::new(kind::INVALID_REQUEST, message).code("e2ee_key_config");
        let refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, body);
        Self { is_retryable: true, ..refusal }
    }

    pub(super) fn sealed_replay() -> Self {
        let message = "The sealed request was taken before.";
        let body = ErrorBody::new(kind::INVALID_REQUEST, message).code("sealed_request_replayed");
        Self::new(StatusCode::CONFLICT, body)
    }

    /// What cannot be remembered cannot be taken.
    pub(super) fn replays_full() -> Self {
        tracing::warn!("a sealed request was refused: too many are remembered");
        Self::from(EngineError::Overloaded { retry_after_ms: REPLAYS_FULL_WAIT_MS })
    }

    /// Whether the engine failed over the request, and so may have worked on it.
    pub(super) fn is_engine_failure(&self) -> bool {
        matches!(self.status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
    }

    pub(super) fn code(&self) -> &str {
        self.body.error.code.as_deref().unwrap_or_default()
    }

    pub(super) fn into_response(self) -> Response<UplinkBody> {
        let body = self.body.to_json().into();
        self.respond(body, HeaderValue::from_static("application/json"))
    }

    /// The same for the client's eyes alone: the status and whether to retry stay clear.
    pub(super) fn into_sealed_response(self, envelope: Envelope) -> Response<UplinkBody> {
        let Some(body) = envelope.refuse(self.status.as_u16(), &self.body.to_json()) else {
            return self.bare().into_response();
        };
        let mut response = self.respond(body, SEALED_TYPE);
        let sealed = HeaderName::from_static(cocoon_seal::headers::SEALED);
        response.headers_mut().insert(sealed, HeaderValue::from_static("1"));
        response
    }

    /// What a gateway may know of a sealed request's refusal: its status, and a code where that
    /// tells of the worker alone and the gateway routes by it.
    pub(super) fn bare(&self) -> Self {
        let message = "The worker could not serve the request.";
        let kind = self.body.error.kind.clone();
        Self { body: ErrorBody::new(kind, message).code(self.bare_code()), ..*self }
    }

    pub(super) fn bare_code(&self) -> &str {
        match self.code() {
            code @ ("engine_failed" | "overloaded") => code,
            _ => "worker_refused",
        }
    }

    fn respond(self, body: Bytes, content_type: HeaderValue) -> Response<UplinkBody> {
        let mut response = Response::new(UplinkBody::whole(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        if self.is_retryable {
            headers.insert(headers::RETRYABLE, HeaderValue::from_static("1"));
        }
        if let Some(wait_ms) = self.retry_after_ms {
            headers.insert(RETRY_AFTER_MS, wait_ms.into());
            headers.insert(RETRY_AFTER, wait_ms.div_ceil(1000).into());
        }
        response
    }

    /// Names the parameter as the request does: engines speak of chat completions.
    pub(super) fn about(mut self, words: Words) -> Self {
        if let Some(param) = &mut self.body.error.param
            && let Some(name) = words.name(param)
        {
            name.clone_into(param);
        }
        self
    }

    pub(super) fn error(&self) -> &ErrorObject {
        &self.body.error
    }

    /// The payload of an error frame, for a failure after the head. `event` is what tells the
    /// client of it in its own protocol, where that has words for it.
    pub(super) fn to_frame_payload(&self, event: Option<String>) -> Bytes {
        #[derive(Serialize)]
        struct Payload<'a> {
            status: u16,
            retryable: bool,
            #[serde(flatten)]
            body: &'a ErrorBody,
            #[serde(skip_serializing_if = "Option::is_none")]
            event: Option<String>,
        }
        let (status, retryable) = (self.status.as_u16(), self.is_retryable);
        let payload = Payload { status, retryable, body: &self.body, event };
        serde_json::to_vec(&payload).expect("an error object has string keys").into()
    }
}

impl From<InvalidRequest> for Refusal {
    fn from(invalid: InvalidRequest) -> Self {
        Self::new(StatusCode::BAD_REQUEST, invalid.into())
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let is_retryable = error.retryable();
        let mut retry_after_ms = None;
        let (status, kind, code, message) = match &error {
            EngineError::InvalidRequest { message, code, .. } => {
                (StatusCode::BAD_REQUEST, kind::INVALID_REQUEST, *code, message.clone())
            }
            EngineError::ContextLengthExceeded { prompt, limit } => {
                let message = format!(
                    "Input tokens exceed the configured limit: this model's maximum context \
                     length is {limit} tokens, and your request resulted in {prompt} tokens. \
                     Please reduce its length."
                );
                let code = "context_length_exceeded";
                (StatusCode::BAD_REQUEST, kind::INVALID_REQUEST, code, message)
            }
            EngineError::Overloaded { retry_after_ms: wait_ms } => {
                retry_after_ms = Some((*wait_ms).clamp(1, RETRY_AFTER_MS_MAX));
                let message = "The worker is overloaded. Please retry shortly.".to_owned();
                (StatusCode::SERVICE_UNAVAILABLE, kind::UNAVAILABLE, "overloaded", message)
            }
            EngineError::Unavailable => {
                let message = "The engine is restarting. Please retry shortly.".to_owned();
                (StatusCode::SERVICE_UNAVAILABLE, kind::UNAVAILABLE, "engine_unavailable", message)
            }
            EngineError::Crashed => {
                let message = "The engine failed while it served the request.".to_owned();
                (StatusCode::BAD_GATEWAY, kind::SERVER, "engine_failed", message)
            }
            EngineError::Timeout => {
                let message = "The engine took too long.".to_owned();
                (StatusCode::GATEWAY_TIMEOUT, kind::SERVER, "engine_timeout", message)
            }
        };
        let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
        let mut body = ErrorBody::new(kind, message).code(code);
        body.error.param = match error {
            EngineError::InvalidRequest { param, .. } => param,
            EngineError::ContextLengthExceeded { .. } => Some("messages".to_owned()),
            _ => None,
        };
        Self { status, is_retryable, retry_after_ms, body }
    }
}
