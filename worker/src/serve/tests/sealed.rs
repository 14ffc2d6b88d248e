//! Sealed requests: opened, held to their head, answered in sealed frames.

mod ends;
mod refusals;
mod traces;

use cocoon_attest::receipt::{Finish, params_commitment};
use cocoon_seal::{
    AnswerHead, AnswerKeys, Head, OpenError, Recipient, SealKeys, SealRandom, SealedRefusal,
};
use cocoon_seal::{Frame as SealedFrame, FrameKind as SealedKind};

use super::*;
use crate::serve::plan::params;

const RESPONSES: &str = headers::RESPONSES_PATH;

fn seal_head(path: &str, is_stream: bool) -> Head {
    Head {
        path: path.to_owned(),
        request_id: REQUEST,
        model: "m".parse().expect("a model name"),
        is_stream,
        max_prompt_tokens: 1000,
        max_tokens: 100,
        max_price: [1000; 3],
        not_after: NOW.saturating_add(std::time::Duration::from_secs(300)),
        pay_commit: [9; 32],
    }
}

/// A request as a gateway passes it on, and what opens the answer.
struct Sent {
    request: Request<Bytes>,
    keys: AnswerKeys,
}

impl Sent {
    fn again(&self) -> Request<Bytes> {
        self.request.clone()
    }
}

/// Seals to the rig's worker, second of two.
fn seal(rig: &Rig, head: &Head, body: &[u8]) -> Sent {
    let stranger = Recipient {
        worker_id: cocoon_primitives::WorkerId::from_bytes([77; 32]),
        key: KeyPair::from_seed(&[77; 32]).public(),
        evidence_digest: Digest::from_bytes([77; 32]),
    };
    let recipient = Recipient {
        worker_id: rig.lease.worker_id(),
        key: rig.lease.seal_key.public(),
        evidence_digest: rig.lease.evidence_digest(),
    };
    let random = SealRandom { cek: [1; 32], ephemeral: [[2; 32], [3; 32], [4; 32], [5; 32]] };
    let sealed = cocoon_seal::seal(head, body, &[stranger, recipient], &random);
    let (seal_keys, body, keys) = sealed.expect("a sealed request");
    Sent { request: sealed_request(head, &seal_keys, body), keys }
}

fn sealed_request(seal_head: &Head, keys: &SealKeys, body: Vec<u8>) -> Request<Bytes> {
    let mut map = head();
    for (name, value) in seal_head.write() {
        map.insert(name, value.parse().expect("ASCII"));
    }
    map.insert(cocoon_seal::headers::E2EE, "1".parse().expect("ASCII"));
    map.insert(cocoon_seal::headers::SEAL_KEYS, keys.to_string().parse().expect("ASCII"));
    request_to(&seal_head.path, body.into(), map)
}

/// What the gateway sees of an answer, and what the client makes of it.
struct Seen {
    frames: Vec<Frame>,
    opened: Vec<SealedFrame>,
    end: Result<(), OpenError>,
    params_salt: Option<[u8; 32]>,
}

impl Seen {
    fn head(&self) -> AnswerHead {
        AnswerHead::from_json(&self.opened[0].data).expect("a head")
    }

    /// The body as the client has it.
    fn body(&self) -> Vec<u8> {
        let data = self.opened.iter().skip(1).inspect(|frame| {
            assert_eq!(frame.kind, SealedKind::Data);
        });
        data.flat_map(|frame| frame.data.iter().copied()).collect()
    }
}

/// Reads an answer frame by frame, and holds its plaintext to the contract.
async fn read(sent: &Sent, response: Response<UplinkBody>) -> Seen {
    let map = response.headers();
    assert_eq!(map[CONTENT_TYPE], cocoon_seal::CONTENT_TYPE);
    assert_eq!(map[cocoon_seal::headers::SEALED], "1");
    assert!(!map.contains_key(headers::DROPPED_TOOLS));
    let body = response.into_body().collect().await.expect("infallible").to_bytes();
    let mut decoder = FrameDecoder::new(32 * 1024 * 1024);
    decoder.push(body);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame().expect("well-formed frames") {
        frames.push(frame);
    }
    assert!(decoder.is_empty());
    assert!(frames.is_sorted_by_key(|frame| frame.cumulative), "counts never fall");
    let seen = open(sent, frames);
    if !seen.opened.is_empty() {
        let is_stream = seen.head().content_type.starts_with("text/event-stream");
        contract::check(&[clear(&seen)], is_stream);
    }
    seen
}

/// The data of the whole answer as one clear frame.
fn clear(seen: &Seen) -> Frame {
    Frame { kind: FrameKind::Data, cumulative: 0, payload: seen.body().into() }
}

/// Every payload of a data frame is one sealed frame.
fn open(sent: &Sent, frames: Vec<Frame>) -> Seen {
    let mut opener = sent.keys.opener();
    let mut opened = Vec::new();
    for frame in frames.iter().filter(|frame| frame.kind == FrameKind::Data) {
        opener.push(&frame.payload);
        let sealed = opener.next_frame().expect("genuine").expect("a whole frame");
        assert_eq!(sealed.payload, frame.payload);
        assert_eq!(opener.next_frame(), Ok(None));
        opened.push(sealed);
    }
    let (end, params_salt) = (opener.finish(), opener.params_salt());
    Seen { frames, opened, end, params_salt }
}

/// What the gateway checks of a receipt, and what only the client can.
fn verified(rig: &Rig, sent: &Sent, seen: &Seen, receipt: &SignedReceipt) -> ReceiptCore {
    let core = verify_worker(
        receipt,
        &Expected {
            worker_id: rig.lease.worker_id(),
            lease: Some(*rig.lease.signer.lease()),
            request_id: REQUEST,
            attempt: Some(2),
            model: &"m".parse().expect("a model name"),
            terms: Some(&terms()),
            completion: seen.frames.last().map(|frame| frame.cumulative.into()),
        },
    )
    .expect("the receipt verifies");
    assert_eq!(core.req_commit, request_commitment(&receipt.salt, sent.request.body()));
    let mut commitment = Commitment::new();
    for frame in &seen.opened {
        commitment.push(&frame.payload);
    }
    assert_eq!(core.resp_commit, commitment.digest(&receipt.salt));
    assert_eq!(core.frames, commitment.frames());
    core
}

async fn answered(rig: &Rig, path: &str, body: &Value) -> (Sent, Seen) {
    let is_stream = body["stream"] == true;
    let sent = seal(rig, &seal_head(path, is_stream), body.to_string().as_bytes());
    let response = rig.surface.handle(&rig.lease, sent.again()).await;
    assert_eq!(response.status(), 200);
    let seen = read(&sent, response).await;
    (sent, seen)
}

fn hello() -> Vec<EngineEvent> {
    vec![started(), delta("hel", 1), delta("lo", 2), finished(FinishReason::Stop, 2)]
}

#[tokio::test]
async fn a_whole_answer_is_sealed() {
    let (rig, engine) = Rig::played(hello());
    let body = chat(&json!({"temperature": 0.5}));
    let sent = seal(&rig, &seal_head(headers::CHAT_PATH, false), body.to_string().as_bytes());
    let response = rig.surface.handle(&rig.lease, sent.again()).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()[headers::PROMPT_TOKENS]),
        (200, &11.into())
    );
    let seen = read(&sent, response).await;
    assert_eq!(kinds(&seen.frames), [FrameKind::Data, FrameKind::Receipt, FrameKind::Data]);
    assert_eq!(seen.end, Ok(()));
    let head = seen.head();
    assert_eq!((head.status, head.content_type.as_str()), (200, "application/json"));
    assert_eq!(head.dropped_tools, None);
    let answer: Value = serde_json::from_slice(&seen.body()).expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "hello");
    let receipt = receipt_in(&seen.frames);
    let core = verified(&rig, &sent, &seen, &receipt);
    assert_eq!((core.finish, core.usage.prompt, core.usage.completion), (Finish::Stop, 11, 2));
    // The gateway knows the receipt's salt, and must not be able to guess parameters with it.
    let parameters = params(&engine.job());
    let of = |salt| Digest::from_bytes(params_commitment(&salt, &parameters));
    assert_eq!(core.params_digest, of(seen.params_salt.expect("a salt")));
    assert_ne!(core.params_digest, of(receipt.salt));
}

#[tokio::test]
async fn every_endpoint_and_shape_is_sealed() {
    let table = [
        (headers::CHAT_PATH, json!({"messages": [{"role": "user", "content": "hello"}]}), "[DONE]"),
        (RESPONSES, json!({"input": "hello"}), "response.completed"),
        (headers::COMPLETIONS_PATH, json!({"prompt": "hello"}), "[DONE]"),
    ];
    for (path, mut body, end) in table {
        body["model"] = "m".into();
        for is_stream in [false, true] {
            body["stream"] = is_stream.into();
            let rig = Rig::scripted(20).await;
            let (sent, seen) = answered(&rig, path, &body).await;
            assert_eq!(seen.end, Ok(()), "{path}");
            let core = verified(&rig, &sent, &seen, &receipt_in(&seen.frames));
            assert!(core.usage.completion > 0, "{path}");
            let places: Vec<_> = kinds(&seen.frames).iter().rev().take(2).copied().collect();
            assert_eq!(places, [FrameKind::Data, FrameKind::Receipt], "{path}");
            let events = events(&[clear(&seen)]);
            match is_stream {
                true => assert!(events.iter().any(|event| event.contains(end)), "{path}"),
                false => assert!(serde_json::from_slice::<Value>(&seen.body()).is_ok(), "{path}"),
            }
        }
    }
}

#[tokio::test]
async fn embeddings_are_sealed() {
    let vector = EngineEvent::Embedding { index: 0, vector: vec![0.5, 0.5] };
    let (rig, _) = Rig::played(vec![started(), vector, finished(FinishReason::Stop, 0)]);
    let mut head = seal_head(headers::EMBEDDINGS_PATH, false);
    head.model = "e".parse().expect("a model name");
    head.max_tokens = 0;
    let body = json!({"model": "e", "input": "hello"}).to_string();
    let mut sent = seal(&rig, &head, body.as_bytes());
    let mut terms = terms();
    terms.max_completion_tokens = 0;
    let terms = URL_SAFE_NO_PAD.encode(terms.encode()).parse().expect("ASCII");
    sent.request.headers_mut().insert(headers::TERMS, terms);
    let seen = read(&sent, rig.surface.handle(&rig.lease, sent.again()).await).await;
    assert_eq!(seen.end, Ok(()));
    let answer: Value = serde_json::from_slice(&seen.body()).expect("JSON");
    assert_eq!(answer["data"][0]["embedding"], json!([0.5, 0.5]));
}

#[tokio::test]
async fn what_a_header_would_tell_is_in_the_sealed_head() {
    let (rig, _) = Rig::played(hello());
    let body = chat(&json!({"tools": [{"type": "web_search"}]}));
    let (_, seen) = answered(&rig, headers::CHAT_PATH, &body).await;
    assert_eq!(seen.head().dropped_tools.as_deref(), Some("web_search"));
}

#[tokio::test]
async fn a_long_answer_is_several_frames() {
    let piece = "x".repeat(1024 * 1024);
    let events = vec![
        started(),
        delta(&piece, 1),
        delta(&piece, 2),
        delta(&piece, 3),
        finished(FinishReason::Stop, 3),
    ];
    let (rig, _) = Rig::played(events);
    let (sent, seen) = answered(&rig, headers::CHAT_PATH, &chat(&json!({}))).await;
    let data = FrameKind::Data;
    assert_eq!(kinds(&seen.frames), [data, data, data, data, FrameKind::Receipt, data]);
    assert_eq!(seen.end, Ok(()));
    verified(&rig, &sent, &seen, &receipt_in(&seen.frames));
    let answer: Value = serde_json::from_slice(&seen.body()).expect("JSON");
    let content = answer["choices"][0]["message"]["content"].as_str().expect("text");
    assert_eq!(content.len(), 3 * piece.len());
}

#[tokio::test]
async fn a_long_request_is_opened() {
    let (rig, _) = Rig::played(hello());
    let long = "word ".repeat(100_000);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": long}]});
    let (sent, seen) = answered(&rig, headers::CHAT_PATH, &body).await;
    assert_eq!(seen.end, Ok(()));
    verified(&rig, &sent, &seen, &receipt_in(&seen.frames));
}

#[tokio::test]
async fn the_lower_limit_of_head_and_body_holds() {
    for (asked, expected) in [(7, 7), (1000, 100)] {
        let rig = Rig::scripted(500).await;
        let body = chat(&json!({"stream": true, "max_tokens": asked}));
        let (sent, seen) = answered(&rig, headers::CHAT_PATH, &body).await;
        let core = verified(&rig, &sent, &seen, &receipt_in(&seen.frames));
        assert_eq!((core.finish, core.usage.completion), (Finish::Length, expected));
    }
}
