//! Against a scripted peer: answers that a real gateway gives seldom or never at will.
//!
//! The real gateway's own behaviour is tested in its crate and end to end.

use std::future::Future;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cocoon_primitives::{RequestId, Timestamp};
use cocoon_ton::{Network, ProofPolicy, UnverifiedProof, verify};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::cocoon::{Home, Ran, mode};
use crate::receipt::receipt_file;

const FAR_FUTURE_S: u64 = 4_000_000_000;

fn request_id() -> RequestId {
    RequestId::from_bytes([0xAB; 16])
}

/// Serves `router` while the test runs.
pub(crate) async fn with_peer<F: Future<Output = ()>>(
    router: Router,
    test: impl FnOnce(String) -> F,
) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::select! {
        () = test(url) => {}
        served = axum::serve(listener, router) => panic!("the peer stopped: {served:?}"),
    }
}

/// Runs with an API key.
async fn run(url: &str, arguments: &[&str]) -> Ran {
    let variables = [("OPENAI_BASE_URL", url), ("OPENAI_API_KEY", "sk-test")];
    Home::new().run_with(arguments, &variables).await
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let error = json!({"message": message, "type": "t", "param": null, "code": code});
    (status, [("x-request-id", "req_1"), ("retry-after", "7")], Json(json!({"error": error})))
        .into_response()
}

fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
}

// === Sign-in ===

/// Checks the proof as a gateway does, and gives out a session.
async fn sign_in(body: Bytes) -> Response {
    let proof = UnverifiedProof::from_json(&body).expect("the client sends a proof");
    assert_eq!(proof.attempt.as_str(), "attempt-1");
    let signed_at = Timestamp::from_seconds(proof.proof.timestamp);
    let policy = ProofPolicy {
        domains: vec!["localhost".into()],
        network: Network::Testnet,
        workchains: vec![0],
        max_age: Duration::from_secs(1),
        max_future: Duration::from_secs(1),
    };
    let verified = verify(&proof, &policy, signed_at).expect("the proof is good");
    assert_eq!(verified.payload(), "the-nonce");
    Json(json!({"token": "session-token", "expires_at": FAR_FUTURE_S})).into_response()
}

fn account() -> Router {
    let balance = |headers: HeaderMap| async move {
        assert_eq!(bearer(&headers), "session-token");
        let wallet = format!("0:{}", "11".repeat(32));
        Json(json!({"wallet": wallet, "available_nano": 5, "reserved_nano": 0, "charged_nano": 1,
            "credited_nano": 6, "currency": "GRAM"}))
    };
    let create_key = |headers: HeaderMap, Json(body): Json<Value>| async move {
        assert_eq!(bearer(&headers), "session-token");
        assert_eq!(body, json!({"name": "laptop", "spend_cap_nano": 500_000_000}));
        Json(json!({"id": "key_0011223344556677", "key": "sk-cocoon-x", "name": "laptop",
            "created_at": 1_790_000_000, "expires_at": null, "spend_cap_nano": 500_000_000}))
    };
    Router::new()
        .route(
            "/v1/auth/ton-proof/payload",
            post(|| async {
                Json(json!({"payload": "the-nonce", "attempt": "attempt-1", "expires_at": 1}))
            }),
        )
        .route("/v1/auth/ton-proof", post(sign_in))
        .route("/v1/balance", get(balance))
        .route("/v1/keys", post(create_key))
}

#[tokio::test]
async fn login_signs_in_and_later_commands_use_the_session() {
    with_peer(account(), async |url| {
        let home = Home::new();
        let wallet = home.run(&["wallet", "create", "--json"]).await.json();
        let login = home.run(&["login", "--base-url", &url, "--json"]).await.json();
        assert_eq!(login["wallet"], wallet["address"]);
        assert_eq!(login["expires_at"], FAR_FUTURE_S);
        let profile = home.path(".config/cocoon/profile.json");
        assert_eq!(mode(&profile), 0o600);

        // The profile names the gateway, so no URL is needed any more.
        let balance = home.run(&["balance", "--json"]).await.json();
        assert_eq!(balance["available_nano"], 5);
        // Keys need the session even where an API key is set.
        let create = ["keys", "create", "--name", "laptop", "--spend-cap", "0.5", "--json"];
        let key = home.run_with(&create, &[("OPENAI_API_KEY", "sk-other")]).await.json();
        assert_eq!(key["key"], "sk-cocoon-x");
        // The session is for that gateway only.
        home.run(&["balance", "--base-url", "http://127.0.0.1:1"])
            .await
            .assert_failed(1, "no credential");
    })
    .await;
}

// === Refusals ===

#[tokio::test]
async fn refusals_are_2_with_status_code_and_hint() {
    let router = Router::new()
        .route(
            "/v1/balance",
            get(|| async { refusal(StatusCode::UNAUTHORIZED, "invalid_api_key", "no") }),
        )
        .route(
            "/v1/models",
            get(|| async { refusal(StatusCode::SERVICE_UNAVAILABLE, "busy", "full") }),
        )
        .route("/v1/usage", get(|| async { (StatusCode::BAD_GATEWAY, "<html>\u{1b}[31m") }))
        .route(
            "/v1/chat/completions",
            post(|| async {
                refusal(
                    StatusCode::PAYMENT_REQUIRED,
                    "insufficient_funds",
                    "the balance is too low",
                )
            }),
        );
    with_peer(router, async |url| {
        let ran = run(&url, &["balance"]).await;
        ran.assert_failed(2, "cocoon login");
        assert!(ran.stderr.contains("(request req_1)"), "{}", ran.stderr);
        run(&url, &["models"]).await.assert_failed(2, "try again in 7 s");
        run(&url, &["usage"]).await.assert_failed(2, "Bad Gateway");
        for flags in [&["--no-stream"][..], &[]] {
            let ran = run(&url, &[&["chat", "--model", "m", "hi"], flags].concat()).await;
            ran.assert_failed(2, "the balance is too low");
            assert!(ran.stderr.contains("cocoon balance"), "{}", ran.stderr);
        }
        let ran = run(&url, &["chat", "--model", "m", "hi", "--json"]).await;
        let error: Value = serde_json::from_str(&ran.stderr).expect("errors are JSON too");
        assert_eq!(error["error"]["status"], 402);
        assert_eq!(error["error"]["code"], "insufficient_funds");
    })
    .await;
}

#[tokio::test]
async fn an_answer_of_another_shape_is_1() {
    let router = Router::new().route("/v1/balance", get(|| async { "hello" }));
    with_peer(router, async |url| {
        run(&url, &["balance"]).await.assert_failed(1, "another shape");
    })
    .await;
}

// === Chat ===

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
        "model": "tiny-demo", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        "usage": null});
    format!("data: {chunk}\n\n")
}

fn event_stream(parts: Vec<Result<String, std::io::Error>>) -> Response {
    let headers = [
        ("content-type", "text/event-stream".to_owned()),
        ("cocoon-receipt-id", request_id().to_string()),
        ("cocoon-assurance", "software".to_owned()),
        ("cocoon-worker", "wrk_1".to_owned()),
    ];
    // Each part reaches the network before the next one is looked at.
    let parts = stream::iter(parts).then(async |part| {
        tokio::task::yield_now().await;
        part
    });
    (headers, Body::from_stream(parts)).into_response()
}

/// A good stream: text with an escape sequence in it, a comment, usage, the end.
fn good_stream() -> Response {
    let usage = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
        "model": "tiny-demo", "choices": [],
        "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}});
    event_stream(vec![
        Ok(chunk(&json!({"role": "assistant", "content": ""}), None)),
        Ok(": keep-alive\n\n".into()),
        Ok(chunk(&json!({"content": "Par\u{1b}[31mis"}), None)),
        Ok(chunk(&json!({}), Some("stop"))),
        Ok(format!("data: {usage}\n\ndata: [DONE]\n\n")),
    ])
}

fn chat_router(answer: fn() -> Response) -> Router {
    let chat = move |headers: HeaderMap, Json(body): Json<Value>| async move {
        assert_eq!(bearer(&headers), "sk-test");
        assert_eq!(body["messages"][0]["content"], "Capital of France?");
        answer()
    };
    let receipt = |Path(id): Path<String>| async move {
        assert_eq!(id, request_id().to_string());
        Json(receipt_file(request_id()))
    };
    Router::new().route("/v1/chat/completions", post(chat)).route("/v1/receipts/{id}", get(receipt))
}

const ASK: [&str; 4] = ["chat", "--model", "tiny-demo", "Capital of France?"];

#[tokio::test]
async fn chat_streams_and_tells_price_and_receipt() {
    with_peer(chat_router(good_stream), async |url| {
        let home = Home::new();
        let saved = home.path("receipt.json");
        let saved = saved.to_str().unwrap();
        let variables = [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_API_KEY", "sk-test")];
        let ran = home.run_with(&[&ASK[..], &["--save-receipt", saved]].concat(), &variables).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "Par[31mis\n"), "{ran:?}");
        for text in
            ["0.00000155 GRAM", &request_id().to_string(), "verified", "software", "12 prompt"]
        {
            assert!(ran.stderr.contains(text), "{text:?} is not in {}", ran.stderr);
        }
        assert_eq!(home.run(&["receipt", "verify", saved]).await.code, 0);
    })
    .await;
}

#[tokio::test]
async fn chat_without_a_stream_is_one_json_object() {
    fn whole() -> Response {
        let body = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1,
            "model": "tiny-demo", "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null,
                "message": {"role": "assistant", "content": "Paris", "refusal": null}}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}});
        ([("cocoon-receipt-id", request_id().to_string())], Json(body)).into_response()
    }
    with_peer(chat_router(whole), async |url| {
        let report = run(&url, &[&ASK[..], &["--json"]].concat()).await.json();
        assert_eq!(report["answer"], "Paris");
        assert_eq!(report["finish_reason"], "stop");
        assert_eq!(report["charge_nano"], 1550);
        assert_eq!(report["usage"]["cached_tokens"], 2);
        assert_eq!(report["receipt_verified"], true);
        let ran = run(&url, &[&ASK[..], &["--no-stream"]].concat()).await;
        assert_eq!(ran.stdout, "Paris\n");
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_3_after_what_came() {
    fn lost() -> Response {
        let first = chunk(&json!({"role": "assistant", "content": "Par"}), None);
        event_stream(vec![Ok(first), Err(std::io::Error::other("worker lost"))])
    }
    fn told() -> Response {
        let first = chunk(&json!({"role": "assistant", "content": "Par"}), None);
        let error = json!({"error": {"message": "the worker was lost", "type": "server_error",
            "param": null, "code": "worker_lost"}});
        event_stream(vec![Ok(first), Ok(format!("data: {error}\n\n"))])
    }
    fn silent() -> Response {
        event_stream(vec![Ok(chunk(&json!({"role": "assistant", "content": "Par"}), None))])
    }
    async fn check(answer: fn() -> Response, message: &str) {
        with_peer(chat_router(answer), async |url| {
            let ran = run(&url, &ASK).await;
            ran.assert_failed(3, message);
            assert_eq!(ran.stdout, "Par\n");
        })
        .await;
    }
    check(lost, "broke off").await;
    check(told, "the worker was lost").await;
    check(silent, "the connection was closed").await;
}

#[tokio::test]
async fn a_receipt_of_another_request_is_noticed() {
    let other = |_: Path<String>| async { Json(receipt_file(RequestId::from_bytes([1; 16]))) };
    let router = Router::new()
        .route("/v1/chat/completions", post(|| async { good_stream() }))
        .route("/v1/receipts/{id}", get(other));
    with_peer(router, async |url| {
        run(&url, &ASK).await.assert_failed(1, "another request");
    })
    .await;
}

// === Usage ===

#[tokio::test]
async fn usage_follows_pages_and_prints_csv() {
    let row = |id: u8| {
        json!({"request_id": RequestId::from_bytes([id; 16]), "model": "=cmd, \"x\"", "key_id": null,
            "created_at": 1_790_000_000, "outcome": "completed", "charge_nano": 1550,
            "usage": {"prompt_tokens": 12, "cached_tokens": 2, "completion_tokens": 5,
                "reasoning_tokens": 0}, "worker_id": null, "streamed": true})
    };
    let pages = move |query: axum::extract::RawQuery| async move {
        let query = query.0.unwrap_or_default();
        assert!(query.contains("from=1789948800"), "{query}");
        let is_second = query.contains("after=cursor");
        Json(json!({"object": "list", "data": [row(if is_second { 2 } else { 1 })],
            "has_more": !is_second, "next": if is_second { Value::Null } else { json!("cursor") },
            "totals": {"requests": 2, "charge_nano": 3100, "prompt_tokens": 24,
                "completion_tokens": 10}}))
    };
    with_peer(Router::new().route("/v1/usage", get(pages)), async |url| {
        let ran = run(&url, &["usage", "--csv", "--from", "2026-09-21"]).await;
        let lines: Vec<_> = ran.stdout.lines().collect();
        assert_eq!(lines.len(), 3, "{ran:?}");
        assert!(
            lines[1].contains(",\"'=cmd, \"\"x\"\"\",,true,completed,12,2,5,0,1550,"),
            "{}",
            lines[1]
        );
        let table = run(&url, &["usage", "--from", "2026-09-21T00:00:00Z", "--limit", "1"]).await;
        assert!(table.stderr.contains("2 requests"), "{table:?}");
        assert!(table.stderr.contains("more rows"), "{table:?}");
    })
    .await;
}
