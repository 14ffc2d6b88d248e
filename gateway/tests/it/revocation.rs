//! A policy that changes under a running stack: what clients and wallets see of it.

use std::time::Duration;

use cocoon_attest::softtee::SoftTee;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::contract;
use super::forge::PolicyText;
use super::rig::{COMPLETION_NANO, MODEL, PROMPT_NANO, Payer, Rig, SEED, Setup};

const CREDIT: u64 = 1_000_000_000;
/// From the change of the file until nobody serves any more.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Of `one two three`, as the scripted engine counts.
const PROMPT: u64 = 6;

fn request(tokens: u32) -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "one two three" }],
        "stream": true,
        "max_completion_tokens": tokens,
    })
}

/// A stream whose first chunk is here.
async fn stream(rig: &Rig, payer: &Payer, tokens: u32) -> contract::Response {
    let asked = rig.client.post(rig.url("/v1/chat/completions")).bearer_auth(&payer.key);
    let asked = asked.body(request(tokens).to_string()).send().await;
    let mut response = asked.expect("an answer");
    assert_eq!(response.status(), 200);
    assert!(response.chunk().await.expect("the stream runs").is_some());
    response
}

/// The next version of the policy, in which no model is listed any more.
async fn revoke(rig: &Rig, on_revocation: &'static str) {
    let text =
        PolicyText { version: 2, models: Some(Vec::new()), on_revocation, ..PolicyText::default() };
    let beside = rig.data_dir.path().join("policy.new");
    std::fs::write(&beside, text.write(&SoftTee::from_seed(&SEED))).expect("written");
    let changed = Instant::now();
    std::fs::rename(beside, rig.data_dir.path().join("policy.toml")).expect("renamed");
    rig.until("no worker is there", async || {
        rig.get("getReady", "/ready", None).await.status == 503
    })
    .await;
    assert!(changed.elapsed() < AT_ONCE, "it took {:?}", changed.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_revoked_worker_finishes_where_the_policy_lets_it() {
    let setup = Setup { engine: Some("tokens = 60\ninterval_ms = 20"), ..Setup::default() };
    let rig = Rig::with(setup).await;
    let payer = rig.payer(1, CREDIT).await;
    let mut response = stream(&rig, &payer, 100).await;
    revoke(&rig, "finish").await;
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.expect("the stream is not cut") {
        text.extend_from_slice(&chunk);
    }
    assert!(text.ends_with(b"data: [DONE]\n\n"));
    let charge = PROMPT * PROMPT_NANO + 60 * COMPLETION_NANO;
    Rig::assert_charged(&rig.balance(&payer).await, charge);
    rig.assert_ledger_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_revoked_worker_is_cut_where_the_policy_says_so() {
    let setup = Setup { engine: Some("tokens = 10000\ninterval_ms = 20"), ..Setup::default() };
    let rig = Rig::with(setup).await;
    let payer = rig.payer(1, CREDIT).await;
    let mut response = stream(&rig, &payer, 10_000).await;
    revoke(&rig, "cut").await;
    let mut text = Vec::new();
    let end = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            end => break end,
        }
    };
    assert!(end.is_err(), "the stream ends as if it were complete");
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
    // What was delivered is paid, and nothing stays reserved.
    rig.until("the stream is settled", async || {
        rig.balance(&payer).await["reserved_nano"] == json!(0)
    })
    .await;
    let charged = rig.balance(&payer).await["charged_nano"].as_u64().expect("an amount");
    assert!((PROMPT * PROMPT_NANO..CREDIT).contains(&charged), "{charged}");
    rig.assert_ledger_clean().await;
}
