//! The uplink over loopback: real TLS, the real worker with scripted text, and workers that lie.

mod enforcement;
mod fake;
#[path = "../../tests/support/forge.rs"]
mod forge;
mod honest;
mod refusals;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use cocoon_attest::policy::Mode;
use cocoon_attest::receipt::{
    Expected, Finish, PriceRow, SignedReceipt, Terms, pay_commitment, verify_worker,
};
use cocoon_attest::softtee::SoftTee;
use cocoon_fleet::{Fleet, Pick};
use cocoon_primitives::{
    Assurance, Clock as _, Digest, ModelName, Nano, RequestId, Timestamp, TokenPrice, WalletAddress,
};
use cocoon_runtime::{Drained, Lifecycle, SystemClock};
use cocoon_store::Store;
use cocoon_uplink_wire::headers::{
    ATTEMPT, CHAT_PATH, MAX_TOKENS, PROMPT_TOKENS, REQUEST_ID, TERMS,
};
use cocoon_uplink_wire::{Frame, FrameDecoder, FrameKind};
use cocoon_worker::compose::{self, RunningWorker};
use cocoon_worker::config::Config;
use cocoon_worker::evidence::software::{InitOptions, init_from_seed};
use ed25519_dalek::SigningKey;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

use super::*;
use crate::policy::{PolicySource, PolicyTrust};
use forge::{IMAGE, PolicyText};

const PATIENCE: Duration = Duration::from_secs(20);
const CHECK: Duration = Duration::from_millis(5);

fn payee() -> WalletAddress {
    WalletAddress::new(0, [5; 32])
}

fn model() -> ModelName {
    "scripted".parse().expect("a plain word is a model name")
}

/// From which everything in the software TEE of these tests follows.
const SEED: [u8; 32] = [42; 32];

fn tee() -> SoftTee {
    SoftTee::from_seed(&SEED)
}

/// A gateway's uplink alone, with a policy that admits one software TEE.
struct Gateway {
    folder: tempfile::TempDir,
    policy: Arc<PolicyStore>,
    fleet: SharedFleet,
    lifecycle: Lifecycle,
    address: SocketAddr,
    spki_sha256: Digest,
    late: mpsc::Receiver<LateReceipt>,
}

impl Gateway {
    async fn start(text: &PolicyText) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        put(folder.path(), &text.write(&tee()));
        Self::of_mode(folder, Mode::Development).await
    }

    async fn of_mode(folder: tempfile::TempDir, mode: Mode) -> Self {
        Self::at(folder, mode, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// On the files that are there, as after a crash.
    async fn at(folder: tempfile::TempDir, mode: Mode, listen: SocketAddr) -> Self {
        let data_dir = folder.path().join("gateway");
        std::fs::create_dir_all(&data_dir).expect("a folder");
        let source = PolicySource { mode, ..source(folder.path()) };
        let policy =
            PolicyStore::open(source, &data_dir, SystemClock.now()).expect("a valid policy");
        let fleet: SharedFleet = Arc::new(Mutex::new(Fleet::new()));
        let lifecycle = Lifecycle::new();
        policy.watch(Arc::new(SystemClock), &lifecycle);
        let store = Store::open(&data_dir.join("store.sqlite")).expect("a store");
        let key = SigningKey::from_bytes(&[4; 32]);
        let transparency =
            Transparency::open(store, Arc::new(SystemClock), key, &lifecycle).await.expect("a log");
        let (late_receipts, late) = mpsc::channel(16);
        let parts = UplinkParts {
            fleet: Arc::clone(&fleet),
            policy: Arc::clone(&policy),
            transparency,
            clock: Arc::new(SystemClock),
            lifecycle: lifecycle.clone(),
            late_receipts,
        };
        let config = UplinkConfig::new(listen, data_dir);
        let (uplink, address) = Uplink::bind(config, parts).await.expect("a free port");
        let spki_sha256 = Digest::from_bytes(uplink.spki_sha256());
        Self { folder, policy, fleet, lifecycle, address, spki_sha256, late }
    }

    /// Replaces the policy, as an operator does: a new file under the old one's name.
    fn replace(&self, text: &PolicyText) {
        put(self.folder.path(), &text.write(&tee()));
    }

    /// Waits for the one worker that is expected.
    async fn pick(&self) -> Pick<Arc<WorkerLink>> {
        let mut found = None;
        until(|| {
            found = lock(&self.fleet)
                .pick(&model(), Assurance::Software, SystemClock.now(), 0, &[])
                .ok();
            found.is_some()
        })
        .await;
        found.expect("a pick was found")
    }

    /// A worker of this gateway on a software TEE with this seed, and scripted text.
    async fn worker(&self, seed: &[u8; 32], engine: &str) -> (RunningWorker, Lifecycle) {
        let tee = self.folder.path().join(format!("tee-{}", seed[0]));
        if !tee.exists() {
            let options = InitOptions { gpus: 0, has_snp: false };
            init_from_seed(&tee, seed, options).expect("a new software TEE");
        }
        let text = format!(
            "mode = \"development\"\ndata_dir = \"{}\"\ngateway = \"{}\"\n\
             gateway_spki_sha256 = \"{}\"\npayee = \"{}\"\n\
             [engine]\nkind = \"scripted\"\n{engine}\n\
             [evidence]\nkind = \"software\"\nsoftware_tee = \"{}\"\nimage = \"{IMAGE}\"\n",
            self.folder.path().join("worker").display(),
            self.address,
            self.spki_sha256,
            payee(),
            tee.display(),
        );
        let config = Config::parse(&text).expect("a valid worker.toml");
        let lifecycle = Lifecycle::new();
        let started = compose::start(config, lifecycle.clone(), Arc::new(SystemClock)).await;
        (started.expect("the scripted engine starts"), lifecycle)
    }
}

fn source(folder: &Path) -> PolicySource {
    let path = folder.join("policy.toml");
    PolicySource { path, trust: PolicyTrust::Unsigned, mode: Mode::Development }
}

fn put(folder: &Path, policy: &str) {
    let beside = folder.join("policy.toml.new");
    std::fs::write(&beside, policy).expect("written");
    std::fs::rename(beside, folder.join("policy.toml")).expect("renamed");
}

/// As a policy writes it.
fn rfc3339(at: Timestamp) -> String {
    let seconds = i64::try_from(at.as_seconds()).expect("a time of this century");
    jiff::Timestamp::from_second(seconds).expect("a time of this century").to_string()
}

async fn until(mut holds: impl FnMut() -> bool) {
    let mut checks = interval(CHECK);
    let waited = timeout(PATIENCE, async {
        while !holds() {
            checks.tick().await;
        }
    });
    waited.await.expect("what the test waits for happens in time");
}

fn terms(request_id: RequestId) -> Terms {
    let price = TokenPrice::per_million(Nano::ZERO);
    Terms {
        pay_commit: pay_commitment(&payee(), 0, request_id, None, &[1; 32]),
        price: PriceRow { prompt: price, cached: price, completion: price },
        registry_version: 0,
        payee: payee(),
        commission_bp: 500,
        max_prompt_tokens: 10_000,
        max_completion_tokens: 16,
        not_after: SystemClock.now().saturating_add(Duration::from_secs(60)),
    }
}

async fn chat(link: &WorkerLink, request_id: RequestId, terms: &Terms) -> Response<Incoming> {
    let body =
        r#"{"model":"scripted","messages":[{"role":"user","content":"hello"}],"stream":true}"#;
    let request = Request::post(CHAT_PATH)
        .header(REQUEST_ID, request_id.to_string())
        .header(ATTEMPT, "0")
        .header(MAX_TOKENS, "16")
        .header(TERMS, URL_SAFE_NO_PAD.encode(terms.encode()))
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .expect("a request of constants");
    timeout(PATIENCE, link.send(request)).await.expect("in time").expect("an answer")
}

async fn frames(response: Response<Incoming>) -> Vec<Frame> {
    let mut decoder = FrameDecoder::new(1024 * 1024);
    let body = timeout(PATIENCE, response.into_body().collect()).await.expect("in time");
    decoder.push(body.expect("a clean end").to_bytes());
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame().expect("valid frames") {
        frames.push(frame);
    }
    assert!(decoder.is_empty(), "the body ends inside a frame");
    frames
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_enrols_answers_signs_and_forgets_what_was_acknowledged() {
    let mut gateway = Gateway::start(&PolicyText::default()).await;
    let (worker, worker_life) = gateway.worker(&SEED, "tokens = 4").await;
    let pick = gateway.pick().await;
    assert_eq!(pick.worker, worker.worker_id);
    assert_eq!(pick.lease.payee, payee());

    let request_id = RequestId::from_bytes([7; 16]);
    let terms = terms(request_id);
    let response = chat(&pick.link, request_id, &terms).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().contains_key(PROMPT_TOKENS));
    let frames = frames(response).await;
    let (last, before) = frames.split_last().expect("frames");
    assert_eq!(last.kind, FrameKind::Data);
    assert!(last.payload.ends_with(b"data: [DONE]\n\n"));
    let in_stream = before.last().expect("a receipt");
    assert_eq!(in_stream.kind, FrameKind::Receipt);
    let receipt = SignedReceipt::from_bytes(&in_stream.payload).expect("a receipt");
    let expected = Expected {
        worker_id: pick.worker,
        lease: Some(pick.lease.facts()),
        request_id,
        attempt: Some(0),
        model: &model(),
        terms: Some(&terms),
        completion: Some(u64::from(last.cumulative)),
    };
    let core = verify_worker(&receipt, &expected).expect("the receipt holds");
    assert_eq!(core.usage.completion, 4);

    let late = timeout(PATIENCE, gateway.late.recv()).await.expect("in time").expect("a receipt");
    assert_eq!(late.receipt, receipt);
    assert!(!worker.outbox.is_empty());
    late.link.acknowledge(vec![request_id]);
    until(|| worker.outbox.is_empty()).await;

    lock(&gateway.fleet).finished(pick.worker, pick.lease.lease_id);
    assert_eq!(worker_life.drain(PATIENCE).await, Drained::Finished);
    until(|| lock(&gateway.fleet).is_empty()).await;
    assert_eq!(gateway.lifecycle.drain(PATIENCE).await, Drained::Finished);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_answer_cancels_and_its_receipt_comes_by_the_events() {
    let mut gateway = Gateway::start(&PolicyText::default()).await;
    let (_worker, _life) = gateway.worker(&SEED, "tokens = 10000\ninterval_ms = 20").await;
    let pick = gateway.pick().await;
    let request_id = RequestId::from_bytes([8; 16]);
    let terms = Terms { max_completion_tokens: 16, ..terms(request_id) };
    let mut response = chat(&pick.link, request_id, &terms).await;
    let first = timeout(PATIENCE, response.body_mut().frame()).await.expect("in time");
    assert!(first.is_some_and(|frame| frame.is_ok()));
    drop(response);
    let late = timeout(PATIENCE, gateway.late.recv()).await.expect("in time").expect("a receipt");
    let core = late.receipt.verify().expect("a good signature");
    assert_eq!((core.request_id, core.finish), (request_id, Finish::ClientAbort));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_drains_finishes_what_runs() {
    let mut gateway = Gateway::start(&PolicyText::default()).await;
    let (_worker, worker_life) = gateway.worker(&SEED, "tokens = 16\ninterval_ms = 20").await;
    let pick = gateway.pick().await;
    let request_id = RequestId::from_bytes([9; 16]);
    let response = chat(&pick.link, request_id, &terms(request_id)).await;
    let drained = async {
        let acknowledge = async {
            let late = gateway.late.recv().await.expect("a receipt");
            late.link.acknowledge(vec![request_id]);
        };
        tokio::join!(worker_life.drain(PATIENCE), frames(response), acknowledge)
    };
    let (drained, frames, ()) = timeout(PATIENCE, drained).await.expect("in time");
    assert_eq!(drained, Drained::Finished);
    assert!(frames.last().expect("frames").payload.ends_with(b"data: [DONE]\n\n"));
    until(|| lock(&gateway.fleet).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_drains_hands_over_the_receipt_of_an_abort() {
    let mut gateway = Gateway::start(&PolicyText::default()).await;
    let (worker, worker_life) = gateway.worker(&SEED, "tokens = 10000\ninterval_ms = 20").await;
    let pick = gateway.pick().await;
    let request_id = RequestId::from_bytes([10; 16]);
    let terms = Terms { max_completion_tokens: 10_000, ..terms(request_id) };
    let mut response = chat(&pick.link, request_id, &terms).await;
    assert!(response.body_mut().frame().await.is_some_and(|frame| frame.is_ok()));
    let left = async {
        worker_life.soft().cancelled().await;
        drop(response);
        let late = gateway.late.recv().await.expect("a receipt");
        let core = late.receipt.verify().expect("a good signature");
        assert_eq!((core.request_id, core.finish), (request_id, Finish::ClientAbort));
        assert!(!worker.outbox.is_empty());
        late.link.acknowledge(vec![request_id]);
    };
    let both = async { tokio::join!(worker_life.drain(PATIENCE), left) };
    let (drained, ()) = timeout(PATIENCE, both).await.expect("in time");
    assert_eq!(drained, Drained::Finished);
    assert!(worker.outbox.is_empty(), "the worker left before it was acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_renewed_before_it_ends() {
    let gateway = Gateway::start(&PolicyText { lease_seconds: 1, ..PolicyText::default() }).await;
    let (_worker, _life) = gateway.worker(&SEED, "").await;
    let pick = gateway.pick().await;
    let first = pick.lease.expires;
    until(|| SystemClock.now() > first.saturating_add(Duration::from_millis(500))).await;
    let again = gateway.pick().await;
    assert_eq!(again.lease.lease_id, pick.lease.lease_id);
    assert!(again.lease.expires > first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_comes_back_to_a_restarted_gateway_with_its_receipts() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let (worker, _life) = gateway.worker(&SEED, "tokens = 2").await;
    let pick = gateway.pick().await;
    let request_id = RequestId::from_bytes([3; 16]);
    frames(chat(&pick.link, request_id, &terms(request_id)).await).await;
    // Another uplink at the same address with the same key, as after a crash.
    gateway.lifecycle.hard().cancel();
    gateway.lifecycle.drain(PATIENCE).await;
    let (address, spki_sha256) = (gateway.address, gateway.spki_sha256);
    let mut again = Gateway::at(gateway.folder, Mode::Development, address).await;
    assert_eq!(again.spki_sha256, spki_sha256);
    let replayed = timeout(PATIENCE, again.late.recv()).await.expect("in time").expect("a receipt");
    let core = replayed.receipt.verify().expect("a good signature");
    assert_eq!((core.request_id, core.worker_id), (request_id, worker.worker_id));
    assert_ne!(core.lease_id, replayed.link.lease().lease_id, "it is of the earlier lease");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_another_root_never_enters_the_fleet() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let (_stranger, _life) = gateway.worker(&[43; 32], "").await;
    let (worker, _life) = gateway.worker(&SEED, "").await;
    assert_eq!(gateway.pick().await.worker, worker.worker_id);
    assert_eq!(lock(&gateway.fleet).len(), 1);
}
