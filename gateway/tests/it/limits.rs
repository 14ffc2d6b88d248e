//! Bodies that are too long or too slow, and more requests than there is room for.

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::contract;
use super::rig::{MODEL, PATIENCE, Rig, Setup, read};

const PATH: &str = "/v1/chat/completions";

/// Sends raw bytes, then reads until the gateway has said `until` or closes.
async fn raw(rig: &Rig, sent: &[u8], until: &str) -> String {
    let mut stream = TcpStream::connect(rig.gateway.api).await.expect("a connection");
    stream.write_all(sent).await.expect("sent");
    let mut received = Vec::new();
    let read = timeout(PATIENCE, async {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&received).contains(until) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => received.extend_from_slice(&buffer[..count]),
            }
        }
    });
    assert!(read.await.is_ok(), "no answer: {}", String::from_utf8_lossy(&received));
    String::from_utf8_lossy(&received).into_owned()
}

fn head(key: &str, rest: &str) -> String {
    format!("POST {PATH} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n{rest}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_33_megabytes_ends_in_a_413_that_its_sender_reads() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, 0).await;
    let big = vec![b' '; 33 << 20];
    let answer =
        rig.call("createChatCompletion", Method::POST, PATH, Some(&payer.key), Some(big.clone()));
    let answer = answer.await;
    answer.refused(413, "payload_too_large");
    assert_eq!(answer.headers["x-should-retry"], "false");

    // Without an announced length, and with a key that is none.
    let chunked = rig.client.post(rig.url(PATH)).bearer_auth(&payer.key);
    let pieces = big.chunks(1 << 20).map(|piece| Ok::<_, std::io::Error>(piece.to_vec()));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces.collect::<Vec<_>>()));
    read(chunked.body(body).send().await.expect("an answer"))
        .await
        .refused(413, "payload_too_large");
    let stranger = rig.call("createChatCompletion", Method::POST, PATH, None, Some(big)).await;
    stranger.refused(401, "missing_api_key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_first_is_refused_before_it_sends() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, 0).await;
    let rest = "content-length: 40000000\r\nexpect: 100-continue\r\n";
    let answer = raw(&rig, head(&payer.key, rest).as_bytes(), "payload_too_large").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_a_408() {
    let rig =
        Rig::with(Setup { gateway: "[limits]\nbody_timeout_ms = 100".into(), ..Setup::default() })
            .await;
    let payer = rig.payer(1, 0).await;
    let slow = head(&payer.key, "content-length: 1000\r\n") + "{\"model\":";
    let answer = raw(&rig, slow.as_bytes(), "request_timeout").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let body = serde_json::from_str(body.trim()).expect("JSON");
    contract::check_component("ErrorBody", &body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_costs_one_connection() {
    let rig = Rig::start().await;
    for garbage in ["\0\u{1}\u{2}\u{3}garbage\r\n\r\n", "GET /v1/models HTTP/9.9\r\n\r\n"] {
        let answer = raw(&rig, garbage.as_bytes(), "\r\n\r\n").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(rig.get("getHealth", "/health", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_gateway_sheds_and_recovers() {
    let rig = Rig::with(Setup {
        engine: Some("tokens = 100000\ninterval_ms = 5"),
        gateway: "[limits]\nrequests_in_flight = 1".into(),
        ..Setup::default()
    })
    .await;
    let payer = rig.payer(1, 1_000_000_000).await;
    let body = json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "hello" }],
        "stream": true,
        "max_completion_tokens": 10_000,
    });
    let request = rig.client.post(rig.url(PATH)).bearer_auth(&payer.key).body(body.to_string());
    let mut open = request.send().await.expect("an answer");
    assert!(open.chunk().await.expect("the stream runs").is_some());

    // The open stream holds the only permit.
    let shed = rig.get("getBalance", "/v1/balance", Some(&payer.key)).await;
    shed.refused(503, "overloaded");
    assert_eq!(shed.headers["retry-after"], "1");
    assert_eq!(shed.headers["retry-after-ms"], "1000");
    assert_eq!(rig.get("getHealth", "/health", None).await.status, 200);

    drop(open);
    rig.until("the permit is back", async || {
        rig.get("getBalance", "/v1/balance", Some(&payer.key)).await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_with_bodies_that_never_end_keep_nobody_out() {
    let rig = Rig::with(Setup {
        engine: None,
        gateway: "[limits]\nrequests_in_flight = 1\nbody_timeout_ms = 600000".into(),
        ..Setup::default()
    })
    .await;
    let payer = rig.payer(1, 0).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(rig.gateway.api).await.expect("a connection");
        let head = head("sk-none", "content-length: 1000000\r\n") + "{";
        stream.write_all(head.as_bytes()).await.expect("sent");
        open.push(stream);
    }
    // Each of them passes through the only permit on its way to the refusal.
    rig.until("a payer is served again and again", async || {
        for _ in 0..50 {
            let balance = rig.get("getBalance", "/v1/balance", Some(&payer.key)).await;
            if balance.status != 200 {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wallet_runs_its_share_and_others_theirs() {
    let rig = Rig::with(Setup {
        engine: Some("tokens = 100000\ninterval_ms = 5"),
        gateway: "[limits]\nrequests_per_wallet = 1".into(),
        ..Setup::default()
    })
    .await;
    let greedy = rig.payer(1, 1_000_000_000).await;
    let other = rig.payer(2, 0).await;
    let body = json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "hello" }],
        "stream": true,
        "max_completion_tokens": 10_000,
    });
    let request = rig.client.post(rig.url(PATH)).bearer_auth(&greedy.key).body(body.to_string());
    let mut open = request.send().await.expect("an answer");
    assert!(open.chunk().await.expect("the stream runs").is_some());

    let over = rig.post("createChatCompletion", PATH, Some(&greedy.key), &body).await;
    over.refused(429, "rate_limit_exceeded");
    assert_eq!(over.headers["retry-after"], "1");
    assert_eq!(over.headers["retry-after-ms"], "1000");
    assert_eq!(rig.get("getBalance", "/v1/balance", Some(&other.key)).await.status, 200);

    drop(open);
    rig.until("the share is back", async || {
        rig.get("getBalance", "/v1/balance", Some(&greedy.key)).await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_gateways_memory_are_told_to_come_back() {
    let rig = Rig::with(Setup {
        engine: None,
        gateway: "[limits]\nbody_bytes = 100000\nbody_bytes_in_flight = 150000".into(),
        ..Setup::default()
    })
    .await;
    let payer = rig.payer(1, 0).await;
    let half = vec![b' '; 90_000];
    let head = head(&payer.key, "content-length: 95000\r\n");
    let key = Some(payer.key.as_str());
    let ask = || rig.call("createChatCompletion", Method::POST, PATH, key, Some(half.clone()));
    // A body that never ends may itself be refused, if it comes while a question holds the room:
    // so there is one more of them for each question, until one is in.
    let mut open = Vec::new();
    let mut shed = None;
    for _ in 0..100 {
        let mut endless = TcpStream::connect(rig.gateway.api).await.expect("a connection");
        endless.write_all(head.as_bytes()).await.expect("sent");
        endless.write_all(&half).await.expect("sent");
        open.push(endless);
        let answer = ask().await;
        if answer.status == 503 {
            shed = Some(answer);
            break;
        }
    }
    let shed = shed.expect("the room is full while an endless body holds it");
    shed.refused(503, "overloaded");
    assert_eq!(shed.headers["retry-after-ms"], "1000");
    drop(open);
    rig.until("there is room", async || ask().await.status == 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let rig = Rig::with(Setup {
        engine: None,
        gateway: "[limits]\nheader_timeout_ms = 100".into(),
        ..Setup::default()
    })
    .await;
    // Not even a first byte, a head without an end, and the start of an HTTP/2 preface.
    for sent in ["", "GET /health HTTP/1.1\r\n", "PRI * HT"] {
        let answer = raw(&rig, sent.as_bytes(), "\0").await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
}
