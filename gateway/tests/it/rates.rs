//! Requests and tokens per minute: what the headers say, and what a refusal does.

use std::sync::Arc;
use std::time::Duration;

use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_primitives::{MockClock, Timestamp};
use http::HeaderMap;
use serde_json::{Value, json};

use super::rig::{Answer, MODEL, Payer, Rig, Setup};

const PLENTY: u64 = 1_000_000_000;
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Prompt and completion of the request below, as the scripted engine counts them.
const TOKENS: u64 = 6 + 5;

fn request() -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "one two three" }],
        "max_completion_tokens": 100,
    })
}

async fn chat(rig: &Rig, payer: &Payer, body: &Value) -> Answer {
    let path = Endpoint::ChatCompletions.path();
    rig.post("createChatCompletion", path, Some(&payer.key), body).await
}

/// Time stands still unless the test moves it.
async fn rig(limits: &str) -> (Rig, MockClock) {
    let clock = MockClock::at(NOW);
    let gateway = format!("[limits]\n{limits}");
    let setup = Setup { gateway, clock: Arc::new(clock.clone()), ..Setup::default() };
    (Rig::with(setup).await, clock)
}

/// Limit, remaining and reset of requests or tokens.
fn level(headers: &HeaderMap, what: &str) -> [String; 3] {
    ["limit", "remaining", "reset"].map(|name| {
        let name = format!("x-ratelimit-{name}-{what}");
        headers[&name].to_str().expect("ASCII").to_owned()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_refusals_say_what_is_left_of_the_minute() {
    let (rig, clock) = rig("requests_per_minute = 3\ntokens_per_minute = 60000").await;
    let payer = rig.payer(1, PLENTY).await;
    let answer = chat(&rig, &payer, &request()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(level(&answer.headers, "requests"), ["3", "2", "20s"]);
    // What was set aside beyond the use of it is back.
    let left = (60_000 - TOKENS).to_string();
    assert_eq!(level(&answer.headers, "tokens"), ["60000", left.as_str(), "11ms"]);

    // A refusal counts as a request and takes no tokens.
    let unknown = json!({ "model": "none", "messages": [{ "role": "user", "content": "x" }] });
    let refused = chat(&rig, &payer, &unknown).await;
    refused.refused(404, "model_not_found");
    assert_eq!(level(&refused.headers, "requests"), ["3", "1", "40s"]);

    // The head of a stream comes before its use: its worst case is missing.
    let mut streamed = request();
    streamed["stream"] = json!(true);
    let asked = rig.client.post(rig.url(Endpoint::ChatCompletions.path()));
    let asked = asked.bearer_auth(&payer.key).body(streamed.to_string());
    let stream = asked.send().await.expect("an answer");
    assert_eq!(level(stream.headers(), "requests"), ["3", "0", "1m0s"]);
    assert!(level(stream.headers(), "tokens")[1].parse::<u64>().expect("a number") < 60_000);
    stream.bytes().await.expect("the stream ends");

    let limited = chat(&rig, &payer, &request()).await;
    limited.refused(429, "rate_limit_exceeded");
    assert_eq!(limited.headers["x-should-retry"], "true");
    assert_eq!(limited.headers["retry-after"], "20");
    assert_eq!(limited.headers["retry-after-ms"], "20000");
    assert_eq!(level(&limited.headers, "requests"), ["3", "0", "1m0s"]);
    let left = (60_000 - 2 * TOKENS).to_string();
    assert_eq!(level(&limited.headers, "tokens")[1], left);
    let other = rig.payer(2, PLENTY).await;
    assert_eq!(chat(&rig, &other, &request()).await.status, 200, "others have their own");

    clock.advance(Duration::from_secs(20));
    assert_eq!(chat(&rig, &payer, &request()).await.status, 200, "the wait was honest");
    // Looking at the account is not inference.
    let balance = rig.get("getBalance", "/v1/balance", Some(&payer.token)).await;
    assert!(!balance.headers.contains_key("x-ratelimit-limit-requests"));
}

/// A worker reads the prompt once for each choice, and it is charged once.
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_counts_for_each_of_its_choices() {
    let (rig, _) = rig("tokens_per_minute = 60000").await;
    let payer = rig.payer(1, PLENTY).await;
    let mut body = request();
    body["n"] = json!(4);
    let answer = chat(&rig, &payer, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["usage"]["prompt_tokens"], 6);
    assert_eq!(level(&answer.headers, "tokens")[1], (60_000 - 4 * TOKENS).to_string());

    // What fits once does not fit twice.
    body["messages"][0]["content"] = json!("x".repeat(35_000));
    for (n, status) in [(1, 200), (2, 429)] {
        body["n"] = json!(n);
        let answer = chat(&rig, &payer, &body).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    rig.assert_ledger_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_set_aside_by_the_worst_case() {
    let (rig, clock) = rig("tokens_per_minute = 6000").await;
    let payer = rig.payer(1, PLENTY).await;
    let mut large = request();
    large["max_completion_tokens"] = json!(6000);
    let never = chat(&rig, &payer, &large).await;
    never.refused(429, "rate_limit_exceeded");
    assert_eq!(never.headers["x-should-retry"], "false");
    assert!(!never.headers.contains_key("retry-after"));
    assert_eq!(level(&never.headers, "tokens"), ["6000", "6000", "0s"]);
    Rig::assert_charged(&rig.balance(&payer).await, 0);

    // Each leaves its use behind, and the next needs all the room that its worst case takes.
    large["max_completion_tokens"] = json!(4800);
    assert_eq!(chat(&rig, &payer, &large).await.status, 200);
    let body_bytes = u64::try_from(large.to_string().len()).expect("it is small");
    let worst = body_bytes + 1024 + 4800;
    let room = 6000 - TOKENS - worst;
    large["max_completion_tokens"] = json!(4800 + room + 1);
    let limited = chat(&rig, &payer, &large).await;
    limited.refused(429, "rate_limit_exceeded");
    let wait: u64 = limited.headers["retry-after-ms"].to_str().expect("ASCII").parse().expect("ms");
    assert_eq!(wait, 10, "one token of 6000 in a minute");
    clock.advance(Duration::from_millis(wait));
    assert_eq!(chat(&rig, &payer, &large).await.status, 200, "the wait was honest");
    rig.assert_ledger_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_with_its_share_is_told_of_its_rates_too() {
    let rig = Rig::with(Setup {
        engine: Some("tokens = 100000\ninterval_ms = 5"),
        gateway: "[limits]\nrequests_per_wallet = 1".into(),
        ..Setup::default()
    })
    .await;
    let payer = rig.payer(1, PLENTY).await;
    let mut body = request();
    body["stream"] = json!(true);
    let asked = rig.client.post(rig.url(Endpoint::ChatCompletions.path()));
    let open = asked.bearer_auth(&payer.key).body(body.to_string()).send().await;
    let open = open.expect("an answer");
    let over = chat(&rig, &payer, &request()).await;
    over.refused(429, "rate_limit_exceeded");
    assert_eq!(level(&over.headers, "requests")[0], "6000");
    drop(open);
}
