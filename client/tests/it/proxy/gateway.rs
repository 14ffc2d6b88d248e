//! A small gateway with one worker behind it, built from the crates that the real ones are made
//! of: its evidence is a lab's, its requests are opened and answered sealed, its receipts and its
//! log hold. Faults are switched on by name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_attest::enrol::{
    Challenge, Claim, OpenChallenge, Presented, Workload, WorkloadModel, evidence_digest,
};
use cocoon_attest::lease::Lease;
use cocoon_attest::log::{Entry, Record, SignedHead, Tree, leaf_hash};
use cocoon_attest::policy::Policy;
use cocoon_attest::receipt::{
    Commitment, Finish, Opening, PriceRow, ReceiptDraft, ReceiptFile, ReceiptKey, ReceiptSigner,
    Terms, Usage, request_commitment,
};
use cocoon_attest::softtee::Lab;
use cocoon_primitives::{
    Clock as _, Digest, LeaseId, ModelKind, Nano, RequestId, Timestamp, TokenPrice, WalletAddress,
};
use cocoon_runtime::SystemClock;
use cocoon_seal::{AnswerHead, FrameKind, Head, KeyPair, SealKeys, headers};
use futures_util::stream;
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::sync::Notify;

use crate::receipt::{countersigned, gateway_key};

pub(crate) const MODEL: &str = "tiny-demo";
pub(crate) const KEY: &str = "sk-test";
const MANIFEST: [u8; 32] = [0xAB; 32];
const SPKI: &[u8] = b"tls key";
const EXPORTER: [u8; 32] = [2; 32];
const PRICE: [u64; 3] = [50_000_000, 25_000_000, 200_000_000];
const USAGE: Usage = Usage { prompt: 12, cached: 2, completion: 5, reasoning: 0 };

/// What the gateway or its worker does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A bit of a frame differs.
    Tampered,
    /// The last frame never comes.
    Truncated,
    /// Nor does a receipt.
    TruncatedUnsigned,
    /// No frame comes.
    Silent,
    /// The connection breaks before an answer begins.
    Lost,
    /// No answer begins.
    Hangs,
    /// A frame is wider than workers write them.
    Wide,
    /// Nobody answers now.
    Busy,
    /// That is what is said.
    BusyCharged,
    /// The key was revoked before the receipt was asked for.
    Revoked,
    /// Something in front of the gateway has no receipts.
    NoRoute,
    /// The receipt counts other tokens than the answer says.
    Overcount,
    /// The receipt is of another answer.
    OtherAnswer,
    /// The worker signs a higher price than the request allows.
    Expensive,
    /// Another key signs.
    OtherWorker,
    NoReceipt,
    /// The key for requests has changed since it was listed; the list is right afterwards.
    StaleKey,
    /// It changes with every request.
    AlwaysStale,
    /// Like the first, and the request that nobody could open is charged.
    StaleCharged,
    /// The worker refuses after it has opened the request.
    Refuses,
    /// And another one is paid.
    RefusesCharged,
    /// The answer is not sealed.
    Clear,
    /// The worker answers no nonce of a client's.
    NotAlive,
    /// It answers with another key for receipts.
    OtherLife,
    /// The log's head is of long ago.
    OldLog,
    /// The listed key is not the one in the evidence.
    OtherKey,
    /// The log has no entry of the worker.
    NotLogged,
}

/// One boot of the worker.
struct Boot {
    receipt_key: ReceiptKey,
    hpke: KeyPair,
    evidence: Vec<u8>,
    lease: Lease,
    signer: ReceiptSigner,
    log_index: u64,
}

struct Inner {
    fault: Fault,
    boots: u8,
    boot: Boot,
    tree: Tree,
    entries: Vec<Vec<u8>>,
    receipts: HashMap<String, ReceiptFile>,
    asked: u32,
    request_ids: Vec<RequestId>,
}

pub(crate) struct Fake {
    lab: Lab,
    policy: Policy,
    inner: Mutex<Inner>,
    /// Tells of a request that hangs.
    hanging: Notify,
}

pub(crate) type Shared = Arc<Fake>;

pub(crate) fn lab() -> Lab {
    Lab::new([7; 32])
}

pub(crate) fn policy_text() -> String {
    lab().policy_toml(&[(MODEL, &hex::encode(MANIFEST))])
}

pub(crate) fn wallet() -> WalletAddress {
    WalletAddress::new(0, [9; 32])
}

fn workload() -> Workload {
    Workload {
        image: lab().image().to_owned(),
        models: vec![WorkloadModel {
            name: MODEL.parse().unwrap(),
            kind: ModelKind::Chat,
            manifest_digest: Digest::from_bytes(MANIFEST),
            context_length: 4096,
            engine: "scripted".to_owned(),
            is_demo: true,
            owned_by: "cocoon".to_owned(),
        }],
        gpu_count: 0,
        cc_on: false,
        devtools: false,
    }
}

/// The evidence message of a worker over a challenge.
fn answer(
    lab: &Lab,
    open: &OpenChallenge,
    keys: (&ReceiptKey, [u8; 32]),
    now: Timestamp,
) -> Vec<u8> {
    let challenge = Challenge::decode(&open.message()).unwrap();
    let workload = workload();
    let claim = Claim {
        exporter: &EXPORTER,
        tls_spki: SPKI,
        receipt_key: keys.0,
        hpke_key: keys.1,
        payee: WalletAddress::new(0, [3; 32]),
        workload: &workload,
    };
    lab.answer(&challenge, &claim, now)
}

fn boot(lab: &Lab, policy: &Policy, seed: u8) -> Boot {
    let now = SystemClock.now();
    let receipt_key = ReceiptKey::from_seed(&[seed; 32]);
    let hpke = KeyPair::from_seed(&[seed; 32]);
    let open = OpenChallenge::issue(&[seed; 48], Digest::from_bytes([4; 32]), policy, now);
    let evidence = answer(lab, &open, (&receipt_key, hpke.public()), now);
    let lease_id = LeaseId::from_bytes([seed; 16]);
    let presented =
        Presented { evidence: &evidence, exporter: &EXPORTER, peer_spki: SPKI, lease_id };
    let (lease, _) = open.verify(&presented, policy, now).unwrap().into_parts();
    let signer = receipt_key.signer(lease.facts());
    Boot { receipt_key, hpke, evidence, lease, signer, log_index: 0 }
}

impl Fake {
    pub(crate) fn new(fault: Fault) -> Shared {
        let lab = lab();
        let policy = Policy::parse(policy_text().as_bytes()).unwrap();
        let mut inner = Inner {
            fault,
            boots: 1,
            boot: boot(&lab, &policy, 1),
            tree: Tree::new(),
            entries: Vec::new(),
            receipts: HashMap::new(),
            asked: 0,
            request_ids: Vec::new(),
        };
        // Somebody else's entry stands in front.
        inner.log(&Entry {
            at: SystemClock.now(),
            record: Record::Policy { policy: policy_text().into() },
        });
        inner.log_lease();
        Arc::new(Self { lab, policy, inner: Mutex::new(inner), hanging: Notify::new() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.inner().fault = fault;
    }

    /// Requests that reached the worker, whether it opened them or not.
    pub(crate) fn asked(&self) -> u32 {
        self.inner().asked
    }

    pub(crate) async fn hangs(&self) {
        self.hanging.notified().await;
    }

    /// What comes where no worker gets the request, or so it seems.
    async fn unanswered(&self, head: &Head, body: &[u8], blind: &[u8; 32]) -> Option<Response> {
        let fault = self.inner().fault;
        if let Fault::BusyCharged | Fault::Silent | Fault::Lost | Fault::Hangs = fault {
            self.inner().charge(head, body, &[b"lost".to_vec()], blind);
        }
        match fault {
            Fault::Silent => Some(sealed(StatusCode::OK, Vec::new())),
            // Ends the connection's task, and with it the connection.
            Fault::Lost => std::panic::resume_unwind(Box::new(())),
            Fault::Hangs => {
                self.hanging.notify_one();
                std::future::pending().await
            }
            Fault::Busy | Fault::BusyCharged => {
                Some(error(StatusCode::SERVICE_UNAVAILABLE, "no_worker_available"))
            }
            _ => None,
        }
    }

    pub(crate) fn request_ids(&self) -> Vec<RequestId> {
        self.inner().request_ids.clone()
    }

    /// The worker starts again: other keys, other evidence.
    pub(crate) fn reboot(&self) {
        let mut inner = self.inner();
        inner.boots += 1;
        inner.boot = boot(&self.lab, &self.policy, inner.boots);
        inner.log_lease();
    }

    /// The log's last entry was never there.
    pub(crate) fn shorten_log(&self) {
        let mut inner = self.inner();
        inner.entries.pop();
        inner.tree = Tree::new();
        let leaves: Vec<_> = inner.entries.iter().map(|entry| leaf_hash(entry)).collect();
        for leaf in leaves {
            inner.tree.push(leaf);
        }
    }

    /// The log's past is written anew.
    pub(crate) fn rewrite_log(&self) {
        let mut inner = self.inner();
        let kept = inner.entries.split_off(1);
        inner.entries.clear();
        inner.tree = Tree::new();
        let record = Record::Policy { policy: b"another".to_vec() };
        inner.log(&Entry { at: SystemClock.now(), record });
        for entry in kept {
            inner.tree.push(leaf_hash(&entry));
            inner.entries.push(entry);
        }
    }

    pub(crate) fn router(self: &Shared) -> Router {
        Router::new()
            .route("/v1/balance", get(|| async { Json(json!({ "wallet": wallet() })) }))
            .route("/v1/models", get(models))
            .route("/v1/receipts/{id}", get(receipt))
            .route("/v1/attestation/workers", get(workers))
            .route("/v1/attestation/evidence/{digest}", get(evidence))
            .route("/v1/attestation/report", get(report))
            .route("/v1/attestation/log", get(head))
            .route("/v1/attestation/log/entries", get(entries))
            .route("/v1/attestation/log/inclusion", get(inclusion))
            .route("/v1/attestation/log/consistency", get(consistency))
            .route("/v1/chat/completions", post(chat))
            .with_state(Arc::clone(self))
    }
}

impl Inner {
    fn log(&mut self, entry: &Entry) -> u64 {
        let index = self.tree.size();
        self.tree.push(entry.leaf_hash());
        self.entries.push(entry.encode());
        index
    }

    fn log_lease(&mut self) {
        let lease = self.boot.lease.encode();
        let evidence = self.boot.lease.evidence_digest;
        let record = Record::Lease { lease, evidence };
        self.boot.log_index = self.log(&Entry { at: SystemClock.now(), record });
    }
}

async fn models() -> Json<Value> {
    let [prompt, cached, completion] = PRICE;
    Json(json!({ "object": "list", "data": [{ "id": MODEL, "object": "model",
        "context_length": 4096,
        "pricing_nano_per_million": { "prompt": prompt, "cached": cached, "completion": completion },
        "top_provider": { "max_completion_tokens": 512 },
        "cocoon": { "assurance": "software", "workers": 1 } },
        { "id": "of vectors", "object": "model", "context_length": 512,
        "pricing_nano_per_million": { "prompt": prompt, "cached": cached, "completion": 0 },
        "top_provider": { "max_completion_tokens": null },
        "cocoon": { "assurance": "software", "workers": 1 } }] }))
}

async fn receipt(State(fake): State<Shared>, Path(id): Path<String>) -> Response {
    let inner = fake.inner();
    match inner.receipts.get(&id) {
        _ if inner.fault == Fault::Revoked => error(StatusCode::UNAUTHORIZED, "invalid_api_key"),
        _ if inner.fault == Fault::NoRoute => StatusCode::NOT_FOUND.into_response(),
        Some(file) => Json(file).into_response(),
        None => error(StatusCode::NOT_FOUND, "receipt_none"),
    }
}

fn error(status: StatusCode, code: &str) -> Response {
    let error = json!({ "message": "no", "type": "t", "param": null, "code": code });
    (status, Json(json!({ "error": error }))).into_response()
}

// === Attestation ===

async fn workers(State(fake): State<Shared>) -> Json<Value> {
    let inner = fake.inner();
    let lease = &inner.boot.lease;
    let hpke_key = match inner.fault {
        Fault::OtherKey => KeyPair::from_seed(&[99; 32]).public(),
        _ => lease.hpke_key,
    };
    let log_index = (inner.fault != Fault::NotLogged).then_some(inner.boot.log_index);
    Json(json!({ "object": "list", "data": [{
        "worker_id": lease.worker_id, "assurance": lease.assurance, "models": [MODEL],
        "hpke_key": hex::encode(hpke_key), "receipt_key": hex::encode(lease.receipt_key),
        "lease_id": lease.lease_id, "lease": STANDARD.encode(lease.encode()),
        "evidence_digest": lease.evidence_digest, "expires_at": lease.expires.as_seconds(),
        "log_index": log_index }] }))
}

async fn evidence(State(fake): State<Shared>, Path(digest): Path<String>) -> Response {
    let inner = fake.inner();
    assert_eq!(evidence_digest(&inner.boot.evidence), inner.boot.lease.evidence_digest);
    match inner.boot.lease.evidence_digest.to_string() == digest {
        true => Json(json!({ "evidence": STANDARD.encode(&inner.boot.evidence) })).into_response(),
        false => error(StatusCode::NOT_FOUND, "evidence_not_found"),
    }
}

/// Over the root of a tree with one nonce in it.
async fn report(
    State(fake): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    let now = SystemClock.now();
    let mut nonce = [0; 32];
    hex::decode_to_slice(&query["nonce"], &mut nonce).unwrap();
    let inner = fake.inner();
    if inner.fault == Fault::NotAlive {
        nonce = [0; 32];
    }
    let leaf: [u8; 32] =
        sha2::Sha256::digest([b"cocoon/report-nonce/v1".as_slice(), &nonce].concat()).into();
    let gw = Digest::from_bytes([4; 32]);
    let open = OpenChallenge::issue_for(leaf_hash(&leaf), [1; 16], gw, &fake.policy, now);
    let boot = &inner.boot;
    let other = ReceiptKey::from_seed(&[88; 32]);
    let (key, worker_id) = match inner.fault {
        Fault::OtherLife => (&other, other.signer(boot.lease.facts()).worker_id()),
        _ => (&boot.receipt_key, boot.lease.worker_id),
    };
    let evidence = answer(&fake.lab, &open, (key, boot.hpke.public()), now);
    Json(json!({ "gateway_attestation": {}, "model_attestations": [{
        "worker_id": worker_id, "evidence": STANDARD.encode(evidence),
        "nonce_proof": { "index": 0, "size": 1, "path": [], "root": "" } }] }))
}

async fn head(State(fake): State<Shared>) -> Json<SignedHead> {
    let inner = fake.inner();
    let size = inner.tree.size();
    let root = inner.tree.root(size).unwrap();
    let age = Duration::from_secs(if inner.fault == Fault::OldLog { 12 * 60 } else { 0 });
    Json(SignedHead::sign(&gateway_key(), size, root, SystemClock.now().saturating_sub(age)))
}

async fn entries(
    State(fake): State<Shared>,
    Query(query): Query<HashMap<String, u64>>,
) -> Json<Value> {
    let inner = fake.inner();
    let index = query["start"];
    let entry = &inner.entries[usize::try_from(index).unwrap()];
    Json(json!({ "data": [{ "index": index, "entry": STANDARD.encode(entry) }] }))
}

async fn inclusion(
    State(fake): State<Shared>,
    Query(query): Query<HashMap<String, u64>>,
) -> Json<Value> {
    let path = fake.inner().tree.inclusion(query["index"], query["size"]).unwrap();
    Json(json!({ "path": path.iter().map(hex::encode).collect::<Vec<_>>() }))
}

async fn consistency(
    State(fake): State<Shared>,
    Query(query): Query<HashMap<String, u64>>,
) -> Json<Value> {
    let path = fake.inner().tree.consistency(query["first"], query["second"]).unwrap();
    Json(json!({ "path": path.iter().map(hex::encode).collect::<Vec<_>>() }))
}

// === Inference ===

async fn chat(State(fake): State<Shared>, sent: HeaderMap, body: Bytes) -> Response {
    assert_eq!(sent["authorization"], format!("Bearer {KEY}"));
    let get = |name: &str| sent.get(name).and_then(|value| value.to_str().ok());
    let head = Head::read("/v1/chat/completions", get).unwrap();
    let keys: SealKeys = get(headers::SEAL_KEYS).unwrap().parse().unwrap();
    head.check_time(SystemClock.now()).unwrap();
    let fault = fake.inner().fault;
    fake.inner().asked += 1;
    fake.inner().request_ids.push(head.request_id);
    match fault {
        Fault::StaleKey | Fault::StaleCharged if fake.inner().asked == 1 => fake.reboot(),
        Fault::AlwaysStale => fake.reboot(),
        _ => {}
    }
    let mut blind = [0; 32];
    hex::decode_to_slice(get(headers::PAY_BLIND).unwrap(), &mut blind).unwrap();
    if let Some(refusal) = fake.unanswered(&head, &body, &blind).await {
        return refusal;
    }
    let mut inner = fake.inner();
    let lease = &inner.boot.lease;
    let (worker_id, digest) = (lease.worker_id, lease.evidence_digest);
    let opened = cocoon_seal::open(&head, &keys, worker_id, digest, &inner.boot.hpke, &body);
    let Ok(opened) = opened else {
        if fault == Fault::StaleCharged {
            inner.charge(&head, &body, &[], &blind);
        }
        return error(StatusCode::UNPROCESSABLE_ENTITY, "e2ee_key_config");
    };
    let request: Value = serde_json::from_slice(&opened.body).unwrap();
    assert_eq!(request["messages"][0]["content"], "secret");
    if fault == Fault::Clear {
        return Json(json!({ "id": "chatcmpl-1", "choices": [] })).into_response();
    }
    let mut sealer = opened.answer.sealer([5; 32]);
    if matches!(fault, Fault::Refuses | Fault::RefusesCharged) {
        let refusal = json!({ "status": 400, "body": { "error": { "message": "too long",
            "type": "invalid_request_error", "param": null, "code": "context_length_exceeded" } } });
        let frame = sealer.frame(FrameKind::Error, refusal.to_string().as_bytes(), true).unwrap();
        if fault == Fault::RefusesCharged {
            inner.charge(&head, &body, &[b"another".to_vec()], &blind);
        }
        return sealed(StatusCode::BAD_REQUEST, vec![frame]);
    }
    let (content_type, parts) = texts(head.is_stream);
    let told = AnswerHead { status: 200, content_type: content_type.into(), dropped_tools: None };
    let mut payloads = vec![sealer.frame(FrameKind::Head, &told.to_json(), false).unwrap()];
    for (place, part) in parts.iter().enumerate() {
        let is_final = place + 1 == parts.len();
        let wide = " ".repeat(if fault == Fault::Wide { (1 << 20) + 2048 } else { 0 });
        let part = format!("{part}{wide}");
        payloads.push(sealer.frame(FrameKind::Data, part.as_bytes(), is_final).unwrap());
    }
    if !matches!(fault, Fault::NoReceipt | Fault::TruncatedUnsigned) {
        inner.charge(&head, &body, &payloads, &blind);
    }
    match fault {
        Fault::Tampered => {
            let last = payloads.last_mut().unwrap();
            *last.last_mut().unwrap() ^= 1;
            sealed(StatusCode::OK, payloads)
        }
        // As HTTP goes, this answer is whole.
        Fault::Truncated | Fault::TruncatedUnsigned => {
            payloads.pop();
            sealed(StatusCode::OK, payloads)
        }
        _ => sealed(StatusCode::OK, payloads),
    }
}

/// An answer's content type and its payloads in the clear.
fn texts(is_stream: bool) -> (&'static str, Vec<String>) {
    let usage = json!({ "prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17 });
    if !is_stream {
        let whole = json!({ "id": "chatcmpl-1", "object": "chat.completion", "model": MODEL,
            "choices": [{ "index": 0, "finish_reason": "stop",
                "message": { "role": "assistant", "content": "Paris" } }], "usage": usage });
        return ("application/json", vec![whole.to_string()]);
    }
    let chunk = |delta: Value, usage: Value| {
        format!(
            "data: {}\n\n",
            json!({ "id": "chatcmpl-1", "model": MODEL, "choices": [
            { "index": 0, "delta": delta, "finish_reason": null }], "usage": usage })
        )
    };
    let parts = vec![
        chunk(json!({ "content": "Par" }), Value::Null),
        chunk(json!({ "content": "is" }), usage),
        "data: [DONE]\n\n".to_owned(),
    ];
    ("text/event-stream; charset=utf-8", parts)
}

/// Payloads as a gateway passes them on: keep-alives between them, cut where it likes.
fn sealed(status: StatusCode, payloads: Vec<Vec<u8>>) -> Response {
    let mut bytes = Vec::new();
    for payload in payloads {
        bytes.extend_from_slice(&cocoon_seal::KEEP_ALIVE);
        bytes.extend_from_slice(&payload);
    }
    let pieces: Vec<std::io::Result<Vec<u8>>> =
        bytes.chunks(100).map(|piece| Ok(piece.to_vec())).collect();
    let headers = [("content-type", cocoon_seal::CONTENT_TYPE), (headers::SEALED, "1")];
    (status, headers, Body::from_stream(stream::iter(pieces))).into_response()
}

impl Inner {
    fn charge(&mut self, head: &Head, body: &[u8], payloads: &[Vec<u8>], blind: &[u8; 32]) {
        let file = self.receipt(head, body, payloads, blind);
        self.receipts.insert(head.request_id.to_string(), file);
    }

    fn receipt(
        &self,
        head: &Head,
        body: &[u8],
        payloads: &[Vec<u8>],
        blind: &[u8; 32],
    ) -> ReceiptFile {
        let salt = [8; 32];
        let mut commitment = Commitment::new();
        for payload in payloads {
            commitment.push(payload);
        }
        let resp_commit = match self.fault {
            Fault::OtherAnswer => [1; 32],
            _ => commitment.digest(&salt),
        };
        let completion = if self.fault == Fault::Overcount { 6 } else { USAGE.completion };
        let signer = match self.fault {
            Fault::OtherWorker => ReceiptKey::from_seed(&[77; 32]).signer(self.boot.lease.facts()),
            _ => self.boot.signer.clone(),
        };
        let receipt = signer.sign(ReceiptDraft {
            request_id: head.request_id,
            attempt: 1,
            chat_id: "chatcmpl-1".into(),
            model: head.model.clone(),
            model_manifest_digest: Digest::from_bytes(MANIFEST),
            req_commit: request_commitment(&salt, body),
            resp_commit,
            frames: commitment.frames(),
            finish: Finish::Stop,
            usage: Usage { completion, ..USAGE },
            params_digest: Digest::from_bytes([1; 32]),
            started: SystemClock.now(),
            ended: SystemClock.now(),
            terms: self.terms(head),
            salt,
        });
        countersigned(&receipt, Some(Opening::of_account(wallet(), blind)))
    }

    fn terms(&self, head: &Head) -> Terms {
        let more = u64::from(self.fault == Fault::Expensive);
        let [prompt, cached, completion] =
            PRICE.map(|nano| TokenPrice::per_million(Nano::new(nano + more).unwrap()));
        Terms {
            pay_commit: head.pay_commit,
            price: PriceRow { prompt, cached, completion },
            registry_version: 0,
            payee: WalletAddress::new(0, [3; 32]),
            commission_bp: 500,
            max_prompt_tokens: head.max_prompt_tokens,
            max_completion_tokens: u64::from(head.max_tokens),
            not_after: head.not_after,
        }
    }
}
