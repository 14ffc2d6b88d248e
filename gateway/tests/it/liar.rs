//! A worker that enrols as it should and then lies to the real composition: its client is told,
//! the ledger stays exact, and the next worker serves.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use cocoon_attest::enrol::Challenge;
use cocoon_attest::lease::Lease;
use cocoon_attest::receipt::{
    Commitment, Finish, ReceiptDraft, ReceiptSigner, Terms, Usage, request_commitment,
};
use cocoon_primitives::Digest;
use cocoon_runtime::{Drained, Lifecycle};
use cocoon_uplink_wire::enrol::{GatewayMessage, Hello, WorkerMessage};
use cocoon_uplink_wire::event::WorkerEvent;
use cocoon_uplink_wire::headers::{
    ATTEMPT, CHAT_PATH, EVENTS_PATH, PROMPT_TOKENS, REQUEST_ID, TERMS,
};
use cocoon_uplink_wire::message::encode;
use cocoon_uplink_wire::{ALPN, FrameKind, VERSION, encode_frame};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

#[path = "../support/raw_uplink.rs"]
mod raw_uplink;

use raw_uplink::{RawUplink, client, connect, exporter, receive, send};

use super::forge::Forge;
use super::rig::{Answer, COMPLETION_NANO, MODEL, PATIENCE, PROMPT_NANO, Payer, Rig, SEED, Setup};

const CREDIT: u64 = 1_000_000_000;
const PROMPT: u64 = 3;
/// What a lying answer has delivered before the lie, in tokens.
const DELIVERED: u64 = 2;
const CHUNK: &[u8] = br#"data: {"id":"chatcmpl-00000000000000000000000000000000","object":"chat.completion.chunk","created":1,"model":"scripted","choices":[{"index":0,"delta":{"role":"assistant","content":"a"},"logprobs":null,"finish_reason":null}]}

"#;

/// The proper end of a stream.
const END: &[u8] = br#"data: {"id":"chatcmpl-00000000000000000000000000000000","object":"chat.completion.chunk","created":1,"model":"scripted","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}

data: [DONE]

"#;

/// How a worker lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// Two tokens, then bytes that are no frame.
    Garbage,
    /// Two tokens, then a receipt, well signed, for five.
    Count,
    /// Two letters, and everything about them in order but that they are [`CLAIMED`] tokens.
    Overcount,
}

/// As many as the request allows.
const CLAIMED: u32 = 90;

/// Everything as it should be, up to the lease.
async fn enrol(rig: &Rig) -> (RawUplink, ReceiptSigner) {
    let (key, forge) = (KeyPair::generate().expect("a key"), Forge::new(SEED, MODEL));
    let mut uplink = connect(rig.gateway.uplink, client(Some(&key), ALPN)).await.expect("TLS");
    send(&mut uplink, &WorkerMessage::Hello(Hello { v: VERSION })).await;
    let GatewayMessage::Challenge(challenge) = receive(&mut uplink).await else {
        panic!("no challenge")
    };
    let challenge = Challenge::decode(&challenge).expect("a challenge");
    let spki = key.subject_public_key_info();
    let evidence = forge.answer(&challenge, &exporter(&uplink), &spki, rig.clock.now());
    send(&mut uplink, &WorkerMessage::Evidence(evidence)).await;
    let GatewayMessage::Lease(lease) = receive(&mut uplink).await else { panic!("no lease") };
    let lease = Lease::decode(&lease).expect("a lease");
    (uplink, forge.receipt_key.signer(lease.facts()))
}

/// The one worker of this gateway, until its lifecycle ends.
async fn start(rig: &Rig, lie: Lie) -> Lifecycle {
    let (uplink, signer) = enrol(rig).await;
    let signer = Arc::new(signer);
    let service = service_fn(move |request: Request<Incoming>| {
        let signer = Arc::clone(&signer);
        async move { Ok::<_, Infallible>(answer(request, lie, &signer).await) }
    });
    let lifecycle = Lifecycle::new();
    let hard = lifecycle.hard().clone();
    lifecycle.spawn("liar", async move {
        let server = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(uplink), service);
        tokio::select! {
            _ = server => {}
            () = hard.cancelled() => {}
        }
    });
    until_ready(rig, true).await;
    lifecycle
}

async fn until_ready(rig: &Rig, wanted: bool) {
    let what = if wanted { "a worker is there" } else { "no worker is there" };
    rig.until(what, async || (rig.get("getReady", "/ready", None).await.status == 200) == wanted)
        .await;
}

type LiarBody = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    lie: Lie,
    signer: &ReceiptSigner,
) -> Response<LiarBody> {
    match request.uri().path() {
        EVENTS_PATH => {
            let load = WorkerEvent::Load { running: 0, waiting: 0, permits: 8, queue: 0 };
            let load = stream::iter([Ok(http_body::Frame::data(encode(&load)))]);
            Response::new(StreamBody::new(load.chain(stream::pending())).boxed_unsync())
        }
        CHAT_PATH => {
            let head = request.headers().clone();
            let body = request.into_body().collect().await.expect("the body comes").to_bytes();
            let frames = frames(&head, &body, lie, signer);
            let mut response = Response::new(Full::new(frames).boxed_unsync());
            response.headers_mut().insert(PROMPT_TOKENS, PROMPT.into());
            response
        }
        path => panic!("nobody asks for {path}"),
    }
}

fn frames(head: &HeaderMap, body: &[u8], lie: Lie, signer: &ReceiptSigner) -> Bytes {
    let count = u32::try_from(DELIVERED).expect("few");
    let data = |count| encode_frame(FrameKind::Data, count, CHUNK);
    let parts = match lie {
        Lie::Overcount => {
            let receipt = receipt(head, body, [CHUNK, CHUNK, END], CLAIMED.into(), signer);
            let receipt = encode_frame(FrameKind::Receipt, CLAIMED, &receipt);
            let end = encode_frame(FrameKind::Data, CLAIMED, END);
            vec![data(1), data(CLAIMED), receipt, end]
        }
        Lie::Garbage => vec![data(1), data(count), Bytes::from_static(&[0xff; 64])],
        Lie::Count => {
            let receipt = receipt(head, body, [CHUNK; 3], DELIVERED + 3, signer);
            vec![
                data(1),
                data(count),
                encode_frame(FrameKind::Receipt, count, &receipt),
                data(count),
            ]
        }
    };
    parts.concat().into()
}

/// In order, whatever is to be said of the count.
fn receipt(
    head: &HeaderMap,
    body: &[u8],
    payloads: [&[u8]; 3],
    completion: u64,
    signer: &ReceiptSigner,
) -> Vec<u8> {
    let text = |name| head[name].to_str().expect("ASCII");
    let terms = URL_SAFE_NO_PAD.decode(text(TERMS)).expect("base64");
    let salt = [9; 32];
    let mut commitment = Commitment::new();
    payloads.iter().for_each(|payload| commitment.push(payload));
    let now = cocoon_primitives::Clock::now(&cocoon_runtime::SystemClock);
    let draft = ReceiptDraft {
        request_id: text(REQUEST_ID).parse().expect("an id"),
        attempt: text(ATTEMPT).parse().expect("a number"),
        chat_id: "chatcmpl-liar".to_owned(),
        model: MODEL.parse().expect("a name"),
        model_manifest_digest: Digest::from_bytes([7; 32]),
        req_commit: request_commitment(&salt, body),
        resp_commit: commitment.digest(&salt),
        frames: commitment.frames(),
        finish: Finish::Stop,
        usage: Usage { prompt: PROMPT, cached: 0, completion, reasoning: 0 },
        params_digest: Digest::from_bytes([0; 32]),
        started: now,
        ended: now,
        terms: Terms::decode(&terms).expect("terms"),
        salt,
    };
    signer.sign(draft).to_bytes()
}

fn request(is_streamed: bool) -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "one two three" }],
        "stream": is_streamed,
        "max_completion_tokens": 100,
    })
}

async fn whole(rig: &Rig, payer: &Payer) -> Answer {
    let path = "/v1/chat/completions";
    rig.post("createChatCompletion", path, Some(&payer.key), &request(false)).await
}

/// Reads a stream to its bitter end.
async fn broken_stream(rig: &Rig, payer: &Payer) -> String {
    let asked = rig.client.post(rig.url("/v1/chat/completions")).bearer_auth(&payer.key);
    let asked = asked.body(request(true).to_string());
    let mut response = asked.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let mut text = Vec::new();
    let end = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            end => break end,
        }
    };
    assert!(end.is_err(), "the stream ends as if it were complete");
    String::from_utf8(text).expect("text")
}

async fn lied_to(lie: Lie) {
    let mut rig = Rig::with(Setup { engine: None, ..Setup::default() }).await;
    let payer = rig.payer(1, CREDIT).await;
    let liar = start(&rig, lie).await;

    // What was delivered before the lie is charged, and the client knows that it is not all.
    let text = broken_stream(&rig, &payer).await;
    assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
    let charge = PROMPT * PROMPT_NANO + DELIVERED * COMPLETION_NANO;
    Rig::assert_charged(&rig.balance(&payer).await, charge);

    // Of a whole answer the client has nothing, so it costs nothing.
    let answer = whole(&rig, &payer).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    Rig::assert_charged(&rig.balance(&payer).await, charge);
    rig.assert_ledger_clean().await;

    liar.hard().cancel();
    until_ready(&rig, false).await;
    rig.start_worker("tokens = 5").await;
    let answer = whole(&rig, &payer).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let honest = 6 * PROMPT_NANO + 5 * COMPLETION_NANO;
    Rig::assert_charged(&rig.balance(&payer).await, charge + honest);
    rig.assert_ledger_clean().await;
    // A lie does not outlive the process either.
    rig.restart().await;
    Rig::assert_charged(&rig.balance(&payer).await, charge + honest);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_none_cost_what_came_before_them() {
    lied_to(Lie::Garbage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_for_more_than_was_sent_is_worth_what_was_sent() {
    lied_to(Lie::Count).await;
}

/// Each client has its answer and pays for its text, and the receipt is no bill. One client alone
/// does not bring a worker out; once three wallets saw the same, it gets nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_claims_more_than_its_text_has_is_in_quarantine() {
    let tokenizer =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny-demo/tokenizer.json");
    let gateway = format!("tokenizer = {tokenizer:?}\n[billing]\nrecount_one_in = 1\n");
    let rig = Rig::with(Setup { engine: None, gateway, ..Setup::default() }).await;
    let liar = start(&rig, Lie::Overcount).await;
    let first = rig.payer(1, CREDIT).await;
    for _ in 0..4 {
        overcounted(&rig, &first).await;
    }
    assert_eq!(rig.get("getReady", "/ready", None).await.status, 200, "one wallet is not enough");
    let second = rig.payer(2, CREDIT).await;
    overcounted(&rig, &second).await;
    assert_eq!(rig.get("getReady", "/ready", None).await.status, 200, "nor are two");
    let third = rig.payer(3, CREDIT).await;
    overcounted(&rig, &third).await;

    until_ready(&rig, false).await;
    assert_eq!(liar.drain(PATIENCE).await, Drained::Finished, "its link was closed");
    // An honest worker is counted as well, and goes on.
    rig.start_worker("tokens = 5").await;
    for payer in [&first, &second, &third] {
        assert_eq!(whole(&rig, payer).await.status, 200);
    }
    rig.assert_ledger_clean().await;
}

/// One answer of [`Lie::Overcount`].
async fn overcounted(rig: &Rig, payer: &Payer) {
    let before = rig.balance(payer).await["charged_nano"].as_u64().expect("an amount");
    let asked = rig.client.post(rig.url("/v1/chat/completions")).bearer_auth(&payer.key);
    let response = asked.body(request(true).to_string()).send().await.expect("an answer");
    let id = response.headers()["cocoon-receipt-id"].to_str().expect("ASCII").to_owned();
    let text = response.bytes().await.expect("the stream ends cleanly");
    assert_eq!(text.len(), 2 * CHUNK.len() + END.len());
    // Each of the two letters is one token of this tokenizer at most.
    let balance = rig.balance(payer).await;
    let charged = balance["charged_nano"].as_u64().expect("an amount") - before;
    let completion = (charged - PROMPT * PROMPT_NANO) / COMPLETION_NANO;
    assert!((1..=2).contains(&completion), "{balance}");
    let charge = PROMPT * PROMPT_NANO + completion * COMPLETION_NANO;
    Rig::assert_charged(&balance, before + charge);
    let receipt = rig.get("getReceipt", &format!("/v1/receipts/{id}"), Some(&payer.key)).await;
    receipt.refused(404, "receipt_late");
}
