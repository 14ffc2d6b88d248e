use http_body_util::BodyExt;
use serde_json::Value;

use super::*;

/// Status, error object and headers of a problem's answer.
async fn answer(problem: impl Into<Problem>) -> (u16, Value, HeaderMap) {
    let (parts, body) = problem.into().into_response().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let value: Value = serde_json::from_slice(&body).unwrap();
    (parts.status.as_u16(), value["error"].clone(), parts.headers)
}

fn path() -> (Method, String) {
    (Method::PUT, "/v1/thing".to_owned())
}

#[tokio::test]
async fn every_kind_of_refusal_has_its_status_and_code() {
    let (method, path) = path();
    let table: Vec<(Problem, u16, &str)> = vec![
        (
            RouteProblem::Unknown { method: method.clone(), path: path.clone() }.into(),
            404,
            "unknown_url",
        ),
        (
            RouteProblem::Method { method: method.clone(), path: path.clone() }.into(),
            405,
            "method_not_allowed",
        ),
        (RouteProblem::NotImplemented { method, path }.into(), 501, "not_implemented"),
        (Problem::NotFound { what: "key", code: "key_not_found" }, 404, "key_not_found"),
        (Problem::ReceiptPending, 404, "receipt_pending"),
        (Problem::ReceiptNone { why: "x" }, 404, "receipt_none"),
        (Problem::ReceiptLate { charged: Nano::ZERO }, 404, "receipt_late"),
        (Problem::TooManyKeys { max: 100 }, 400, "too_many_keys"),
        (Problem::SessionRequired, 403, "session_required"),
        (Problem::KeyRequired, 403, "api_key_required"),
        (Problem::Throttled { retry_after_ms: 500 }, 429, "rate_limit_exceeded"),
        (Problem::TooManyKeysToday { max: 200 }, 429, "rate_limit_exceeded"),
        (Problem::ShareTaken, 429, "rate_limit_exceeded"),
        (Problem::Overloaded, 503, "overloaded"),
        (Problem::Panicked, 500, "internal_error"),
        (BodyError::TooLarge { bytes_max: 1 }.into(), 413, "payload_too_large"),
        (BodyError::Timeout.into(), 408, "request_timeout"),
        (BodyError::Encoding.into(), 415, "unsupported_content_encoding"),
        (BodyError::NoRoom.into(), 503, "overloaded"),
        (BodyError::Json("eof".into()).into(), 400, "invalid_json"),
        (Problem::Auth(AuthError::Missing), 401, "missing_api_key"),
        (Problem::Auth(AuthError::UnknownKey), 401, "invalid_api_key"),
        (Problem::Auth(AuthError::KeyExpired), 401, "key_expired"),
        (Problem::Auth(AuthError::KeyRevoked), 401, "key_revoked"),
        (SignInError::Replayed.into(), 401, "payload_replayed"),
        (SignInError::Proof(cocoon_ton::ProofError::Signature).into(), 401, "invalid_proof"),
        (SignInError::Proof(cocoon_ton::ProofError::Malformed(None)).into(), 400, "invalid_proof"),
        (DispatchError::UnknownModel { model: "m".into() }.into(), 404, "model_not_found"),
        (DispatchError::NoWorker.into(), 503, "no_worker_available"),
        (DispatchError::WorkerLost.into(), 502, "worker_lost"),
        (DispatchError::WorkerFault.into(), 502, "worker_fault"),
        (DispatchError::ReceiptMismatch.into(), 502, "receipt_mismatch"),
        (DispatchError::Deadline.into(), 504, "request_timeout"),
        (StoreError::Closed.into(), 500, "internal_error"),
        (StoreError::Overloaded { operation: "key.list" }.into(), 503, "overloaded"),
    ];
    for (problem, status, code) in table {
        let name = format!("{problem:?}");
        let (got_status, error, headers) = answer(problem).await;
        assert_eq!((got_status, error["code"].as_str()), (status, Some(code)), "{name}");
        let should_retry = headers["x-should-retry"].to_str().unwrap();
        let is_never =
            (400..=499).contains(&status) && status != 408 && status != 429 || status == 501;
        assert_eq!(should_retry == "false", is_never && code != "receipt_pending", "{name}");
        assert_eq!(headers.contains_key("retry-after-ms"), should_retry == "true", "{name}");
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "{name} has no {key}");
        }
    }
}

#[tokio::test]
async fn idempotency_keys_are_refused_with_what_to_do_next() {
    let receipt = cocoon_primitives::RequestId::from_bytes([1; 16]);
    for (error, status, code, should_retry) in [
        (IdempotencyError::InvalidKey, 400, "invalid_idempotency_key", "false"),
        (IdempotencyError::Mismatch, 422, "idempotency_key_mismatch", "false"),
        (IdempotencyError::InProgress, 409, "idempotency_in_progress", "true"),
        (IdempotencyError::Unavailable { receipt }, 409, "idempotency_replay_unavailable", "false"),
        (IdempotencyError::TooManyKeys { rows_max: 1 }, 429, "idempotency_limit_reached", "false"),
        (IdempotencyError::Store(StoreError::Closed), 500, "internal_error", "true"),
        (IdempotencyError::CutShort, 503, "overloaded", "true"),
    ] {
        let (got_status, error, headers) = answer(error).await;
        assert_eq!((got_status, error["code"].as_str()), (status, Some(code)));
        assert_eq!(headers["x-should-retry"], should_retry, "{code}");
        assert_eq!(headers.contains_key("retry-after"), should_retry == "true", "{code}");
        let is_told = error["metadata"]["receipt_id"] == receipt.to_string();
        assert_eq!(is_told, code == "idempotency_replay_unavailable", "{error}");
    }
}

#[tokio::test]
async fn waits_are_said_twice_and_never_exceed_a_minute() {
    for (asked, ms, seconds) in [(0, "1", "1"), (1500, "1500", "2"), (10_000_000, "60000", "60")] {
        let (_, _, headers) = answer(DispatchError::Saturated { retry_after_ms: asked }).await;
        assert_eq!(headers["retry-after-ms"], ms);
        assert_eq!(headers["retry-after"], seconds);
    }
}

#[tokio::test]
async fn out_of_funds_is_402_and_not_to_be_retried() {
    let needed = Nano::new(2_000_000_000).unwrap();
    let held = Nano::new(1_999_999_999).unwrap();
    let error = FundsError::Balance { needed, available: Nano::ZERO, held };
    let (status, error, headers) = answer(DispatchError::from(error)).await;
    assert_eq!(status, 402);
    assert_eq!(headers["x-should-retry"], "false");
    assert!(!headers.contains_key("retry-after"));
    assert_eq!(error["code"], "insufficient_balance");
    assert_eq!(error["needed_nano"], 2_000_000_000_u64);
    assert!(error["message"].as_str().unwrap().contains("2 GRAM"));
    assert!(error.get("metadata").is_none(), "what is held would not be enough");
}

#[tokio::test]
async fn funds_that_are_only_held_are_402_and_may_be_back_soon() {
    let (zero, one, two) = (Nano::ZERO, Nano::new(1).unwrap(), Nano::new(2).unwrap());
    for (error, code) in [
        (FundsError::Balance { needed: two, available: one, held: one }, "insufficient_balance"),
        (FundsError::KeyCap { needed: two, remaining: zero, held: two }, "key_spend_limit_reached"),
        (FundsError::Nothing { held: one }, "insufficient_balance"),
    ] {
        let (status, error, headers) = answer(DispatchError::from(error)).await;
        assert_eq!((status, error["code"].as_str()), (402, Some(code)));
        assert_eq!(error["metadata"]["limit_source"], "in_flight");
        assert_eq!(headers["x-should-retry"], "true");
        assert_eq!(headers["retry-after"], "5");
        assert_eq!(headers["retry-after-ms"], "5000");
    }
    let capped = FundsError::KeyCap { needed: two, remaining: one, held: zero };
    let (_, error, headers) = answer(DispatchError::from(capped)).await;
    assert_eq!(headers["x-should-retry"], "false");
    assert_eq!(error["code"], "key_spend_limit_reached");
}

#[tokio::test]
async fn a_rate_says_when_to_come_back_unless_there_is_no_use() {
    let wait = Duration::from_millis(2500);
    for (limited, should_retry, retry_after_ms) in [
        (RateLimited::Requests { limit: 1, wait }, "true", Some("2500")),
        (RateLimited::Tokens { limit: 9, wanted: 5, wait }, "true", Some("2500")),
        (RateLimited::TooManyTokens { limit: 9, wanted: 10 }, "false", None),
    ] {
        let (status, error, headers) = answer(DispatchError::from(limited)).await;
        assert_eq!((status, error["code"].as_str()), (429, Some("rate_limit_exceeded")));
        assert_eq!(headers["x-should-retry"], should_retry);
        let told = headers.get("retry-after-ms").map(|value| value.to_str().unwrap());
        assert_eq!(told, retry_after_ms);
    }
}

#[tokio::test]
async fn a_workers_refusal_passes_through_unless_it_is_none() {
    let body = Bytes::from_static(br#"{"error":{"message":"too long","type":"t","param":"messages","code":"context_length_exceeded"}}"#);
    let refused = DispatchError::WorkerRefused { status: 400, body, is_final: false };
    let (status, error, headers) = answer(refused).await;
    assert_eq!((status, error["code"].as_str()), (400, Some("context_length_exceeded")));
    assert_eq!(headers["x-should-retry"], "false");
    for (status, body) in [(200, "{}"), (400, "not json"), (99, "{}"), (302, "{}")] {
        let body = Bytes::from_static(body.as_bytes());
        let refused = DispatchError::WorkerRefused { status, body, is_final: false };
        let (status, error, _) = answer(refused).await;
        assert_eq!((status, error["code"].as_str()), (502, Some("worker_failed")));
    }
}

/// An answer that is too large is too large each time, and each time it is generated anew.
#[tokio::test]
async fn what_would_fail_again_is_not_to_be_retried() {
    let body = |code| Bytes::from(ErrorBody::new(kind::SERVER, "m").code(code).to_json());
    for (status, code, is_final, should_retry) in [
        (500, "answer_too_large", true, "false"),
        (500, "worker_refused", true, "false"),
        (502, "engine_failed", true, "false"),
        (502, "engine_failed", false, "true"),
        (504, "engine_timeout", false, "true"),
        (404, "model_not_found", false, "false"),
        (429, "busy", false, "true"),
    ] {
        let refused = DispatchError::WorkerRefused { status, body: body(code), is_final };
        let (got, error, headers) = answer(refused).await;
        assert_eq!((got, error["code"].as_str()), (status, Some(code)));
        assert_eq!(headers["x-should-retry"], should_retry, "{code}");
        assert_eq!(headers.contains_key("retry-after"), should_retry == "true", "{code}");
    }
}

#[tokio::test]
async fn an_error_in_a_stream_is_the_same_object_on_one_line() {
    let split = Bytes::from_static(
        b"{\n\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null,\"code\":\"c\"}}",
    );
    let errors = || {
        [
            DispatchError::NoWorker,
            FundsError::Nothing { held: Nano::ZERO }.into(),
            DispatchError::Deadline,
            DispatchError::Store(StoreError::Closed),
            DispatchError::WorkerRefused { status: 400, body: split.clone(), is_final: true },
        ]
    };
    for (streamed, refused) in errors().iter().zip(errors()) {
        let event = in_band(streamed).to_json();
        assert!(!event.contains(&b'\n'));
        let event: Value = serde_json::from_slice(&event).unwrap();
        assert_eq!(event["error"], answer(refused).await.1);
    }
}

#[tokio::test]
async fn what_a_client_sent_is_repeated_short_and_on_one_line() {
    let model = format!("a\r\nb{}", "x".repeat(10_000));
    let (_, error, _) = answer(DispatchError::UnknownModel { model }).await;
    let message = error["message"].as_str().unwrap();
    assert!(message.len() < 300 && !message.contains('\n'), "{message}");
}
