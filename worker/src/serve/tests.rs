//! The surface through its one entrance, over the scripted engine and over one that plays what
//! a test writes down.

mod choices;
mod completions;
mod contract;
mod embeddings;
mod ends;
mod inputs;
mod jobs;
mod responses;
mod sealed;
mod shapes;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use cocoon_attest::receipt::{
    Commitment, Expected, LeaseFacts, PriceRow, ReceiptCore, ReceiptKey, SignedReceipt, Terms,
    request_commitment, verify_worker,
};
use cocoon_openai_wire::sse;
use cocoon_primitives::{
    Assurance, Digest, LeaseId, MockClock, ModelKind, Nano, RequestId, Timestamp, TokenPrice,
    WalletAddress,
};
use cocoon_runtime::Lifecycle;
use cocoon_seal::KeyPair;
use cocoon_uplink_wire::{Frame, FrameDecoder, FrameKind, headers};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Limits, Surface, UplinkBody};
use crate::engine::{
    self, Channel, Engine, EngineConfig, EngineError, EngineEvent, EngineLoad, FinishReason,
    Generation, Input, Job, ModelCard, TokenLogprob, TopLogprob, Usage,
};
use crate::uplink::{LeaseContext, ReceiptOutbox};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const REQUEST: RequestId = RequestId::from_bytes([7; 16]);
const PAYEE: WalletAddress = WalletAddress::new(0, [5; 32]);
const HEX: &str = "07070707070707070707070707070707";
const CHAT_ID: &str = "chatcmpl-07070707070707070707070707070707";

/// A surface under a lease.
struct Rig {
    surface: Surface,
    lease: Arc<LeaseContext>,
    outbox: Arc<ReceiptOutbox>,
}

impl Rig {
    fn over(engine: Arc<dyn Engine>) -> Self {
        Self::within(Limits::STANDARD, engine)
    }

    fn within(limits: Limits, engine: Arc<dyn Engine>) -> Self {
        let facts = LeaseFacts {
            lease_id: LeaseId::from_bytes([1; 16]),
            evidence_digest: Digest::from_bytes([2; 32]),
            policy_digest: Digest::from_bytes([3; 32]),
            assurance: Assurance::Software,
        };
        let seal_key = Arc::new(KeyPair::from_seed(&[8; 32]));
        let lease = LeaseContext::new(&ReceiptKey::from_seed(&[4; 32]), facts, PAYEE, seal_key);
        let outbox = Arc::new(ReceiptOutbox::new());
        let clock = Arc::new(MockClock::at(NOW));
        let surface = Surface::new(engine, Arc::clone(&outbox), clock, limits);
        Self { surface, lease: Arc::new(lease), outbox }
    }

    /// Over the real scripted engine, `tokens` words long.
    async fn scripted(tokens: u32) -> Self {
        let config = json!({"kind": "scripted", "name": "m", "tokens": tokens});
        let config: EngineConfig = serde_json::from_value(config).expect("a configuration");
        let lifecycle = Lifecycle::new();
        let engine = engine::start(&config, &lifecycle, Arc::new(MockClock::at(NOW)));
        Self::over(engine.await.expect("the scripted engine starts"))
    }

    /// Over an engine that says `events` at once and then, if `ends`, hangs up.
    fn played(events: Vec<EngineEvent>) -> (Self, Arc<Played>) {
        let engine = Arc::new(Played::new(events));
        (Self::over(engine.clone()), engine)
    }

    async fn send(&self, body: &Value) -> Response<UplinkBody> {
        self.surface.handle(&self.lease, request(body)).await
    }

    /// Over an engine with a script for each choice.
    fn several(scripts: Vec<Vec<EngineEvent>>, permits: u32) -> (Self, Arc<Played>) {
        let engine = Arc::new(Played::scripts(scripts.into_iter().map(Ok).collect(), permits));
        (Self::over(engine.clone()), engine)
    }

    async fn send_to(&self, path: &str, body: &Value) -> Response<UplinkBody> {
        self.surface.handle(&self.lease, request_to(path, body.to_string().into(), head())).await
    }

    /// The error object of a refusal.
    async fn refused_at(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.send_to(path, body).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("infallible").to_bytes();
        let body: Value = serde_json::from_slice(&body).expect("an error object");
        (status, body["error"].clone())
    }

    async fn frames(&self, body: &Value) -> Vec<Frame> {
        let response = self.send(body).await;
        assert_eq!(response.status(), 200);
        frames(response).await
    }

    /// What the gateway checks of a receipt, and what the client checks of its commitments.
    fn verified(&self, receipt: &SignedReceipt, body: &Value, frames: &[Frame]) -> ReceiptCore {
        let model = body["model"].as_str().expect("a model").parse().expect("a model name");
        let core = verify_worker(
            receipt,
            &Expected {
                worker_id: self.lease.worker_id(),
                lease: Some(*self.lease.signer.lease()),
                request_id: REQUEST,
                attempt: Some(2),
                model: &model,
                terms: Some(&terms()),
                completion: frames.last().map(|frame| frame.cumulative.into()),
            },
        )
        .expect("the receipt verifies");
        let mut commitment = Commitment::new();
        for frame in frames.iter().filter(|frame| frame.kind == FrameKind::Data) {
            commitment.push(&frame.payload);
        }
        assert_eq!(core.resp_commit, commitment.digest(&receipt.salt));
        assert_eq!(core.frames, commitment.frames());
        let body = body.to_string();
        assert_eq!(core.req_commit, request_commitment(&receipt.salt, body.as_bytes()));
        assert!(core.chat_id.ends_with(HEX), "{}", core.chat_id);
        core
    }

    /// The one receipt in the outbox.
    fn posted(&self) -> SignedReceipt {
        assert_eq!(self.outbox.len(), 1);
        let receipt = self.outbox.subscribe().try_next().expect("one receipt");
        SignedReceipt::clone(&receipt)
    }
}

fn terms() -> Terms {
    let price = TokenPrice::per_million(Nano::new(1000).expect("a small amount"));
    Terms {
        pay_commit: [9; 32],
        price: PriceRow { prompt: price, cached: price, completion: price },
        registry_version: 0,
        payee: PAYEE,
        commission_bp: 500,
        max_prompt_tokens: 1000,
        max_completion_tokens: 100,
        not_after: NOW.saturating_add(std::time::Duration::from_secs(60)),
    }
}

fn head() -> HeaderMap {
    let terms = URL_SAFE_NO_PAD.encode(terms().encode());
    let mut map = HeaderMap::new();
    map.insert(headers::REQUEST_ID, REQUEST.to_string().parse().expect("ASCII"));
    map.insert(headers::ATTEMPT, 2.into());
    map.insert(headers::MAX_TOKENS, 100.into());
    map.insert(headers::TERMS, terms.parse().expect("ASCII"));
    map
}

fn request(body: &Value) -> Request<Bytes> {
    request_of(body.to_string().into(), head())
}

fn request_of(body: Bytes, head: HeaderMap) -> Request<Bytes> {
    request_to(headers::CHAT_PATH, body, head)
}

fn request_to(path: &str, body: Bytes, head: HeaderMap) -> Request<Bytes> {
    let mut request = Request::post(path).body(body).expect("a request");
    *request.headers_mut() = head;
    request
}

/// A request for the model `m` with `more` beside one message.
fn chat(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hello there"}]});
    let fields = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(fields);
    body
}

async fn frames(response: Response<UplinkBody>) -> Vec<Frame> {
    let kind = response.headers().get(CONTENT_TYPE).expect("a content type");
    let is_stream = kind.to_str().expect("ASCII").starts_with("text/event-stream");
    let body = response.into_body().collect().await.expect("infallible").to_bytes();
    let mut decoder = FrameDecoder::new(32 * 1024 * 1024);
    decoder.push(body);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame().expect("well-formed frames") {
        frames.push(frame);
    }
    assert!(decoder.is_empty());
    assert!(frames.is_sorted_by_key(|frame| frame.cumulative), "counts never fall");
    contract::check(&frames, is_stream);
    frames
}

fn kinds(frames: &[Frame]) -> Vec<FrameKind> {
    frames.iter().map(|frame| frame.kind).collect()
}

fn receipt_in(frames: &[Frame]) -> SignedReceipt {
    let frame = frames.iter().find(|frame| frame.kind == FrameKind::Receipt);
    SignedReceipt::from_bytes(&frame.expect("a receipt frame").payload).expect("a receipt")
}

/// The text of every event of a stream, `[DONE]` included.
fn events(frames: &[Frame]) -> Vec<String> {
    let mut decoder = sse::Decoder::new(1_000_000);
    let mut events = Vec::new();
    for frame in frames.iter().filter(|frame| frame.kind == FrameKind::Data) {
        decoder.push(&frame.payload);
        while let Some(event) = decoder.next_event().expect("an event stream") {
            events.push(event.data);
        }
    }
    events
}

/// The chunks of a stream that must end in `[DONE]`, without their padding.
fn chunks(frames: &[Frame]) -> Vec<Value> {
    let mut events = events(frames);
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let chunk = |text: &String| {
        let mut chunk: Value = serde_json::from_str(text).expect("a chunk is JSON");
        chunk.as_object_mut().expect("a chunk is an object").remove("obfuscation");
        chunk
    };
    events.iter().map(chunk).collect()
}

/// One whole chunk as a client should see it.
fn chunk(delta: &Value, finish: &Value) -> Value {
    json!({"id": CHAT_ID, "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": "m", "choices": [
            {"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]})
}

/// An engine that plays what a test wrote, a script for each job, and keeps the jobs for the test
/// to look at.
struct Played {
    scripts: Mutex<VecDeque<Result<mpsc::Receiver<EngineEvent>, EngineError>>>,
    senders: Vec<mpsc::Sender<EngineEvent>>,
    jobs: Mutex<Vec<Job>>,
    permits: u32,
    counts_prompts: bool,
    /// What it says of each of several prompts before it works on any.
    asked: Option<u64>,
}

impl Played {
    fn new(events: Vec<EngineEvent>) -> Self {
        Self::scripts(vec![Ok(events)], 1)
    }

    fn refusing(error: EngineError) -> Self {
        Self::scripts(vec![Err(error)], 1)
    }

    /// Each job gets the next script, or is refused.
    fn scripts(scripts: Vec<Result<Vec<EngineEvent>, EngineError>>, permits: u32) -> Self {
        let mut senders = Vec::new();
        let mut load = |events: Vec<EngineEvent>| {
            let (sender, receiver) = mpsc::channel(1000);
            for event in events {
                sender.try_send(event).expect("the channel holds a test's events");
            }
            senders.push(sender);
            receiver
        };
        let scripts = scripts.into_iter().map(|script| script.map(&mut load)).collect();
        let (scripts, jobs) = (Mutex::new(scripts), Mutex::new(Vec::new()));
        Self { scripts, senders, jobs, permits, counts_prompts: true, asked: Some(1) }
    }

    async fn say(&self, event: EngineEvent) {
        self.say_to(0, event).await;
    }

    /// Goes on with the script at `place`, among those that are not refusals.
    async fn say_to(&self, place: usize, event: EngineEvent) {
        self.senders[place].send(event).await.expect("somebody listens");
    }

    fn is_cancelled(&self) -> bool {
        self.senders.iter().all(mpsc::Sender::is_closed)
    }

    /// The last job.
    fn job(&self) -> Job {
        self.jobs().pop().expect("a job was given")
    }

    fn jobs(&self) -> Vec<Job> {
        self.jobs.lock().expect("not poisoned").clone()
    }
}

/// What the played engine says of a prompt alone: it does not know this token.
const UNKNOWN_TOKEN: u32 = 999_999;

/// A prompt about which it never says anything.
const UNENDING: &str = "unending";

fn questioned(job: &Job, prompt_tokens: Option<u64>) -> Generation {
    let (sender, events) = mpsc::channel(2);
    if matches!(&job.input, Input::Text(text) if text == UNENDING) {
        std::mem::forget(sender);
        return Generation { events };
    }
    let refused = matches!(&job.input, Input::Tokens(ids) if ids.contains(&UNKNOWN_TOKEN));
    let answer = if refused {
        let (message, param) = ("no such token".to_owned(), Some("prompt".to_owned()));
        let error = EngineError::InvalidRequest { message, param, code: "invalid_value" };
        vec![EngineEvent::Failed(error)]
    } else {
        let finish = FinishReason::Length;
        let usage = Usage::default();
        vec![EngineEvent::Started { prompt_tokens }, EngineEvent::Finished { finish, usage }]
    };
    for event in answer {
        sender.try_send(event).expect("the channel has room");
    }
    Generation { events }
}

impl Engine for Played {
    fn models(&self) -> Vec<ModelCard> {
        let card = |name: &str, kind| ModelCard {
            name: name.parse().expect("a model name"),
            context_length: 4096,
            counts_prompts: self.counts_prompts,
            manifest_digest: [6; 32],
            engine: "played",
            is_demo: true,
            kind,
            embedding_dimensions: None,
            owned_by: "tests".to_owned(),
        };
        vec![card("m", ModelKind::Chat), card("e", ModelKind::Embedding)]
    }

    fn generate(&self, job: Job) -> Result<Generation, EngineError> {
        if job.max_tokens == 0 && !matches!(job.input, Input::Embed(_)) {
            return Ok(questioned(&job, self.asked));
        }
        self.jobs.lock().expect("not poisoned").push(job);
        let script = self.scripts.lock().expect("not poisoned").pop_front();
        script.expect("a script for each job").map(|events| Generation { events })
    }

    fn load(&self) -> EngineLoad {
        EngineLoad { running: 0, waiting: 0, permits: self.permits }
    }

    fn is_ready(&self) -> bool {
        true
    }
}

fn started() -> EngineEvent {
    EngineEvent::Started { prompt_tokens: Some(11) }
}

fn delta(text: &str, completion_tokens: u32) -> EngineEvent {
    let (channel, text) = (Channel::Content, text.to_owned());
    EngineEvent::Delta { channel, text, completion_tokens, logprobs: Vec::new() }
}

fn thought(text: &str, completion_tokens: u32) -> EngineEvent {
    let (channel, text) = (Channel::Reasoning, text.to_owned());
    EngineEvent::Delta { channel, text, completion_tokens, logprobs: Vec::new() }
}

fn call(index: u32, name: &str, completion_tokens: u32) -> EngineEvent {
    let (id, name) = (format!("call_{index}"), name.to_owned());
    EngineEvent::ToolCall { index, id, name, arguments: "{}".to_owned(), completion_tokens }
}

fn finished(finish: FinishReason, completion: u64) -> EngineEvent {
    let usage = Usage { prompt: 11, cached: 0, completion, reasoning: 0 };
    EngineEvent::Finished { finish, usage }
}

fn logprob(token: &str) -> TokenLogprob {
    let bytes = token.as_bytes().to_vec();
    let top = TopLogprob { token: token.to_owned(), bytes: bytes.clone(), logprob: -0.5 };
    TokenLogprob { token: token.to_owned(), bytes, logprob: -0.5, top: vec![top] }
}
