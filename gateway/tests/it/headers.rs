//! Headers of requests that are of no matter, or of some, and one that a worker adds.

use cocoon_openai_wire::endpoint::Endpoint;
use serde_json::{Value, json};

use super::contract;
use super::rig::{MODEL, Payer, Rig, read};

const PLENTY: u64 = 1_000_000_000;

fn request() -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "one two three" }],
        "max_completion_tokens": 100,
    })
}

fn post(rig: &Rig, path: &str, payer: &Payer) -> contract::Request {
    rig.client.post(rig.url(path)).bearer_auth(&payer.key)
}

/// Whether an answer is streamed is the body's affair alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_accepts_changes_nothing() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    for accept in ["text/event-stream", "*/*", "application/json", "no/such; thing,,", "\u{e9}"] {
        for is_streamed in [false, true] {
            let mut body = request();
            body["stream"] = json!(is_streamed);
            let asked = post(&rig, Endpoint::ChatCompletions.path(), &payer);
            let asked = asked.header("accept", accept).body(body.to_string());
            let response = asked.send().await.expect("an answer");
            let status = response.status();
            let media_type = response.headers()["content-type"].to_str().expect("ASCII").to_owned();
            let text = response.text().await.expect("the answer ends cleanly");
            assert_eq!(status, 200, "{accept}: {text}");
            let expected = if is_streamed { "text/event-stream" } else { "application/json" };
            assert!(media_type.starts_with(expected), "{accept}: {media_type}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_that_were_left_out_are_named_in_the_head() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let function = json!({ "type": "function", "function": { "name": "f" } });
    let search = json!({ "type": "web_search" });
    for (tools, named) in [
        (json!([search, function]), Some("web_search")),
        (json!([search, { "type": "x:y" }, search]), Some("web_search,x:y")),
        (json!([function]), None),
    ] {
        for is_streamed in [false, true] {
            let mut body = request();
            (body["tools"], body["tool_choice"]) = (tools.clone(), json!("auto"));
            body["stream"] = json!(is_streamed);
            let asked = post(&rig, Endpoint::ChatCompletions.path(), &payer);
            let response = asked.body(body.to_string()).send().await.expect("an answer");
            assert_eq!(response.status(), 200);
            let told = response.headers().get("cocoon-dropped-tools").cloned();
            response.text().await.expect("the answer ends cleanly");
            assert_eq!(told.as_ref().map(|told| told.to_str().expect("ASCII")), named, "{tools}");
        }
    }
}

/// A compressed body is told from one that is garbled, at every route that reads one.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_encoded_is_a_415_that_says_why() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let chat = Endpoint::ChatCompletions.path();
    for coding in ["gzip", "GZIP", "zstd", "identity, gzip", "aes128gcm"] {
        for path in Endpoint::ALL.map(Endpoint::path) {
            let asked = post(&rig, path, &payer).header("content-encoding", coding);
            // The magic of gzip, which is not UTF-8.
            let asked = asked.body(vec![0x1f, 0x8b, 0x08, 0xff]);
            let answer = read(asked.send().await.expect("an answer")).await;
            answer.refused(415, "unsupported_content_encoding");
            assert_eq!(answer.headers["x-should-retry"], "false");
            assert_eq!(answer.headers["accept-encoding"], "identity");
            let message = answer.body["error"]["message"].as_str().expect("a message");
            assert!(message.contains("Content-Encoding"), "{message}");
        }
    }
    for path in ["/v1/auth/ton-proof/payload", "/v1/auth/ton-proof"] {
        let asked = rig.client.post(rig.url(path)).header("content-encoding", "br").body("x");
        let answer = read(asked.send().await.expect("an answer")).await;
        answer.refused(415, "unsupported_content_encoding");
    }
    Rig::assert_charged(&rig.balance(&payer).await, 0);
    for coding in ["identity", "Identity", ""] {
        let asked = post(&rig, chat, &payer).header("content-encoding", coding);
        let answer = read(asked.body(request().to_string()).send().await.expect("an answer")).await;
        assert_eq!(answer.status, 200, "{coding}: {}", answer.body);
    }
}
