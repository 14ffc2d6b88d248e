//! Requests that are sealed to a worker: the gateway carries, meters and charges what it cannot
//! read, and refuses what does not hold together.

use std::time::Duration;

use cocoon_attest::receipt::{
    Commitment, ReceiptFile, VerifiedFile, pay_commitment, request_commitment, verify_file,
};
use cocoon_primitives::RequestId;
use cocoon_seal::{
    AnswerHead, AnswerKeys, CONTENT_TYPE, Frame, FrameKind, Head, Recipient, SealRandom,
    SealedRefusal, headers, seal,
};
use http::HeaderMap;
use serde_json::{Value, json};

use super::rig::{self, COMPLETION_NANO, MODEL, PATIENCE, PROMPT_NANO, Payer, Rig};

const PLENTY: u64 = 1_000_000_000;
const PATH: &str = "/v1/chat/completions";
/// Nowhere in what the gateway sees.
const MARKER: &str = "xylophone-marker-prompt";
const CHARGE: u64 = 6 * PROMPT_NANO + 5 * COMPLETION_NANO;

/// A request before it is sealed.
struct Letter {
    head: Head,
    blind: [u8; 32],
    recipients: Vec<Recipient>,
    body: String,
}

/// What a test may change of the sealed request before it leaves.
struct Envelope {
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    keys: AnswerKeys,
}

impl Envelope {
    fn set(&mut self, name: &'static str, value: &str) {
        self.headers.retain(|(header, _)| *header != name);
        self.headers.push((name, value.to_owned()));
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}

fn letter(rig: &Rig, payer: &Payer, body: &Value) -> Letter {
    let now = rig.clock.now();
    let (request_id, blind) = (RequestId::from_bytes(random()), random());
    let fleet = rig.gateway.fleet.lock().expect("the fleet");
    let recipients = fleet.attested(now).into_iter().map(|(lease, _, _)| Recipient {
        worker_id: lease.worker_id,
        key: lease.hpke_key,
        evidence_digest: lease.evidence_digest,
    });
    let price = [PROMPT_NANO, PROMPT_NANO, COMPLETION_NANO].map(|nano| nano * 1_000_000);
    Letter {
        head: Head {
            path: PATH.to_owned(),
            request_id,
            model: MODEL.parse().expect("a name"),
            is_stream: body["stream"] == true,
            max_prompt_tokens: 1000,
            max_tokens: 100,
            max_price: price,
            not_after: now.saturating_add(Duration::from_secs(60)),
            pay_commit: pay_commitment(&payer.address, 0, request_id, None, &blind),
        },
        blind,
        recipients: recipients.collect(),
        body: body.to_string(),
    }
}

fn sealed(letter: &Letter) -> Envelope {
    let random = SealRandom { cek: random(), ephemeral: [random(), random(), random(), random()] };
    let (seal_keys, body, keys) =
        seal(&letter.head, letter.body.as_bytes(), &letter.recipients, &random).expect("a seal");
    let mut headers = letter.head.write();
    headers.push((headers::E2EE, "1".to_owned()));
    headers.push((headers::SEAL_KEYS, seal_keys.to_string()));
    headers.push((headers::PAY_BLIND, hex::encode(letter.blind)));
    Envelope { headers, body, keys }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn is_sealed(&self) -> bool {
        self.headers["content-type"] == CONTENT_TYPE
    }

    fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.bytes).expect("a clear error");
        body["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    fn frames(&self, keys: &AnswerKeys) -> Vec<Frame> {
        assert!(self.is_sealed());
        let mut opener = keys.opener();
        opener.push(&self.bytes);
        let mut frames = Vec::new();
        while let Some(frame) = opener.next_frame().expect("an honest frame") {
            frames.push(frame);
        }
        opener.finish().expect("the answer is whole");
        frames
    }
}

async fn send(rig: &Rig, payer: &Payer, envelope: &Envelope) -> Answer {
    let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
    let mut request = client.post(rig.url(PATH)).bearer_auth(&payer.key);
    for (name, value) in &envelope.headers {
        request = request.header(*name, value);
    }
    let response = request.header("content-type", CONTENT_TYPE).body(envelope.body.clone());
    let response = response.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.expect("the body arrives").to_vec();
    Answer { status, headers, bytes }
}

fn question(is_stream: bool) -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": format!("one two {MARKER}") }],
        "stream": is_stream,
        "max_completion_tokens": 100,
    })
}

/// The bytes of an answer, and its head.
fn opened(frames: &[Frame]) -> (AnswerHead, Vec<u8>) {
    assert_eq!(frames[0].kind, FrameKind::Head);
    let head = AnswerHead::from_json(&frames[0].data).expect("a head");
    let data = frames[1..].iter().flat_map(|frame| frame.data.to_vec()).collect();
    (head, data)
}

async fn receipt(rig: &Rig, payer: &Payer, id: RequestId) -> VerifiedFile {
    let path = format!("/v1/receipts/{id}");
    rig.until("the receipt is countersigned", async || {
        rig.get("getReceipt", &path, Some(&payer.key)).await.status == 200
    })
    .await;
    let file = rig.get("getReceipt", &path, Some(&payer.key)).await.body;
    let file: ReceiptFile = serde_json::from_value(file).expect("a receipt");
    verify_file(&file, Some(&rig.gateway.receipt_key)).expect("it verifies")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_is_answered_metered_and_receipted() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    for (round, is_stream) in [(1, false), (2, true)] {
        let letter = letter(&rig, &payer, &question(is_stream));
        let envelope = sealed(&letter);
        let answer = send(&rig, &payer, &envelope).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.bytes));
        let id = letter.head.request_id;
        assert_eq!(answer.headers["cocoon-receipt-id"], id.to_string().as_str());

        let frames = answer.frames(&envelope.keys);
        let (head, data) = opened(&frames);
        let text = String::from_utf8(data).expect("text");
        assert_eq!(head.status, 200);
        assert_eq!(head.content_type.starts_with("text/event-stream"), is_stream);
        assert!(text.contains("\"content\""), "{text}");
        Rig::assert_charged(&rig.balance(&payer).await, round * CHARGE);

        // The receipt is over exactly the bytes that went through the gateway.
        let verified = receipt(&rig, &payer, id).await;
        let salt = verified.salt.expect("the payer gets the salt");
        assert_eq!(verified.account, Some(payer.address));
        assert_eq!(verified.core.req_commit, request_commitment(&salt, &envelope.body));
        let mut payloads = Commitment::new();
        frames.iter().for_each(|frame| payloads.push(&frame.payload));
        assert_eq!(verified.core.resp_commit, payloads.digest(&salt));
        assert_eq!(verified.core.terms.pay_commit, letter.head.pay_commit);
    }
    rig.assert_ledger_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_twice_is_charged_once() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let letter = letter(&rig, &payer, &question(false));
    let envelope = sealed(&letter);
    assert_eq!(send(&rig, &payer, &envelope).await.status, 200);
    let again = send(&rig, &payer, &envelope).await;
    assert_eq!((again.status, again.code().as_str()), (409, "idempotency_replay_unavailable"));
    Rig::assert_charged(&rig.balance(&payer).await, CHARGE);
}

/// Nothing of somebody's request is told to who took its id, and who lost one to somebody else may
/// take another one.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_wallet_says_nothing_of_its_request() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let first = letter(&rig, &payer, &question(false));
    assert_eq!(send(&rig, &payer, &sealed(&first)).await.status, 200);

    let other = rig.payer(2, PLENTY).await;
    let mut taken = letter(&rig, &other, &question(false));
    let id = first.head.request_id;
    taken.head.request_id = id;
    taken.head.pay_commit = pay_commitment(&other.address, 0, id, None, &taken.blind);
    let refused = send(&rig, &other, &sealed(&taken)).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_sealed_request"));
    let body: Value = serde_json::from_slice(&refused.bytes).expect("a clear error");
    assert_eq!(body["error"].get("metadata"), None, "{body}");
    assert!(!body.to_string().contains(&id.to_string()), "{body}");

    let free = letter(&rig, &other, &question(false));
    assert_eq!(send(&rig, &other, &sealed(&free)).await.status, 200);
    for payer in [&payer, &other] {
        Rig::assert_charged(&rig.balance(payer).await, CHARGE);
    }
    rig.assert_ledger_clean().await;
}

/// A refusal of what the worker has read is for the client alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_content_is_sealed_too() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let mut body = question(false);
    body["temperature"] = json!(99);
    let envelope = sealed(&letter(&rig, &payer, &body));
    let answer = send(&rig, &payer, &envelope).await;
    assert_eq!(answer.status, 400);
    let frames = answer.frames(&envelope.keys);
    assert_eq!((frames.len(), frames[0].kind), (1, FrameKind::Error));
    let refusal = SealedRefusal::from_json(&frames[0].data).expect("a refusal");
    let error: Value = serde_json::from_str(refusal.body.get()).expect("JSON");
    assert_eq!((refusal.status, &error["error"]["param"]), (400, &json!("temperature")));
    Rig::assert_charged(&rig.balance(&payer).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_hold_together_is_refused() {
    let rig = Rig::start().await;
    let payer = rig.payer(1, PLENTY).await;
    let stranger = rig::wallet(9).address();
    type Change = fn(&mut Letter, cocoon_primitives::WalletAddress);
    let before: [(Change, u16, &str); 6] = [
        (
            |letter, stranger| {
                let (id, blind) = (letter.head.request_id, letter.blind);
                letter.head.pay_commit = pay_commitment(&stranger, 0, id, None, &blind);
            },
            400,
            "pay_commitment_mismatch",
        ),
        (|letter, _| letter.head.max_price[2] -= 1, 400, "price_above_limit"),
        (
            |letter, _| letter.head.not_after = cocoon_primitives::Timestamp::from_millis(1),
            400,
            "invalid_sealed_request",
        ),
        (
            |letter, _| {
                letter.head.not_after =
                    letter.head.not_after.saturating_add(Duration::from_secs(3600));
            },
            400,
            "invalid_sealed_request",
        ),
        (|letter, _| letter.head.max_tokens = u32::MAX, 400, "sealed_limit_exceeded"),
        (
            |letter, _| {
                letter.recipients[0].worker_id = cocoon_primitives::WorkerId::from_bytes([7; 32]);
            },
            422,
            "e2ee_key_config",
        ),
    ];
    for (change, status, code) in before {
        let mut letter = letter(&rig, &payer, &question(false));
        change(&mut letter, stranger);
        let answer = send(&rig, &payer, &sealed(&letter)).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
    }

    // What is changed behind the seal, by whoever carries it.
    type Tamper = fn(&mut Envelope);
    let after: [(Tamper, u16, &str); 5] = [
        (|envelope| envelope.set(headers::MAX_TOKENS, "99"), 422, "e2ee_key_config"),
        (|envelope| envelope.set(headers::STREAM, "1"), 422, "e2ee_key_config"),
        (|envelope| envelope.body[40] ^= 1, 422, "e2ee_key_config"),
        (|envelope| envelope.set(headers::E2EE, "2"), 400, "invalid_sealed_request"),
        (|envelope| envelope.set("idempotency-key", "k"), 400, "invalid_idempotency_key"),
    ];
    for (tamper, status, code) in after {
        let mut envelope = sealed(&letter(&rig, &payer, &question(false)));
        tamper(&mut envelope);
        let answer = send(&rig, &payer, &envelope).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
    }
    Rig::assert_charged(&rig.balance(&payer).await, 0);

    // None of it counts against the worker: the next one is served at once.
    let envelope = sealed(&letter(&rig, &payer, &question(false)));
    assert_eq!(send(&rig, &payer, &envelope).await.status, 200);
    rig.assert_ledger_clean().await;
}
