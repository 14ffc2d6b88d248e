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
        let (got_status, error, _) = answer(problem).await;
        assert_eq!((got_status, error["code"].as_str()), (status, Some(code)), "{name}");
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "{name} has no {key}");
        }
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
    let error = DispatchError::InsufficientFunds { needed, available: Nano::ZERO };
    let (status, error, headers) = answer(error).await;
    assert_eq!(status, 402);
    assert_eq!(headers["x-should-retry"], "false");
    assert!(!headers.contains_key("retry-after"));
    assert_eq!(error["code"], "insufficient_balance");
    assert_eq!(error["needed_nano"], 2_000_000_000_u64);
    assert!(error["message"].as_str().unwrap().contains("2 GRAM"));
}

#[tokio::test]
async fn a_workers_refusal_passes_through_unless_it_is_none() {
    let body = Bytes::from_static(br#"{"error":{"message":"too long","type":"t","param":"messages","code":"context_length_exceeded"}}"#);
    let refused = DispatchError::WorkerRefused { status: 400, body };
    let (status, error, headers) = answer(refused).await;
    assert_eq!((status, error["code"].as_str()), (400, Some("context_length_exceeded")));
    assert_eq!(headers["x-should-retry"], "false");
    for (status, body) in [(200, "{}"), (400, "not json"), (99, "{}"), (302, "{}")] {
        let body = Bytes::from_static(body.as_bytes());
        let (status, error, _) = answer(DispatchError::WorkerRefused { status, body }).await;
        assert_eq!((status, error["code"].as_str()), (502, Some("worker_failed")));
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
            DispatchError::InsufficientFunds { needed: Nano::ZERO, available: Nano::ZERO },
            DispatchError::Deadline,
            DispatchError::Store(StoreError::Closed),
            DispatchError::WorkerRefused { status: 400, body: split.clone() },
        ]
    };
    for (streamed, refused) in errors().iter().zip(errors()) {
        let event = in_band(streamed);
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
