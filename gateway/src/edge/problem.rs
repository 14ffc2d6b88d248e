//! Errors as answers. This is the only place that picks a status code for an error, and every
//! answer under `/v1` that is one is OpenAI's error object.
//!
//! Invariants: the match over problems is exhaustive; nothing of a cause reaches a client, its
//! chain is logged here, once; every refusal says whether the same request may succeed: what
//! cannot carries `x-should-retry: false`, and who should come back is told when, at most a minute
//! later, in both headers that SDKs read.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cocoon_openai_wire::error::{ErrorBody, kind};
use cocoon_primitives::Nano;
use cocoon_store::StoreError;
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::json;

use super::body::BodyError;
use crate::auth::{AuthError, SignInError};
use crate::dispatch::{DispatchError, FundsError};
use crate::idempotency::IdempotencyError;
use crate::rates::RateLimited;

/// Waits beyond this make SDKs give up in place of waiting.
const RETRY_AFTER_MS_MAX: u64 = 60_000;
/// The wait where the cause does not know a better one.
const RETRY_AFTER_MS: u64 = 1000;
/// The wait for funds that running requests hold: when they end, nobody knows.
const HELD_RETRY_AFTER_MS: u64 = 5000;
/// How much of a path or name from a client is repeated to it.
const ECHO_CHARS_MAX: usize = 200;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("the path is refused")]
    Route(#[from] RouteProblem),
    #[error("there is no such {what}")]
    NotFound { what: &'static str, code: &'static str },
    #[error("the receipt is not countersigned yet")]
    ReceiptPending,
    #[error("the request has no receipt: {why}")]
    ReceiptNone { why: &'static str },
    #[error("the receipt is not what was charged")]
    ReceiptLate { charged: Nano },
    /// What was verified when it was stored does not read back.
    #[error("a stored receipt is broken")]
    ReceiptBroken,
    #[error("the wallet has its {max} keys")]
    TooManyKeys { max: u32 },
    #[error("an API key was sent where a session is needed")]
    SessionRequired,
    #[error("a session was sent where an API key is needed")]
    KeyRequired,
    #[error("too many sign-ins from one address")]
    Throttled { retry_after_ms: u64 },
    #[error("the wallet made too many keys in a day")]
    TooManyKeysToday { max: u32 },
    #[error("the wallet runs all the requests that it may")]
    ShareTaken,
    #[error("the gateway is full")]
    Overloaded,
    #[error("a handler panicked")]
    Panicked,
    #[error("the body is refused")]
    Body(#[from] BodyError),
    #[error("the credential is refused")]
    Auth(#[source] AuthError),
    #[error("the sign-in failed")]
    SignIn(#[from] SignInError),
    #[error("the request was not served")]
    Dispatch(#[from] DispatchError),
    #[error("the idempotency key is of no use")]
    Idempotency(#[from] IdempotencyError),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Why a path leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum RouteProblem {
    #[error("there is no such route")]
    Unknown { method: Method, path: String },
    #[error("the route has not this method")]
    Method { method: Method, path: String },
    /// OpenAI has the route and this gateway has not.
    #[error("the route is not implemented")]
    NotImplemented { method: Method, path: String },
}

/// Whether the same request may succeed, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// Not before it is changed.
    Never,
    /// After this many milliseconds.
    After(u64),
}

/// An answer in the making.
struct Refusal {
    status: StatusCode,
    body: ErrorBody,
    retry: Retry,
    headers: HeaderMap,
}

impl Refusal {
    fn new(status: StatusCode, retry: Retry, body: ErrorBody) -> Self {
        Self { status, body, retry, headers: HeaderMap::new() }
    }

    fn never(
        status: StatusCode,
        kind: &'static str,
        code: &str,
        message: impl Into<String>,
    ) -> Self {
        Self::new(status, Retry::Never, ErrorBody::new(kind, message).code(code))
    }

    fn metadata(mut self, name: &str, value: &str) -> Self {
        self.body = self.body.with("metadata", json!({ name: value }));
        self
    }

    fn header(mut self, name: http::HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }
}

impl Problem {
    pub(crate) fn throttled(wait: Duration) -> Self {
        Self::Throttled { retry_after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Self::Dispatch(DispatchError::SealedRefused { status, body }) = &self {
            return sealed(*status, body.clone());
        }
        let refusal = refusal(&self);
        log(&self, refusal.status);
        let mut response = Response::new(Body::from(refusal.body.to_json()));
        *response.status_mut() = refusal.status;
        let headers = response.headers_mut();
        headers.extend(refusal.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match refusal.retry {
            Retry::Never => {
                headers.insert("x-should-retry", HeaderValue::from_static("false"));
            }
            Retry::After(ms) => {
                let ms = ms.clamp(1, RETRY_AFTER_MS_MAX);
                headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
                headers.insert("retry-after-ms", HeaderValue::from(ms));
                headers.insert("x-should-retry", HeaderValue::from_static("true"));
            }
        }
        response
    }
}

/// A worker's refusal that only the client can read.
fn sealed(status: u16, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(cocoon_seal::CONTENT_TYPE));
    headers.insert("x-should-retry", HeaderValue::from_static("false"));
    response
}

/// The answer of a readiness probe that fails; probes read the status and people the word.
pub fn not_ready(status: &'static str) -> Response {
    let body = json!({ "status": status });
    (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response()
}

fn refusal(problem: &Problem) -> Refusal {
    match problem {
        Problem::Route(problem) => route(problem),
        Problem::NotFound { what, code } => Refusal::never(
            StatusCode::NOT_FOUND,
            kind::INVALID_REQUEST,
            code,
            format!("There is no such {what}."),
        ),
        Problem::ReceiptPending => Refusal::new(
            StatusCode::NOT_FOUND,
            Retry::After(RETRY_AFTER_MS),
            ErrorBody::new(kind::INVALID_REQUEST, "The receipt is not there yet: try again.")
                .code("receipt_pending"),
        ),
        Problem::ReceiptNone { why } => Refusal::never(
            StatusCode::NOT_FOUND,
            kind::INVALID_REQUEST,
            "receipt_none",
            format!("This request has no receipt: {why}."),
        ),
        Problem::ReceiptLate { charged } => receipt_late(*charged),
        Problem::TooManyKeys { max } => Refusal::never(
            StatusCode::BAD_REQUEST,
            kind::INVALID_REQUEST,
            "too_many_keys",
            format!("The wallet has {max} live keys already. Revoke one first."),
        ),
        Problem::SessionRequired => Refusal::never(
            StatusCode::FORBIDDEN,
            kind::PERMISSION,
            "session_required",
            "Keys are managed with a wallet's session, not with an API key. Sign in first.",
        ),
        Problem::KeyRequired => Refusal::never(
            StatusCode::FORBIDDEN,
            kind::PERMISSION,
            "api_key_required",
            "A session does not spend. Create an API key with it (POST /v1/keys) and use that.",
        ),
        Problem::Throttled { retry_after_ms } => {
            rate_limit("Too many requests from this address.", *retry_after_ms)
        }
        Problem::TooManyKeysToday { max } => rate_limit(
            &format!("The wallet made {max} keys within a day. Make the next one later."),
            RETRY_AFTER_MS_MAX,
        ),
        Problem::ShareTaken => {
            rate_limit("The wallet has too many requests under way.", RETRY_AFTER_MS)
        }
        Problem::Overloaded => unavailable("overloaded", "The gateway is full.", RETRY_AFTER_MS),
        Problem::Panicked | Problem::ReceiptBroken => internal(),
        Problem::Body(error) => body(error),
        Problem::Auth(error) => credential(*error),
        Problem::SignIn(error) => sign_in(error),
        Problem::Dispatch(error) => dispatch(error),
        Problem::Idempotency(error) => idempotency(error),
        Problem::Store(error) => store(error),
    }
}

fn route(problem: &RouteProblem) -> Refusal {
    let (status, code, message) = match problem {
        RouteProblem::Unknown { method, path } => {
            (StatusCode::NOT_FOUND, "unknown_url", format!("There is no {method} {}.", echo(path)))
        }
        // The router adds which methods there are.
        RouteProblem::Method { method, path } => (
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("{} does not take {method}.", echo(path)),
        ),
        RouteProblem::NotImplemented { method, path } => (
            StatusCode::NOT_IMPLEMENTED,
            "not_implemented",
            format!("{method} {} is part of OpenAI's API and not served here.", echo(path)),
        ),
    };
    Refusal::never(status, kind::INVALID_REQUEST, code, message)
}

fn body(error: &BodyError) -> Refusal {
    let (status, code) = match error {
        BodyError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
        BodyError::Timeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
        BodyError::Encoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding"),
        BodyError::NoRoom => {
            let message = "The gateway holds all the requests that it has memory for.";
            return unavailable("overloaded", message, RETRY_AFTER_MS);
        }
        BodyError::Broken => (StatusCode::BAD_REQUEST, "body_incomplete"),
        BodyError::Json(_) => (StatusCode::BAD_REQUEST, "invalid_json"),
        BodyError::Query(_) | BodyError::Field { .. } => (StatusCode::BAD_REQUEST, "invalid_value"),
    };
    let mut body = ErrorBody::new(kind::INVALID_REQUEST, sentence(&error.to_string())).code(code);
    if let BodyError::Field { param, .. } = error {
        body = body.param(*param);
    }
    // A slow line may be faster next time; the rest stays as it is.
    let retry = if status == StatusCode::REQUEST_TIMEOUT {
        Retry::After(RETRY_AFTER_MS)
    } else {
        Retry::Never
    };
    let refusal = Refusal::new(status, retry, body);
    match error {
        BodyError::Timeout => refusal.header(CONNECTION, "close"),
        // RFC 9110, §15.5.16: what would have been taken.
        BodyError::Encoding => refusal.header(ACCEPT_ENCODING, "identity"),
        _ => refusal,
    }
}

fn credential(error: AuthError) -> Refusal {
    let (code, message) = match error {
        AuthError::Missing => (
            "missing_api_key",
            "No API key: send it as 'Authorization: Bearer sk-cocoon-…'. A wallet makes one with \
             'cocoon login' and 'cocoon keys create'.",
        ),
        AuthError::NotBearer => (
            "invalid_authorization_header",
            "The Authorization header must read 'Bearer ' and then the key.",
        ),
        AuthError::Malformed => (
            "invalid_api_key",
            "This is neither an API key nor a session of this gateway. Its keys start with \
             'sk-cocoon-v1-'; check that none of it is missing.",
        ),
        AuthError::UnknownKey => (
            "invalid_api_key",
            "This API key is not known here: it was revoked, expired, or made at another gateway.",
        ),
        AuthError::KeyRevoked => ("key_revoked", "This API key was revoked. Create another one."),
        AuthError::KeyExpired => ("key_expired", "This API key has expired. Create another one."),
        AuthError::SessionExpired => ("session_expired", "The session has expired. Sign in again."),
    };
    Refusal::never(StatusCode::UNAUTHORIZED, kind::AUTHENTICATION, code, message)
        .header(WWW_AUTHENTICATE, "Bearer")
}

fn sign_in(error: &SignInError) -> Refusal {
    use cocoon_ton::{NonceError, ProofError};
    let unauthorized = |code, message: String| {
        Refusal::never(StatusCode::UNAUTHORIZED, kind::AUTHENTICATION, code, message)
    };
    match error {
        // The proof's own reasons may be told: none of them helps to forge one.
        SignInError::Proof(ProofError::Malformed(cause)) => Refusal::never(
            StatusCode::BAD_REQUEST,
            kind::INVALID_REQUEST,
            "invalid_proof",
            match cause {
                Some(cause) => format!("The body is not a ton_proof answer: {cause}."),
                None => "The body is not a ton_proof answer.".to_owned(),
            },
        ),
        SignInError::Proof(ProofError::UnknownWallet { .. }) => unauthorized(
            "unknown_wallet",
            "This kind of wallet is not accepted: use a standard wallet, v1 to v5r1.".to_owned(),
        ),
        SignInError::Proof(cause) => unauthorized("invalid_proof", sentence(&cause.to_string())),
        SignInError::Nonce(NonceError::Expired) => unauthorized(
            "payload_expired",
            "The payload has expired. Start the sign-in again.".to_owned(),
        ),
        SignInError::Nonce(NonceError::Foreign) => unauthorized(
            "invalid_payload",
            "The payload was not issued for this sign-in attempt. Start the sign-in again."
                .to_owned(),
        ),
        SignInError::Replayed => unauthorized(
            "payload_replayed",
            "The payload was used before. Start the sign-in again.".to_owned(),
        ),
        SignInError::Store(cause) => store(cause),
    }
}

fn idempotency(error: &IdempotencyError) -> Refusal {
    match error {
        IdempotencyError::InvalidKey => Refusal::never(
            StatusCode::BAD_REQUEST,
            kind::INVALID_REQUEST,
            "invalid_idempotency_key",
            "Idempotency-Key must be one string of 1 to 255 visible ASCII characters.",
        ),
        IdempotencyError::Sealed => Refusal::never(
            StatusCode::BAD_REQUEST,
            kind::INVALID_REQUEST,
            "invalid_idempotency_key",
            "A sealed request takes no Idempotency-Key: its Cocoon-Request-Id is what makes a \
             repeat known.",
        ),
        IdempotencyError::Mismatch => Refusal::never(
            StatusCode::UNPROCESSABLE_ENTITY,
            kind::INVALID_REQUEST,
            "idempotency_key_mismatch",
            "This Idempotency-Key was used for another request. Use a new one for each request.",
        ),
        IdempotencyError::InProgress => Refusal::new(
            StatusCode::CONFLICT,
            Retry::After(RETRY_AFTER_MS),
            ErrorBody::new(
                kind::INVALID_REQUEST,
                "The request with this Idempotency-Key is still running: try again.",
            )
            .code("idempotency_in_progress"),
        ),
        IdempotencyError::Unavailable { receipt } => Refusal::new(
            StatusCode::CONFLICT,
            Retry::Never,
            ErrorBody::new(
                kind::INVALID_REQUEST,
                "The request with this Idempotency-Key was charged and its answer is not kept. \
                 This repeat was not charged.",
            )
            .code("idempotency_replay_unavailable")
            .with("metadata", json!({ "receipt_id": receipt.to_string() })),
        ),
        // A row ends after hours: no wait of a client's helps.
        IdempotencyError::TooManyKeys { rows_max } => Refusal::never(
            StatusCode::TOO_MANY_REQUESTS,
            kind::RATE_LIMIT,
            "idempotency_limit_reached",
            format!(
                "The account has used {rows_max} idempotency keys that have not expired. Send the \
                 request without Idempotency-Key."
            ),
        ),
        IdempotencyError::Store(cause) => store(cause),
        IdempotencyError::CutShort => {
            unavailable("overloaded", "The gateway is shutting down.", RETRY_AFTER_MS)
        }
    }
}

/// The same error as an event of a stream whose status was sent long ago.
pub(crate) fn in_band(error: &DispatchError) -> ErrorBody {
    dispatch(error).body
}

fn dispatch(error: &DispatchError) -> Refusal {
    match error {
        DispatchError::InvalidRequest { message, param, code } => {
            let mut body = ErrorBody::new(kind::INVALID_REQUEST, message).code(*code);
            if let Some(param) = param {
                body = body.param(param);
            }
            Refusal::new(StatusCode::BAD_REQUEST, Retry::Never, body)
        }
        DispatchError::UnknownModel { model } => {
            let message = format!("The model '{}' does not exist here.", echo(model));
            let body = ErrorBody::new(kind::INVALID_REQUEST, message).code("model_not_found");
            Refusal::new(StatusCode::NOT_FOUND, Retry::Never, body.param("model"))
        }
        DispatchError::Funds(missing) => funds(*missing),
        DispatchError::RateLimited(limited) => rate_limited(*limited),
        DispatchError::NoWorker => unavailable(
            "no_worker_available",
            "No worker serves this model at the moment.",
            RETRY_AFTER_MS,
        ),
        DispatchError::Saturated { retry_after_ms } => unavailable(
            "no_worker_available",
            "Every worker of this model is busy.",
            *retry_after_ms,
        ),
        DispatchError::WorkerRefused { status, body, is_final } => {
            worker_refused(*status, body, *is_final)
        }
        // Answered as it came, before this: see `sealed`.
        DispatchError::SealedRefused { .. } => worker_nonsense(),
        DispatchError::SealKeys => Refusal::never(
            StatusCode::UNPROCESSABLE_ENTITY,
            kind::INVALID_REQUEST,
            "e2ee_key_config",
            "None of the workers that this request is sealed to can open it. Fetch \
             /v1/attestation/workers again and seal it anew, under a new Cocoon-Request-Id.",
        ),
        DispatchError::SealedRepeat { receipt } => Refusal::never(
            StatusCode::CONFLICT,
            kind::INVALID_REQUEST,
            "idempotency_replay_unavailable",
            "A request with this Cocoon-Request-Id was sent before. This repeat was not charged.",
        )
        .metadata("receipt_id", &receipt.to_string()),
        DispatchError::WorkerLost => {
            bad_gateway("worker_lost", "The worker was lost before its answer was complete.")
        }
        DispatchError::WorkerFault => {
            bad_gateway("worker_fault", "The worker's answer was not valid.")
        }
        DispatchError::ReceiptMismatch => {
            bad_gateway("receipt_mismatch", "The worker's receipt does not match its answer.")
        }
        DispatchError::Deadline => Refusal::new(
            StatusCode::GATEWAY_TIMEOUT,
            Retry::After(RETRY_AFTER_MS),
            ErrorBody::new(kind::SERVER, "There was no whole answer in time.")
                .code("request_timeout"),
        ),
        DispatchError::Store(cause) => store(cause),
    }
}

/// A receipt that came and is not the request's bill.
fn receipt_late(charged: Nano) -> Refusal {
    let message = format!(
        "The worker's receipt came too late or is not for what was charged, {} GRAM, so it is no \
         bill: it is kept as evidence and not countersigned.",
        charged.to_gram()
    );
    let body = ErrorBody::new(kind::INVALID_REQUEST, message)
        .code("receipt_late")
        .with("charged_nano", charged.get());
    Refusal::new(StatusCode::NOT_FOUND, Retry::Never, body)
}

fn bad_gateway(code: &str, message: &str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_GATEWAY,
        Retry::After(RETRY_AFTER_MS),
        ErrorBody::new(kind::SERVER, message).code(code),
    )
}

/// 402, which no SDK retries by itself; 429 is retried by all of them. Where only what running
/// requests hold is in the way, the client is told to come back.
fn funds(missing: FundsError) -> Refusal {
    let (body, held) = match missing {
        FundsError::Balance { needed, available, held } => {
            let message = format!(
                "This request may cost up to {} GRAM and {} GRAM are available. Add funds, or ask \
                 for fewer tokens.",
                needed.to_gram(),
                available.to_gram()
            );
            let body = ErrorBody::new(kind::INSUFFICIENT_FUNDS, message)
                .code("insufficient_balance")
                .with("needed_nano", needed.get())
                .with("available_nano", available.get());
            (body, held)
        }
        FundsError::KeyCap { needed, remaining, held } => {
            let message = format!(
                "This key's spend cap leaves {} GRAM, less than the {} GRAM that the request may \
                 cost.",
                remaining.to_gram(),
                needed.to_gram()
            );
            let body = ErrorBody::new(kind::INSUFFICIENT_FUNDS, message)
                .code("key_spend_limit_reached")
                .with("needed_nano", needed.get())
                .with("remaining_nano", remaining.get());
            (body, held)
        }
        FundsError::Nothing { held } => {
            let message = "The wallet has no funds available. Add some.";
            let body =
                ErrorBody::new(kind::INSUFFICIENT_FUNDS, message).code("insufficient_balance");
            (body.with("available_nano", 0), held)
        }
    };
    if !missing.is_held() {
        return Refusal::new(StatusCode::PAYMENT_REQUIRED, Retry::Never, body);
    }
    let metadata = json!({ "limit_source": "in_flight", "held_nano": held.get() });
    let body = body.with("metadata", metadata);
    Refusal::new(StatusCode::PAYMENT_REQUIRED, Retry::After(HELD_RETRY_AFTER_MS), body)
}

/// A wallet that goes too fast, and when it may go on.
fn rate_limited(limited: RateLimited) -> Refusal {
    let ms = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    match limited {
        RateLimited::Requests { limit, wait } => {
            rate_limit(&format!("The wallet's {limit} requests of a minute are used up."), ms(wait))
        }
        RateLimited::Tokens { limit, wanted, wait } => rate_limit(
            &format!(
                "This request may take {wanted} tokens, more than is left of the wallet's {limit} \
                 tokens of a minute."
            ),
            ms(wait),
        ),
        RateLimited::TooManyTokens { limit, wanted } => Refusal::never(
            StatusCode::TOO_MANY_REQUESTS,
            kind::RATE_LIMIT,
            "rate_limit_exceeded",
            format!(
                "This request may take {wanted} tokens, more than the wallet's {limit} tokens of a \
                 whole minute. Ask for fewer."
            ),
        ),
    }
}

/// A worker's refusal reaches the client as its worker worded it, written anew on one line,
/// unless it is no refusal at all.
fn worker_refused(status: u16, body: &Bytes, is_final: bool) -> Refusal {
    let Ok(status) = StatusCode::from_u16(status) else { return worker_nonsense() };
    let Ok(body) = serde_json::from_slice::<ErrorBody>(body) else { return worker_nonsense() };
    if !(status.is_client_error() || status.is_server_error()) {
        return worker_nonsense();
    }
    let is_clients = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
    let retry = if is_final || is_clients { Retry::Never } else { Retry::After(RETRY_AFTER_MS) };
    Refusal::new(status, retry, body)
}

fn worker_nonsense() -> Refusal {
    let body =
        ErrorBody::new(kind::SERVER, "The worker's answer makes no sense.").code("worker_failed");
    Refusal::new(StatusCode::BAD_GATEWAY, Retry::After(RETRY_AFTER_MS), body)
}

fn store(error: &StoreError) -> Refusal {
    if error.transient() {
        unavailable("overloaded", "The gateway is busy.", RETRY_AFTER_MS)
    } else {
        internal()
    }
}

fn unavailable(code: &str, message: &str, retry_after_ms: u64) -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Retry::After(retry_after_ms),
        ErrorBody::new(kind::SERVER, message).code(code),
    )
}

fn rate_limit(message: &str, retry_after_ms: u64) -> Refusal {
    Refusal::new(
        StatusCode::TOO_MANY_REQUESTS,
        Retry::After(retry_after_ms),
        ErrorBody::new(kind::RATE_LIMIT, message).code("rate_limit_exceeded"),
    )
}

fn internal() -> Refusal {
    let message = "The gateway failed. Quote the x-request-id of this answer.";
    let body = ErrorBody::new(kind::SERVER, message).code("internal_error");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, Retry::After(RETRY_AFTER_MS), body)
}

/// What a client sent, short and on one line.
fn echo(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(ECHO_CHARS_MAX).collect()
}

/// A lower-case fragment as a sentence for a person.
fn sentence(fragment: &str) -> String {
    let mut chars = fragment.chars();
    let head: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    let stop = if fragment.ends_with('.') { "" } else { "." };
    format!("{head}{}{stop}", chars.as_str())
}

/// The chain of causes goes to the log, where it is our own failure; the client's own mistakes
/// are its own business.
fn log(problem: &Problem, status: StatusCode) {
    if !status.is_server_error() || status == StatusCode::NOT_IMPLEMENTED {
        return;
    }
    let chain = chain(problem);
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(error = %chain, "a request failed");
    } else {
        tracing::warn!(error = %chain, "a request was refused");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests;
