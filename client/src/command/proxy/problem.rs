//! Every way in which the proxy refuses, in the error object that OpenAI's clients read.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use cocoon_openai_wire::error::{ErrorBody, InvalidRequest, kind};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::trust::Doubt;

/// `error.type` where something that has to be proven is not.
const VERIFICATION: &str = "cocoon_verification_error";
/// `error.code` where a refusal has no words of the gateway's.
pub(super) const WORDLESS: &str = "gateway_error";
/// OpenAI's clients try again on most 5xx; where that cannot help they are told so.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a request is not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Doubt(#[from] Doubt),
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the body did not arrive in time")]
    Slow,
    #[error("the proxy has too many requests open")]
    Busy,
    #[error("{method} {path} cannot be sealed, so this proxy does not pass it on; {hint}")]
    Unsealable { method: String, path: String, hint: &'static str },
    #[error("the request came {0}; this proxy answers programs on its own machine")]
    Foreign(&'static str),
    #[error("no API key: send one as a bearer token, or start the proxy with --api-key")]
    NoKey,
    #[error("the gateway cannot be reached, or its connection broke")]
    Unreachable,
    /// After the request was sent: somebody may have answered it.
    #[error("the connection to the gateway broke before an answer came")]
    Lost,
    #[error("the body is of type {0}; only application/json is taken")]
    NotJson(String),
    #[error("the answers that are open take too much memory; this one is lost")]
    NoRoom,
    #[error("the gateway's answer has another shape than expected: {0}")]
    Shape(&'static str),
    /// What the gateway or the worker said itself.
    #[error("refused")]
    Told(Box<Told>),
}

/// An error answer that is passed on.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: ErrorBody,
}

impl Told {
    /// Whether something between here and the gateway said it, which does not know what the gateway
    /// did.
    fn is_somebody_else_s(&self) -> bool {
        self.body.error.code.as_deref() == Some(WORDLESS)
    }
}

impl Problem {
    /// Whether the answer says that no worker could open the request: its keys are stale.
    pub(super) fn is_stale_key(&self) -> bool {
        match self {
            Self::Told(told) => {
                told.status == StatusCode::UNPROCESSABLE_ENTITY
                    && told.body.error.code.as_deref() == Some("e2ee_key_config")
            }
            _ => false,
        }
    }

    /// Whether nothing was sent.
    pub(super) fn is_unsent(&self) -> bool {
        matches!(self, Self::Unreachable)
    }

    /// Whether the gateway refused the request itself. A conflict is about an earlier one that had
    /// the same id.
    pub(super) fn is_client_error(&self) -> bool {
        matches!(self, Self::Told(told) if told.status.is_client_error()
            && told.status != StatusCode::CONFLICT)
    }

    /// Whether the gateway said that no answer was made: then there is nothing to charge.
    pub(super) fn says_uncharged(&self) -> bool {
        let is_failure = |told: &Told| told.status.is_server_error() && !told.is_somebody_else_s();
        self.is_stale_key() || matches!(self, Self::Told(told) if is_failure(told))
    }

    /// Whether an answer may have been made that did not come.
    pub(super) fn may_have_run(&self) -> bool {
        match self {
            Self::Lost | Self::Doubt(_) | Self::Shape(_) => true,
            Self::Told(told) => told.status.is_server_error() && told.is_somebody_else_s(),
            _ => false,
        }
    }

    fn shape(&self) -> (StatusCode, ErrorBody) {
        let say =
            |kind: &'static str, code: &str| ErrorBody::new(kind, self.to_string()).code(code);
        match self {
            Self::Doubt(doubt) => (StatusCode::BAD_GATEWAY, say(VERIFICATION, doubt.code)),
            Self::Invalid(invalid) => (StatusCode::BAD_REQUEST, invalid.clone().into()),
            Self::TooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, say(kind::INVALID_REQUEST, "request_too_large"))
            }
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, say(kind::INVALID_REQUEST, "body_timeout")),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, say(kind::UNAVAILABLE, "proxy_busy")),
            Self::Unsealable { .. } => {
                (StatusCode::NOT_IMPLEMENTED, say(kind::INVALID_REQUEST, "route_not_sealable"))
            }
            Self::Foreign(_) => (StatusCode::FORBIDDEN, say(kind::PERMISSION, "foreign_origin")),
            Self::NoKey => (StatusCode::UNAUTHORIZED, say(kind::AUTHENTICATION, "missing_api_key")),
            Self::NotJson(_) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                say(kind::INVALID_REQUEST, "unsupported_media_type"),
            ),
            Self::NoRoom => {
                (StatusCode::SERVICE_UNAVAILABLE, say(kind::UNAVAILABLE, "proxy_memory"))
            }
            Self::Unreachable | Self::Lost => {
                (StatusCode::BAD_GATEWAY, say(kind::SERVER, "gateway_unreachable"))
            }
            Self::Shape(_) => (StatusCode::BAD_GATEWAY, say(kind::SERVER, "gateway_answer")),
            Self::Told(told) => (told.status, told.body.clone()),
        }
    }

    /// A verification error stays one however often it is asked, and an answer that is lost here
    /// was charged.
    fn is_lasting(&self) -> bool {
        matches!(self, Self::Doubt(_) | Self::Unsealable { .. } | Self::Foreign(_) | Self::NoRoom)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, body) = self.shape();
        let is_lasting = self.is_lasting();
        let mut response = Response::new(Body::from(body.to_json()));
        *response.status_mut() = status;
        if let Self::Told(told) = self {
            *response.headers_mut() = told.headers;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if is_lasting {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}
