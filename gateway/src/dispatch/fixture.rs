//! What the tests of dispatch and jobs share: one funded wallet, one request, one worker's key.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cocoon_attest::receipt::{
    Commitment, Finish, LeaseFacts, ReceiptDraft, ReceiptKey, SignedReceipt, Usage as ReceiptUsage,
};
use cocoon_fleet::Fleet;
use cocoon_metering::PriceRow;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_primitives::{
    Assurance, Clock, Digest, LeaseId, MockClock, Nano, RequestId, Timestamp, TokenCount,
    TokenPrice, WalletAddress, WorkerId,
};
use cocoon_seal::{Head, SealKeys, Wrapped};
use cocoon_store::{Reservation, ReserveOutcome, Store};
use cocoon_uplink_wire::{Frame, FrameKind};
use futures_util::StreamExt;
use http::HeaderMap;
use http_body_util::{BodyExt, StreamBody};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::frames::{Frames, Reset, Upstream};
use super::live::LiveRequests;
use super::place::Place;
use super::sealed::SealedCall;
use super::stream::{Pace, Stream};
use super::ticket::{Agreement, Ending, Service, Ticket};
use crate::jobs::Acknowledge;
use crate::rates::{RateLimits, Rates, TokenHold};
use crate::recount::{RecountConfig, Recounter};
use crate::uplink::SharedFleet;

pub(crate) const COMPLETION_MAX: u32 = 10;
pub(crate) const PROMPT_MAX: u64 = 100;
pub(crate) const PROMPT: u64 = 8;
pub(crate) const CREDIT: u64 = 1000;
pub(crate) const TOKENS_PER_MINUTE: u64 = 1_000_000;
pub(crate) const LAST: &[u8] = b"end";
const SALT: [u8; 32] = [9; 32];
pub(crate) const PACE: Pace = Pace {
    silence_max: Duration::from_secs(30),
    keep_alive: Duration::from_secs(15),
    client_stall_max: Duration::from_secs(120),
};

pub(crate) fn nano(amount: u64) -> Nano {
    Nano::new(amount).unwrap()
}

/// 1 nano-coin for a prompt token, 2 for a completion token.
pub(crate) fn price() -> PriceRow {
    let per_token = |amount: u64| TokenPrice::per_million(nano(amount * 1_000_000));
    PriceRow { prompt: per_token(1), cached: per_token(1), completion: per_token(2) }
}

pub(crate) fn wallet() -> WalletAddress {
    WalletAddress::new(0, [7; 32])
}

pub(crate) fn payee() -> WalletAddress {
    WalletAddress::new(0, [9; 32])
}

pub(crate) fn request_id(number: u8) -> RequestId {
    RequestId::from_bytes([number; 16])
}

pub(crate) fn clock() -> MockClock {
    MockClock::at(Timestamp::from_seconds(1_000_000))
}

pub(crate) fn fleet() -> SharedFleet {
    Arc::new(Mutex::new(Fleet::new()))
}

/// Counts nothing again.
pub(crate) fn recounter() -> Arc<Recounter> {
    Arc::new(Recounter::load(&RecountConfig::default()).unwrap())
}

pub(crate) fn agreement(number: u8, is_streamed: bool) -> Arc<Agreement> {
    agreement_with(number, is_streamed, |_| {})
}

pub(crate) fn agreement_with(
    number: u8,
    is_streamed: bool,
    change: impl FnOnce(&mut Agreement),
) -> Arc<Agreement> {
    let opened = Instant::now();
    let mut agreement = Agreement {
        endpoint: Endpoint::ChatCompletions,
        request_id: request_id(number),
        wallet: wallet(),
        model: "tiny-demo".parse().unwrap(),
        assurance: Assurance::Software,
        price: price(),
        prompt_max: PROMPT_MAX,
        completion_max: COMPLETION_MAX,
        readings: 1,
        is_streamed,
        sealed: None,
        pay_blind: [number; 32],
        commission_bp: 1000,
        begun_at: clock().now(),
        not_after: clock().now().saturating_add(Duration::from_secs(600)),
        opened,
        deadline: opened + Duration::from_secs(600),
        span: tracing::Span::none(),
    };
    change(&mut agreement);
    Arc::new(agreement)
}

/// What the headers of a sealed request tell; nobody opens it.
pub(crate) fn sealed_call() -> Arc<SealedCall> {
    let wrapped = Wrapped { worker_id: Worker::new(1).id(), enc: [1; 32], wrapped: [2; 48] };
    Arc::new(SealedCall {
        head: Head {
            path: Endpoint::ChatCompletions.path().to_owned(),
            request_id: request_id(1),
            model: "tiny-demo".parse().unwrap(),
            is_stream: true,
            max_prompt_tokens: PROMPT_MAX,
            max_tokens: COMPLETION_MAX,
            max_price: [u64::MAX; 3],
            not_after: clock().now().saturating_add(Duration::from_secs(60)),
            pay_commit: [3; 32],
        },
        keys: SealKeys::new(vec![wrapped]).unwrap(),
        pay_blind: [1; 32],
    })
}

/// One worker: its key, and what its receipts say about its lease.
pub(crate) struct Worker {
    pub(crate) key: ReceiptKey,
    pub(crate) acknowledged: Arc<Mutex<Vec<RequestId>>>,
}

impl Worker {
    pub(crate) fn new(seed: u8) -> Self {
        Self { key: ReceiptKey::from_seed(&[seed; 32]), acknowledged: Arc::default() }
    }

    pub(crate) fn id(&self) -> WorkerId {
        self.key.worker_id()
    }

    pub(crate) fn lease() -> LeaseFacts {
        LeaseFacts {
            lease_id: LeaseId::from_bytes([1; 16]),
            evidence_digest: Digest::from_bytes([2; 32]),
            policy_digest: Digest::from_bytes([3; 32]),
            assurance: Assurance::Software,
        }
    }

    pub(crate) fn acknowledge(&self) -> Acknowledge {
        let acknowledged = self.acknowledged.clone();
        Acknowledge::new(self.id(), move |requests| acknowledged.lock().unwrap().extend(requests))
    }

    pub(crate) fn service(&self, agreement: &Agreement) -> Service {
        Service {
            worker: self.id(),
            lease: Self::lease(),
            attempt: 0,
            terms: agreement.terms(payee()),
            prompt: Some(PROMPT),
            acknowledge: self.acknowledge(),
        }
    }

    /// For an answer of one payload, [`LAST`].
    pub(crate) fn receipt(&self, agreement: &Agreement, completion: u64) -> SignedReceipt {
        self.receipt_of(agreement, completion, &[LAST])
    }

    pub(crate) fn receipt_of(
        &self,
        agreement: &Agreement,
        completion: u64,
        payloads: &[&[u8]],
    ) -> SignedReceipt {
        let mut answer = Commitment::new();
        payloads.iter().for_each(|payload| answer.push(payload));
        let (started, ended) = (clock().now(), clock().now());
        self.key.signer(Self::lease()).sign(ReceiptDraft {
            request_id: agreement.request_id,
            attempt: 0,
            chat_id: "chatcmpl-1".to_owned(),
            model: agreement.model.clone(),
            model_manifest_digest: Digest::from_bytes([4; 32]),
            req_commit: [5; 32],
            resp_commit: answer.digest(&SALT),
            frames: answer.frames(),
            finish: Finish::Stop,
            usage: ReceiptUsage { prompt: PROMPT, cached: 0, completion, reasoning: 0 },
            params_digest: Digest::from_bytes([8; 32]),
            started,
            ended,
            terms: agreement.terms(payee()),
            salt: SALT,
        })
    }
}

/// A store with one funded wallet, in a folder that goes with it.
pub(crate) struct Ledger {
    pub(crate) store: Store,
    _folder: tempfile::TempDir,
}

impl Ledger {
    pub(crate) async fn funded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.sqlite")).unwrap();
        let now = clock().now();
        store.ensure_wallet(wallet(), [7; 32], now).await.unwrap();
        store.credit(wallet(), nano(CREDIT), [1; 16], now).await.unwrap();
        Self { store, _folder: folder }
    }

    /// Sets aside the worst case: 100 · 1 + 10 · 2 nano-coins.
    pub(crate) async fn reserve(&self, agreement: &Agreement) {
        let reservation = Reservation {
            request_id: agreement.request_id,
            wallet: wallet(),
            key: None,
            model: agreement.model.clone(),
            price: agreement.price,
            amount: nano(120),
            max_prompt: TokenCount::new(PROMPT_MAX),
            max_completion: TokenCount::new(u64::from(COMPLETION_MAX)),
            streamed: agreement.is_streamed,
            created_at: clock().now(),
            expires_at: clock().now().saturating_add(Duration::from_secs(900)),
            pay_blind: agreement.pay_blind,
            commission_bp: agreement.commission_bp,
        };
        let reserved = self.store.reserve(reservation).await.unwrap();
        assert_eq!(reserved, ReserveOutcome::Reserved);
    }

    /// Charged and reserved, after the audit found nothing wrong.
    pub(crate) async fn charged(&self) -> (u64, u64) {
        let report = self.store.check().await.unwrap();
        assert!(report.is_clean(), "{:?}", report.problems);
        let balance = self.store.balance(wallet()).await.unwrap();
        (balance.charged.get(), balance.reserved.get())
    }
}

/// Rates that nobody reaches.
pub(crate) fn rates() -> Arc<Rates> {
    let limits =
        RateLimits { requests_per_minute: 1_000_000, tokens_per_minute: TOKENS_PER_MINUTE };
    Arc::new(Rates::new(limits, Arc::new(clock())))
}

/// What one request holds of such a rate.
pub(crate) const TOKENS: u64 = PROMPT_MAX + 10;

pub(crate) fn tokens(rates: &Arc<Rates>) -> TokenHold {
    rates.tokens(wallet(), TOKENS).unwrap()
}

/// Tokens of the wallet's minute that are gone.
pub(crate) fn tokens_gone(rates: &Rates) -> u64 {
    let mut head = HeaderMap::new();
    rates.write_head(wallet(), &mut head);
    let left = head["x-ratelimit-remaining-tokens"].to_str().unwrap().parse::<u64>();
    TOKENS_PER_MINUTE - left.unwrap()
}

/// Counts strikes against workers, as metrics show them, while its guard lives on this thread.
#[derive(Default)]
pub(crate) struct Strikes(Arc<AtomicU64>);

impl Strikes {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Recorder for Strikes {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match key.name() {
            "cocoon_worker_strikes_total" => Counter::from_arc(Arc::clone(&self.0)),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// A ticket, and where its outcome goes.
pub(crate) fn ticket(
    live: &LiveRequests,
    agreement: &Arc<Agreement>,
) -> (Ticket, mpsc::Receiver<Ending>) {
    ticket_on(&rates(), live, agreement)
}

pub(crate) fn ticket_on(
    rates: &Arc<Rates>,
    live: &LiveRequests,
    agreement: &Arc<Agreement>,
) -> (Ticket, mpsc::Receiver<Ending>) {
    let (sender, endings) = mpsc::channel(1);
    let slot = sender.try_reserve_owned().unwrap();
    let seat = live.enter(agreement.request_id).unwrap();
    (Ticket::new(agreement.clone(), seat, tokens(rates), slot), endings)
}

/// What a worker's stream does after its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    End,
    Reset,
    Hang,
}

/// A worker's body, and a flag that tells when it was dropped: when the stream was reset.
pub(crate) fn upstream(chunks: Vec<Bytes>, tail: Tail) -> (Upstream, Arc<AtomicBool>) {
    struct OnDrop(Arc<AtomicBool>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let guard = OnDrop(dropped.clone());
    let frames = chunks.into_iter().map(|chunk| Ok(http_body::Frame::data(chunk)));
    let end = futures_util::stream::poll_fn(move |_| {
        let _held = &guard;
        match tail {
            Tail::End => std::task::Poll::Ready(None),
            Tail::Reset => std::task::Poll::Ready(Some(Err(Reset("reset".into())))),
            Tail::Hang => std::task::Poll::Pending,
        }
    });
    let body = StreamBody::new(futures_util::stream::iter(frames).chain(end));
    (body.boxed_unsync(), dropped)
}

/// A stream that has `first` in hand and reads the rest from `upstream`.
pub(crate) fn stream(first: Frame, upstream: Upstream, ticket: Ticket, pace: Pace) -> Stream {
    let place = Place::new(
        fleet(),
        Arc::new(clock()),
        WorkerId::from_bytes([1; 32]),
        Worker::lease().lease_id,
    );
    Stream::new(Frames::new(upstream, 1 << 20), first, place, ticket, pace)
}

pub(crate) fn frame(kind: FrameKind, cumulative: u32, payload: &'static [u8]) -> Frame {
    Frame { kind, cumulative, payload: Bytes::from_static(payload) }
}

/// Bytes of a worker's error frame.
pub(crate) const WORKER_ERROR: &[u8] = br#"{"status":503,"retryable":true,"error":{"message":"restarting","type":"server_error","param":null,"code":"engine_restarting"}}"#;
