//! Chat completions end to end: the answer, its price, its receipt, and every refusal.

use cocoon_attest::receipt::{ReceiptFile, verify_file};
use cocoon_openai_wire::sse::Decoder;
use cocoon_primitives::Nano;
use cocoon_runtime::Drained;
use cocoon_store::Store;
use http::Method;
use serde_json::{Value, json};

use super::contract;
use super::rig::{Answer, COMPLETION_NANO, MODEL, PATIENCE, PROMPT_NANO, Payer, Rig, Setup};

/// More than any request here may cost.
const PLENTY: u64 = 1_000_000_000;
/// "one two three" as the scripted engine counts it, with three more for the message.
const PROMPT_TOKENS: u64 = 6;
/// The scripted engine's answer in the usual rig.
const ANSWER_TOKENS: u64 = 5;
const CHARGE: u64 = PROMPT_TOKENS * PROMPT_NANO + ANSWER_TOKENS * COMPLETION_NANO;

fn request() -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "one two three" }],
        "max_completion_tokens": 100,
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut request = request();
    request[field] = value;
    request
}

async fn chat(rig: &Rig, credential: Option<&str>, body: &Value) -> Answer {
    rig.post("createChatCompletion", "/v1/chat/completions", credential, body).await
}

/// The events of a streamed answer, each checked; the response's headers.
async fn stream(rig: &Rig, payer: &Payer, body: &Value) -> (Vec<Value>, http::HeaderMap) {
    let request = rig.client.post(rig.url("/v1/chat/completions")).bearer_auth(&payer.key);
    let response = request.body(body.to_string()).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(&response.bytes().await.expect("the stream ends cleanly"));
    let mut chunks = Vec::new();
    let mut is_done = false;
    while let Some(event) = decoder.next_event().expect("a well-formed stream") {
        assert!(!is_done, "something follows [DONE]");
        is_done = event.is_done();
        if !is_done {
            let chunk: Value = serde_json::from_str(&event.data).expect("a chunk is JSON");
            contract::check_component("ChatCompletionChunk", &chunk);
            chunks.push(chunk);
        }
    }
    assert!(is_done, "the stream has no [DONE]");
    (chunks, headers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_is_charged_to_the_token() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let answer = chat(&rig, Some(&payer.key), &request()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["usage"]["prompt_tokens"], PROMPT_TOKENS);
    assert_eq!(answer.body["usage"]["completion_tokens"], ANSWER_TOKENS);
    assert_eq!(answer.headers["cocoon-assurance"], "software");
    assert_eq!(answer.headers["cocoon-receipt-id"], answer.headers["x-request-id"]);
    assert!(answer.headers.contains_key("openai-processing-ms"));

    // No wait: a client that sees the end finds its balance exact.
    Rig::assert_charged(&rig.balance(&payer).await, CHARGE);

    let usage = rig.get("listUsage", "/v1/usage", Some(&payer.key)).await.body;
    let row = &usage["data"][0];
    assert_eq!(row["request_id"], answer.headers["x-request-id"].to_str().expect("ASCII"));
    assert_eq!((&row["outcome"], &row["charge_nano"]), (&json!("completed"), &json!(CHARGE)));
    assert_eq!(usage["totals"]["charge_nano"], CHARGE);
    rig.assert_ledger_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_has_openais_shape_and_the_same_price() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let (chunks, headers) = stream(&rig, &payer, &with("stream", json!(true))).await;
    Rig::assert_charged(&rig.balance(&payer).await, CHARGE);

    assert!(headers["content-type"].to_str().expect("ASCII").starts_with("text/event-stream"));
    assert_eq!(headers["cocoon-receipt-id"], headers["x-request-id"]);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let finishes = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"].is_string());
    assert_eq!(finishes.count(), 1);
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()), "nobody asked for usage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_reports_usage_where_asked() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let mut asked = with("stream", json!(true));
    asked["stream_options"] = json!({ "include_usage": true });
    let (chunks, _) = stream(&rig, &payer, &asked).await;
    let last = chunks.last().expect("chunks");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], ANSWER_TOKENS);
    Rig::assert_charged(&rig.balance(&payer).await, CHARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_verifies_offline_and_is_its_payers_alone() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let other = rig.payer(2, PLENTY).await;
    let answer = chat(&rig, Some(&payer.key), &request()).await;
    let id = answer.headers["cocoon-receipt-id"].to_str().expect("ASCII").to_owned();
    let path = format!("/v1/receipts/{id}");
    rig.until("the receipt is countersigned", async || {
        let receipt = rig.get("getReceipt", &path, Some(&payer.key)).await;
        if receipt.status != 200 {
            receipt.refused(404, "receipt_pending");
            assert!(receipt.headers.contains_key("retry-after"));
        }
        receipt.status == 200
    })
    .await;

    let receipt = rig.get("getReceipt", &path, Some(&payer.key)).await;
    let file: ReceiptFile = serde_json::from_value(receipt.body).expect("a receipt file");
    let verified = verify_file(&file, Some(&rig.gateway.receipt_key)).expect("it verifies");
    assert_eq!(verified.core.request_id.to_string(), id);
    assert_eq!(verified.core.usage.completion, ANSWER_TOKENS);
    assert_eq!(verified.account, Some(payer.address));

    rig.get("getReceipt", &path, Some(&other.key)).await.refused(404, "receipt_not_found");
    let nothing = "/v1/receipts/req_00";
    rig.get("getReceipt", nothing, Some(&payer.key)).await.refused(404, "receipt_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_its_client_leaves_is_charged_for_what_was_made() {
    let rig =
        Rig::with(Setup { engine: Some("tokens = 100000\ninterval_ms = 5"), ..Setup::default() })
            .await;
    let payer = rig.payer(1, PLENTY).await;
    let mut asked = with("stream", json!(true));
    asked["max_completion_tokens"] = json!(10_000);
    let request = rig.client.post(rig.url("/v1/chat/completions")).bearer_auth(&payer.key);
    let mut response = request.body(asked.to_string()).send().await.expect("an answer");
    assert!(response.chunk().await.expect("the stream runs").is_some());
    drop(response);

    rig.until("the request is settled", async || rig.balance(&payer).await["reserved_nano"] == 0)
        .await;
    let usage = rig.get("listUsage", "/v1/usage", Some(&payer.key)).await.body;
    let row = &usage["data"][0];
    assert_eq!(row["outcome"], "client_gone");
    let tokens = row["usage"]["completion_tokens"].as_u64().expect("a count");
    assert!(tokens < 5_000, "the engine went on: {tokens} tokens");
    let charge = PROMPT_TOKENS * PROMPT_NANO + tokens * COMPLETION_NANO;
    Rig::assert_charged(&rig.balance(&payer).await, charge);
    rig.assert_ledger_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_paid_is_402_and_reaches_no_worker() {
    let rig = Rig::start().await;
    let poor = rig.payer(1, CHARGE - 1).await;
    let answer = chat(&rig, Some(&poor.key), &request()).await;
    answer.refused(402, "insufficient_balance");
    assert_eq!(answer.headers["x-should-retry"], "false");
    Rig::assert_charged(&rig.balance(&poor).await, 0);

    let rich = rig.payer(2, PLENTY).await;
    let capped = rig.new_key(&rich.token, &json!({ "name": "capped", "spend_cap_nano": 10 })).await;
    let answer = chat(&rig, Some(&capped.text("key")), &request()).await;
    answer.refused(402, "key_spend_limit_reached");
    Rig::assert_charged(&rig.balance(&rich).await, 0);
    rig.assert_ledger_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_and_cost_nothing() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let unknown = chat(&rig, Some(&payer.key), &with("model", json!("gpt-4"))).await;
    unknown.refused(404, "model_not_found");
    assert_eq!(unknown.body["error"]["param"], "model");

    let raw = async |body: &[u8]| {
        let (path, key) = ("/v1/chat/completions", Some(payer.key.as_str()));
        rig.call("createChatCompletion", Method::POST, path, key, Some(body.to_vec())).await
    };
    for body in [&b""[..], b"{", b"[]", b"\"text\"", b"{\"model\": \"\xFF\"}", b"\xFF\xFE", b"{}"] {
        let answer = raw(body).await;
        assert_eq!(answer.status, 400, "{:?}: {}", String::from_utf8_lossy(body), answer.body);
        assert_eq!(answer.headers["x-should-retry"], "false");
    }
    // The worker's own judgement reaches the client as it is.
    let refused = chat(&rig, Some(&payer.key), &with("messages", json!([]))).await;
    assert_eq!((refused.status, &refused.body["error"]["param"]), (400, &json!("messages")));

    Rig::assert_charged(&rig.balance(&payer).await, 0);
    rig.assert_ledger_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_spend() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    chat(&rig, Some(&payer.token), &request()).await.refused(403, "api_key_required");
    chat(&rig, None, &request()).await.refused(401, "missing_api_key");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_with_their_prices() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, 0).await;
    let list = rig.get("listModels", "/v1/models", Some(&payer.key)).await.body;
    let model = &list["data"][0];
    assert_eq!(model["id"], MODEL);
    assert_eq!(model["cocoon"]["assurance"], "software");
    assert_eq!(model["pricing"]["prompt"], "0.00000005");
    let per_million = Nano::new(COMPLETION_NANO * 1_000_000).expect("an amount");
    assert_eq!(model["pricing_nano_per_million"]["completion"], per_million.get());

    let one = rig.get("getModel", &format!("/v1/models/{MODEL}"), Some(&payer.key)).await;
    assert_eq!(&one.body, model);
    let none = rig.get("getModel", "/v1/models/org/none", Some(&payer.key)).await;
    none.refused(404, "model_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_open_streams_finish_and_settles_them() {
    let rig =
        Rig::with(Setup { engine: Some("tokens = 60\ninterval_ms = 10"), ..Setup::default() })
            .await;
    let payer = rig.payer(1, PLENTY).await;
    let body = with("stream", json!(true)).to_string();
    let request = rig.client.post(rig.url("/v1/chat/completions")).bearer_auth(&payer.key);
    let mut response = request.body(body).send().await.expect("an answer");
    assert!(response.chunk().await.expect("the stream runs").is_some());

    // What follows the first chunk arrives while the gateway drains.
    let rest = async {
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.expect("the stream is not cut") {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).expect("text")
    };
    let (drained, rest) = tokio::join!(rig.gateway.drain(PATIENCE), rest);
    assert_eq!(drained, Drained::Finished);
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");

    let store = Store::open(&rig.data_dir.path().join("gateway/store.sqlite")).expect("it opens");
    let balance = store.balance(payer.address).await.expect("a balance");
    assert_eq!(balance.charged.get(), PROMPT_TOKENS * PROMPT_NANO + 60 * COMPLETION_NANO);
    assert_eq!(balance.reserved, Nano::ZERO);
}
