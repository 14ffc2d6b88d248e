//! `Idempotency-Key` end to end: what a repeat gets, what it costs, and what it finds after a
//! client, or a gateway, has gone away in the middle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cocoon_metering::Usage;
use cocoon_primitives::{MockClock, Nano, Timestamp, TokenCount};
use cocoon_runtime::Drained;
use cocoon_store::{Outcome, RequestState, SettleOutcome, Settlement};
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::contract;
use super::rig::{COMPLETION_NANO, MODEL, PATIENCE, PROMPT_NANO, Payer, Rig, Setup};

const CHAT: &str = "/v1/chat/completions";
/// More than any request here may cost.
const PLENTY: u64 = 1_000_000_000;
/// "one two three" as the scripted engine counts it, with three more for the message.
const PROMPT_TOKENS: u64 = 6;
/// Slow enough to meet a stream in the middle.
const SLOW: &str = "tokens = 100\ninterval_ms = 10";
const SLOW_TOKENS: u64 = 100;

fn charge(tokens: u64) -> u64 {
    PROMPT_TOKENS * PROMPT_NANO + tokens * COMPLETION_NANO
}

fn request() -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "one two three" }],
        "max_completion_tokens": 100,
    })
}

fn streamed() -> Value {
    let mut request = request();
    request["stream"] = json!(true);
    request
}

fn engine(engine: &'static str) -> Setup {
    Setup { engine: Some(engine), ..Setup::default() }
}

/// A finished answer, byte for byte.
#[derive(Debug)]
struct Heard {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Heard {
    fn is_replay(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().expect("ASCII")
    }

    /// Fails unless it is a refusal in OpenAI's shape; its error object.
    #[track_caller]
    fn refused(&self, status: u16, code: &str) -> Value {
        let body: Value = serde_json::from_slice(&self.body).expect("JSON");
        assert_eq!((self.status, body["error"]["code"].as_str()), (status, Some(code)), "{body}");
        contract::check_component("ErrorBody", &body);
        body["error"].clone()
    }

    /// Fails unless this is that answer again.
    #[track_caller]
    fn repeats(&self, first: &Self) {
        assert!(self.is_replay() && !first.is_replay(), "{self:?}");
        assert_eq!((self.status, &self.body), (first.status, &first.body));
        for name in ["content-type", "cocoon-receipt-id", "cocoon-assurance", "cocoon-worker"] {
            assert_eq!(self.headers[name], first.headers[name], "{name}");
        }
        assert_ne!(self.headers["x-request-id"], first.headers["x-request-id"]);
    }
}

fn post(rig: &Rig, path: &str, payer: &Payer, key: &str, body: &Value) -> contract::Request {
    let request = rig.client.post(rig.url(path)).bearer_auth(&payer.key);
    request.header("idempotency-key", key).body(body.to_string())
}

async fn hear(request: contract::Request) -> Heard {
    let response = request.send().await.expect("the gateway answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.expect("the body arrives");
    Heard { status, headers, body }
}

async fn chat(rig: &Rig, payer: &Payer, key: &str, body: &Value) -> Heard {
    hear(post(rig, CHAT, payer, key, body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_same_bytes_and_is_charged_once() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    for (key, body) in [("whole", request()), ("stream", streamed())] {
        let first = chat(&rig, &payer, key, &body).await;
        assert_eq!(first.status, 200, "{first:?}");
        assert_eq!(first.header("cocoon-receipt-id"), first.header("x-request-id"));
        for form in [key.to_owned(), format!("\"{key}\""), key.to_owned()] {
            chat(&rig, &payer, &form, &body).await.repeats(&first);
        }
    }
    Rig::assert_charged(&rig.balance(&payer).await, 2 * charge(5));
    let stream = chat(&rig, &payer, "stream", &streamed()).await;
    assert!(stream.header("content-type").starts_with("text/event-stream"));
    assert_eq!(stream.header("cache-control"), "no-cache");
    assert!(stream.body.ends_with(b"data: [DONE]\n\n"));
    rig.assert_ledger_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_request_of_one_api_key() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let first = chat(&rig, &payer, "a", &request()).await;
    assert_eq!(first.status, 200, "{first:?}");

    let refused = chat(&rig, &payer, "a", &streamed()).await;
    refused.refused(422, "idempotency_key_mismatch");
    assert_eq!(refused.header("x-should-retry"), "false");
    for path in ["/v1/responses", "/v1/completions", "/v1/embeddings"] {
        let refused = hear(post(&rig, path, &payer, "a", &request())).await;
        refused.refused(422, "idempotency_key_mismatch");
    }
    Rig::assert_charged(&rig.balance(&payer).await, charge(5));

    // Another API key of the same wallet knows nothing of it.
    let second = rig.new_key(&payer.token, &json!({ "name": "second" })).await.text("key");
    let other = Payer { key: second, token: payer.token.clone(), ..payer };
    let answer = chat(&rig, &other, "a", &streamed()).await;
    assert!(answer.status == 200 && !answer.is_replay(), "{answer:?}");
    Rig::assert_charged(&rig.balance(&other).await, 2 * charge(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_refused_before_anything_is_done() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    for key in ["", "\"\"", "two words", "\"open", &"k".repeat(256)] {
        chat(&rig, &payer, key, &request()).await.refused(400, "invalid_idempotency_key");
    }
    let twice = post(&rig, CHAT, &payer, "a", &request()).header("idempotency-key", "b");
    hear(twice).await.refused(400, "invalid_idempotency_key");
    Rig::assert_charged(&rig.balance(&payer).await, 0);

    let session = rig.client.post(rig.url(CHAT)).bearer_auth(&payer.token);
    let session = session.header("idempotency-key", "a").body(request().to_string());
    hear(session).await.refused(403, "api_key_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_still_runs_is_not_run_again() {
    let rig = Rig::with(engine(SLOW)).await;
    let payer = rig.payer(1, PLENTY).await;
    let mut first = post(&rig, CHAT, &payer, "a", &streamed()).send().await.expect("an answer");
    let receipt = first.headers()["cocoon-receipt-id"].clone();
    let mut body = first.chunk().await.expect("the stream runs").expect("a part").to_vec();

    let repeat = chat(&rig, &payer, "a", &streamed()).await;
    repeat.refused(409, "idempotency_in_progress");
    assert_eq!(repeat.header("x-should-retry"), "true");
    assert_eq!((repeat.header("retry-after"), repeat.header("retry-after-ms")), ("1", "1000"));
    chat(&rig, &payer, "a", &request()).await.refused(422, "idempotency_key_mismatch");

    while let Some(part) = first.chunk().await.expect("the stream is not cut") {
        body.extend_from_slice(&part);
    }
    // No wait: who has seen the end finds the answer kept.
    let repeat = chat(&rig, &payer, "a", &streamed()).await;
    assert!(repeat.is_replay(), "{repeat:?}");
    assert_eq!((&repeat.body[..], &repeat.headers["cocoon-receipt-id"]), (&body[..], &receipt));
    Rig::assert_charged(&rig.balance(&payer).await, charge(SLOW_TOKENS));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_equal_requests_at_once_one_runs() {
    let rig = Rig::with(engine("tokens = 5\nfirst_token_ms = 300")).await;
    let payer = rig.payer(1, PLENTY).await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        tasks.spawn(hear(post(&rig, CHAT, &payer, "a", &request())));
    }
    let heard = tasks.join_all().await;
    let ran = heard.iter().filter(|answer| answer.status == 200 && !answer.is_replay());
    assert_eq!(ran.count(), 1);
    for other in heard.iter().filter(|answer| answer.status != 200) {
        other.refused(409, "idempotency_in_progress");
    }
    Rig::assert_charged(&rig.balance(&payer).await, charge(5));
    // Any number of repeats of what is done.
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        tasks.spawn(hear(post(&rig, CHAT, &payer, "a", &request())));
    }
    assert!(tasks.join_all().await.iter().all(Heard::is_replay));
    Rig::assert_charged(&rig.balance(&payer).await, charge(5));
}

/// Repeats a request until it is answered.
async fn until_answered(rig: &Rig, payer: &Payer, body: &Value) -> Heard {
    rig.until("the request is done", async || {
        let repeat = chat(rig, payer, "a", body).await;
        if repeat.status != 200 {
            repeat.refused(409, "idempotency_in_progress");
        }
        repeat.status == 200
    })
    .await;
    chat(rig, payer, "a", body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_client_went_away_is_there_for_the_repeat() {
    let rig = Rig::with(engine(SLOW)).await;
    let payer = rig.payer(1, PLENTY).await;
    let mut first = post(&rig, CHAT, &payer, "a", &streamed()).send().await.expect("an answer");
    let begun = first.chunk().await.expect("the stream runs").expect("a part");
    drop(first);

    let repeat = until_answered(&rig, &payer, &streamed()).await;
    assert!(repeat.is_replay() && repeat.body.starts_with(&begun), "{repeat:?}");
    assert!(repeat.body.ends_with(b"data: [DONE]\n\n"));
    Rig::assert_charged(&rig.balance(&payer).await, charge(SLOW_TOKENS));
    let usage = rig.get("listUsage", "/v1/usage", Some(&payer.key)).await.body;
    assert_eq!(usage["data"][0]["outcome"], "completed");
    rig.assert_ledger_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_whose_client_went_away_is_there_for_the_repeat() {
    let rig = Rig::with(engine("tokens = 5\nfirst_token_ms = 500")).await;
    let payer = rig.payer(1, PLENTY).await;
    let first = post(&rig, CHAT, &payer, "a", &request()).send();
    let reserved = rig
        .until("the request is reserved", async || rig.balance(&payer).await["reserved_nano"] != 0);
    tokio::select! {
        _ = first => panic!("the engine is too fast for this test"),
        () = reserved => {}
    }
    let repeat = until_answered(&rig, &payer, &request()).await;
    let body: Value = serde_json::from_slice(&repeat.body).expect("JSON");
    assert!(repeat.is_replay() && body["usage"]["completion_tokens"] == 5, "{body}");
    Rig::assert_charged(&rig.balance(&payer).await, charge(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_client_a_request_still_counts_against_its_account() {
    let rig = Rig::with(Setup {
        gateway: "[limits]\nrequests_per_wallet = 1".into(),
        ..engine("tokens = 100\ninterval_ms = 20")
    })
    .await;
    let payer = rig.payer(1, PLENTY).await;
    let mut first = post(&rig, CHAT, &payer, "a", &streamed()).send().await.expect("an answer");
    assert!(first.chunk().await.expect("the stream runs").is_some());
    drop(first);
    rig.until("the request alone has the account's share", async || {
        rig.get("getBalance", "/v1/balance", Some(&payer.token)).await.status == 429
    })
    .await;
    rig.until("it is over", async || {
        rig.get("getBalance", "/v1/balance", Some(&payer.token)).await.status == 200
    })
    .await;
    assert!(chat(&rig, &payer, "a", &streamed()).await.is_replay());
    Rig::assert_charged(&rig.balance(&payer).await, charge(SLOW_TOKENS));
}

/// The request keeps the share that its client had: however the two race, nobody else gets it in
/// between, and the request is not cut short for want of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_at_its_bound_does_not_cut_short_what_its_client_left() {
    let rig = Rig::with(Setup {
        gateway: "[limits]\nrequests_per_wallet = 1".into(),
        ..engine("tokens = 20\ninterval_ms = 10")
    })
    .await;
    let payer = rig.payer(1, PLENTY).await;
    for round in 0..8_u32 {
        let (key, is_streamed) = (format!("key-{round}"), round % 2 == 0);
        let body = if is_streamed { streamed() } else { request() };
        let first = post(&rig, CHAT, &payer, &key, &body).send();
        if is_streamed {
            let mut first = first.await.expect("an answer");
            assert!(first.chunk().await.expect("the stream runs").is_some());
        } else {
            let gone = timeout(Duration::from_millis(60), first).await;
            assert!(gone.is_err(), "the engine is too fast for this test");
        }
        // Others of the same account take whatever is free, all the time.
        let ask = async || rig.get("getBalance", "/v1/balance", Some(&payer.token)).await.status;
        rig.until("it is over", async || {
            let [one, two, three] = futures_util::future::join_all([ask(), ask(), ask()])
                .await
                .try_into()
                .expect("three answers");
            [one, two, three].contains(&200)
        })
        .await;
        let repeat = chat(&rig, &payer, &key, &body).await;
        assert!(repeat.status == 200 && repeat.is_replay(), "{round}: {repeat:?}");
    }
    Rig::assert_charged(&rig.balance(&payer).await, 8 * charge(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_the_bound_is_charged_and_not_repeated() {
    for bound in ["answer_bytes_max = 100", "bytes_per_account = 100", "bytes_per_account = 0"] {
        let gateway = format!("[idempotency]\n{bound}");
        let rig = Rig::with(Setup { gateway, ..Setup::default() }).await;
        let payer = rig.payer(1, PLENTY).await;
        for (key, body) in [("whole", request()), ("stream", streamed())] {
            let first = chat(&rig, &payer, key, &body).await;
            assert_eq!(first.status, 200, "{first:?}");
            let repeat = chat(&rig, &payer, key, &body).await;
            let error = repeat.refused(409, "idempotency_replay_unavailable");
            assert_eq!(error["metadata"]["receipt_id"], first.header("cocoon-receipt-id"));
            assert_eq!(repeat.header("x-should-retry"), "false");
        }
        Rig::assert_charged(&rig.balance(&payer).await, 2 * charge(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_a_bounded_number_of_keys() {
    let gateway = "[idempotency]\nrows_per_account = 1".to_owned();
    let rig = Rig::with(Setup { gateway, ..Setup::default() }).await;
    let payer = rig.payer(1, PLENTY).await;
    let first = chat(&rig, &payer, "a", &request()).await;
    let refused = chat(&rig, &payer, "b", &request()).await;
    refused.refused(429, "idempotency_limit_reached");
    assert_eq!(refused.header("x-should-retry"), "false");
    chat(&rig, &payer, "a", &request()).await.repeats(&first);
    let other = rig.payer(2, PLENTY).await;
    assert_eq!(chat(&rig, &other, "b", &request()).await.status, 200);
    Rig::assert_charged(&rig.balance(&payer).await, charge(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_charged_nothing_frees_its_key() {
    let rig = Rig::with(Setup { engine: None, ..Setup::default() }).await;
    let poor = rig.payer(1, 1).await;
    // Nobody serves it, nothing was reserved.
    let refused = chat(&rig, &poor, "a", &request()).await;
    refused.refused(503, "no_worker_available");
    rig.start_worker("tokens = 5").await;
    chat(&rig, &poor, "a", &request()).await.refused(402, "insufficient_balance");
    rig.credit(poor.address, PLENTY).await;
    // The worker refuses it; the next request under the key may be another one.
    let mut empty = request();
    empty["messages"] = json!([]);
    assert_eq!(chat(&rig, &poor, "a", &empty).await.status, 400);
    assert_eq!(chat(&rig, &poor, "a", &json!("no object")).await.status, 400);
    Rig::assert_charged(&rig.balance(&poor).await, 0);

    let answer = chat(&rig, &poor, "a", &request()).await;
    assert!(answer.status == 200 && !answer.is_replay(), "{answer:?}");
    chat(&rig, &poor, "a", &request()).await.repeats(&answer);
    Rig::assert_charged(&rig.balance(&poor).await, charge(5));
    rig.assert_ledger_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_starts_again_repeats_what_it_answered_before() {
    let mut rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let first = chat(&rig, &payer, "a", &streamed()).await;
    rig.restart().await;
    // There is no worker.
    chat(&rig, &payer, "b", &streamed()).await.refused(503, "no_worker_available");
    chat(&rig, &payer, "a", &streamed()).await.repeats(&first);
    chat(&rig, &payer, "a", &request()).await.refused(422, "idempotency_key_mismatch");
    Rig::assert_charged(&rig.balance(&payer).await, charge(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_broke_off_after_it_was_charged_is_not_run_again() {
    let mut rig = Rig::with(engine(SLOW)).await;
    let payer = rig.payer(1, PLENTY).await;
    let mut first = post(&rig, CHAT, &payer, "a", &streamed()).send().await.expect("an answer");
    let receipt = first.headers()["cocoon-receipt-id"].to_str().expect("ASCII").to_owned();
    assert!(first.chunk().await.expect("the stream runs").is_some());
    rig.kill_worker();
    let broken = async { while let Ok(Some(_)) = first.chunk().await {} };
    timeout(PATIENCE, broken).await.expect("it breaks off");

    rig.start_worker("tokens = 5").await;
    let repeat = chat(&rig, &payer, "a", &streamed()).await;
    let error = repeat.refused(409, "idempotency_replay_unavailable");
    assert_eq!(error["metadata"]["receipt_id"], receipt);
    let usage = rig.get("listUsage", "/v1/usage", Some(&payer.key)).await.body;
    assert_eq!(usage["data"].as_array().map(Vec::len), Some(1), "{usage}");
    assert_eq!(usage["data"][0]["outcome"], "worker_lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_a_crash_cut_is_never_charged_twice() {
    let mut rig = Rig::with(engine(SLOW)).await;
    let payer = rig.payer(1, PLENTY).await;
    let mut first = post(&rig, CHAT, &payer, "a", &streamed()).send().await.expect("an answer");
    assert!(first.chunk().await.expect("the stream runs").is_some());
    let receipt = first.headers()["cocoon-receipt-id"].to_str().expect("ASCII").to_owned();
    rig.crash().await;

    // What it costs is not known yet, unless the worker's receipt was quicker than the crash.
    let id = receipt.parse().expect("a request id");
    let row = async || rig.gateway.store.request(id).await.expect("it answers").expect("a row");
    let is_open = row().await.state == RequestState::Open;
    let repeat = chat(&rig, &payer, "a", &streamed()).await;
    let code = if is_open { "idempotency_in_progress" } else { "idempotency_replay_unavailable" };
    repeat.refused(409, code);
    // As the job does with the receipt that a worker brings again.
    let cut = row().await;
    assert!(cut.worker.is_some(), "a worker had it");
    let settlement = Settlement {
        request_id: id,
        holder: None,
        worker: cut.worker,
        payee: cut.payee,
        outcome: Outcome::ClientGone,
        usage: Usage { completion: TokenCount::new(10), ..Usage::default() },
        settled_at: rig.clock.now(),
        receipt: None,
    };
    let settled = rig.gateway.store.settle(settlement).await.expect("it is settled");
    let charge = match settled {
        SettleOutcome::Settled { charge, .. } if is_open => charge.get(),
        SettleOutcome::AlreadySettled { charge } if !is_open => charge.get(),
        other => panic!("open {is_open}: {other:?}"),
    };
    if is_open {
        assert_eq!(charge, 10 * COMPLETION_NANO);
    }
    assert!(charge <= self::charge(SLOW_TOKENS), "{charge}");

    // Its outbox is on disk: the next worker brings what the one before had signed.
    rig.start_worker("tokens = 5").await;
    for _ in 0..2 {
        let repeat = chat(&rig, &payer, "a", &streamed()).await;
        let error = repeat.refused(409, "idempotency_replay_unavailable");
        assert_eq!(error["metadata"]["receipt_id"], receipt);
        Rig::assert_charged(&rig.balance(&payer).await, charge);
    }
    // What runs under another key comes behind that receipt, and changes nothing of it.
    assert_eq!(chat(&rig, &payer, "b", &request()).await.status, 200);
    let usage = rig.get("listUsage", "/v1/usage", Some(&payer.key)).await.body;
    assert_eq!(usage["data"].as_array().map(Vec::len), Some(2), "{usage}");
    Rig::assert_charged(&rig.balance(&payer).await, charge + self::charge(5));
    rig.assert_ledger_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_what_runs_without_its_client() {
    let mut rig = Rig::with(engine(SLOW)).await;
    let payer = rig.payer(1, PLENTY).await;
    let mut first = post(&rig, CHAT, &payer, "a", &streamed()).send().await.expect("an answer");
    assert!(first.chunk().await.expect("the stream runs").is_some());
    drop(first);
    assert_eq!(rig.gateway.drain(PATIENCE).await, Drained::Finished);
    rig.restart().await;
    let repeat = chat(&rig, &payer, "a", &streamed()).await;
    assert!(repeat.is_replay() && repeat.body.ends_with(b"data: [DONE]\n\n"), "{repeat:?}");
    Rig::assert_charged(&rig.balance(&payer).await, charge(SLOW_TOKENS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_after_its_hours() {
    let clock = MockClock::at(Timestamp::from_seconds(1_800_000_000));
    let setup = Setup { clock: Arc::new(clock.clone()), ..Setup::default() };
    let rig = Rig::with(setup).await;
    let payer = rig.payer(1, PLENTY).await;
    let first = chat(&rig, &payer, "a", &request()).await;
    chat(&rig, &payer, "a", &request()).await.repeats(&first);
    clock.advance(Duration::from_secs(24 * 60 * 60));
    // It runs again, though the lease of the only worker is over too.
    let later = chat(&rig, &payer, "a", &request()).await;
    assert!(!later.is_replay(), "{later:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_repeat_needs_no_funds() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let mut large = request();
    large["messages"][0]["content"] = json!("x".repeat(1 << 20));
    let first = chat(&rig, &payer, "a", &large).await;
    assert_eq!(first.status, 200, "{first:?}");
    // Whatever is left is held for something else.
    let left = rig.balance(&payer).await["available_nano"].as_u64().expect("an amount");
    let row = rig.gateway.store.request(first.header("cocoon-receipt-id").parse().expect("an id"));
    let row = row.await.expect("it answers").expect("it was reserved");
    let held = cocoon_store::Reservation {
        request_id: cocoon_primitives::RequestId::from_bytes([7; 16]),
        wallet: payer.address,
        key: None,
        model: row.model,
        price: row.price,
        amount: Nano::new(left).expect("an amount"),
        max_prompt: row.max_prompt,
        max_completion: row.max_completion,
        streamed: false,
        created_at: rig.clock.now(),
        expires_at: rig.clock.now().saturating_add(Duration::from_secs(600)),
        pay_blind: [1; 32],
        commission_bp: 0,
    };
    let reserved = rig.gateway.store.reserve(held).await.expect("it answers");
    assert_eq!(reserved, cocoon_store::ReserveOutcome::Reserved);
    chat(&rig, &payer, "a", &large).await.repeats(&first);
    assert_eq!(chat(&rig, &payer, "b", &large).await.status, 402);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_tells_nothing_of_keys_prompts_and_answers() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let key = "name-of-a-secret-order";
    let mut asked = request();
    asked["messages"][0]["content"] = json!("unusual-word-of-a-prompt");
    let answer = chat(&rig, &payer, key, &asked).await;
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let text = body["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
    chat(&rig, &payer, key, &asked).await.repeats(&answer);
    rig.gateway.store.durable_barrier().await.expect("it reaches the disk");

    let folder = rig.data_dir.path().join("gateway");
    let files = ["store.sqlite", "store.sqlite-wal"]
        .map(|name| std::fs::read(folder.join(name)).expect("the store has its files"));
    let stored = files.concat();
    let holds = |part: &[u8]| stored.windows(part.len()).any(|window| window == part);
    assert!(holds(MODEL.as_bytes()), "what is not secret is found");
    for secret in [key, &payer.key, "unusual-word-of-a-prompt", &text] {
        assert!(!holds(secret.as_bytes()), "{secret} is in the file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_comments_are_not_part_of_the_answer() {
    let gateway = "[limits]\nkeep_alive_ms = 50".to_owned();
    let rig = Rig::with(Setup { gateway, ..engine("tokens = 5\nfirst_token_ms = 400") }).await;
    let payer = rig.payer(1, PLENTY).await;
    let first = chat(&rig, &payer, "a", &streamed()).await;
    let repeat = chat(&rig, &payer, "a", &streamed()).await;
    let text = String::from_utf8(first.body.to_vec()).expect("text");
    assert!(text.starts_with(": keep-alive\n\n"), "{text}");
    assert!(repeat.is_replay());
    assert_eq!(repeat.body, text.replace(": keep-alive\n\n", ""));
    // The status was sent before a worker was found, so no head names it.
    assert!(!first.headers.contains_key("cocoon-worker"));
    assert!(!repeat.headers.contains_key("cocoon-worker"));
}
