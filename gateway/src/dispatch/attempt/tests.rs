use std::sync::Mutex;

use cocoon_runtime::{Drained, Lifecycle};
use cocoon_uplink_wire::FrameKind::{Data, Error, Heartbeat, Receipt};
use cocoon_uplink_wire::encode_frame;
use tokio::sync::mpsc;

use super::*;
use crate::dispatch::fixture::{
    self, Ledger, Strikes, Tail, WORKER_ERROR, Worker, clock, payee, upstream,
};
use crate::dispatch::{DispatchLimits, DispatchParts, LiveRequests, PriceList};
use crate::jobs::{self, JobParts};

/// What one worker does with a request.
#[derive(Debug, Clone, Copy)]
enum Script {
    /// The connection fails.
    Lost,
    /// No head ever comes.
    Hang,
    Refuse {
        status: u16,
        is_retryable: bool,
        body: &'static [u8],
    },
    /// Of what it has opened.
    RefuseSealed {
        status: u16,
        is_retryable: bool,
    },
    Frames {
        prompt: &'static str,
        sent: &'static [(FrameKind, u32, &'static [u8])],
        tail: Tail,
    },
}

use Script::{Frames as Answer, Hang, Lost, Refuse, RefuseSealed};

const REFUSED: &[u8] =
    br#"{"error":{"message":"no","type":"invalid_request_error","param":"n","code":"bad"}}"#;
const BUSY: Script = Refuse { status: 503, is_retryable: true, body: REFUSED };
const WELL: Script = Answer {
    prompt: "8",
    sent: &[(Heartbeat, 0, b""), (Data, 1, b"one"), (Receipt, 1, b"r"), (Data, 1, b"end")],
    tail: Tail::End,
};

impl Script {
    fn send(self, seen: Arc<Mutex<Vec<HeaderMap>>>) -> Send {
        Box::new(move |request| {
            seen.lock().unwrap().push(request.headers().clone());
            Box::pin(async move {
                match self {
                    Lost => Err(LinkError::Closed),
                    Hang => std::future::pending().await,
                    Refuse { status, is_retryable, body } => {
                        let (body, _) = upstream(vec![Bytes::from_static(body)], Tail::End);
                        let flag = if is_retryable { "1" } else { "0" };
                        let response = Response::builder().status(status);
                        Ok(response.header(headers::RETRYABLE, flag).body(body).unwrap())
                    }
                    RefuseSealed { status, is_retryable } => {
                        let (body, _) = upstream(vec![Bytes::from_static(b"sealed")], Tail::End);
                        let flag = if is_retryable { "1" } else { "0" };
                        let response = Response::builder().status(status);
                        let response = response.header(cocoon_seal::headers::SEALED, "1");
                        Ok(response.header(headers::RETRYABLE, flag).body(body).unwrap())
                    }
                    Answer { prompt, sent, tail } => {
                        let encode = |(kind, count, payload): &(FrameKind, u32, &[u8])| {
                            encode_frame(*kind, *count, payload)
                        };
                        let (body, _) = upstream(sent.iter().map(encode).collect(), tail);
                        let response = Response::builder();
                        Ok(response.header(headers::PROMPT_TOKENS, prompt).body(body).unwrap())
                    }
                }
            })
        })
    }
}

/// A dispatcher over a funded ledger, and workers that follow scripts.
struct Rig {
    ledger: Ledger,
    lifecycle: Lifecycle,
    dispatcher: Arc<Dispatcher>,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Rig {
    async fn new() -> Self {
        Self::with(DispatchLimits::STANDARD.first_token_timeout).await
    }

    async fn with(first_token_timeout: Duration) -> Self {
        let (ledger, lifecycle) = (Ledger::funded().await, Lifecycle::new());
        let (_, late_receipts) = mpsc::channel(1);
        let jobs = jobs::start(JobParts {
            store: ledger.store.clone(),
            fleet: fixture::fleet(),
            clock: Arc::new(clock()),
            lifecycle: lifecycle.clone(),
            late_receipts,
            gateway_key: ed25519_dalek::SigningKey::from_bytes(&[3; 32]),
        });
        let dispatcher = Dispatcher::new(DispatchParts {
            store: ledger.store.clone(),
            fleet: fixture::fleet(),
            prices: Arc::new(PriceList::default()),
            clock: Arc::new(clock()),
            lifecycle: lifecycle.clone(),
            limits: DispatchLimits {
                first_frame_timeout: Duration::from_millis(30),
                first_token_timeout,
                receipt_wait: Duration::from_millis(20),
                ..DispatchLimits::STANDARD
            },
            rates: fixture::rates(),
            recounter: fixture::recounter(),
            jobs,
        });
        Self { ledger, lifecycle, dispatcher, seen: Arc::default() }
    }

    /// Opens a reserved request at workers that follow `scripts`, one after the other.
    async fn open(
        &self,
        scripts: &'static [Script],
    ) -> impl Future<Output = Result<Stream, DispatchError>> + 'static {
        self.open_of(fixture::agreement(1, true), scripts).await
    }

    async fn open_of(
        &self,
        agreement: Arc<Agreement>,
        scripts: &'static [Script],
    ) -> impl Future<Output = Result<Stream, DispatchError>> + 'static {
        self.ledger.reserve(&agreement).await;
        let slot = self.dispatcher.endings.clone().try_reserve_owned().unwrap();
        let seat = self.dispatcher.live.enter(agreement.request_id).unwrap();
        let tokens = fixture::tokens(&self.dispatcher.rates);
        let ticket = Ticket::new(agreement, seat, tokens, slot);
        let seen = self.seen.clone();
        let choose = move |_: &Agreement, asked: &[WorkerId]| {
            let script = scripts.get(asked.len()).ok_or(Unavailable::NoWorker)?;
            let worker = Worker::new(u8::try_from(asked.len()).unwrap());
            Ok(Candidate {
                worker: worker.id(),
                lease: Worker::lease(),
                payee: payee(),
                acknowledge: worker.acknowledge(),
                send: script.send(seen.clone()),
            })
        };
        open(self.dispatcher.clone(), Bytes::from_static(b"{}"), ticket, choose)
    }

    /// Everything settled: what is charged and what is still reserved.
    async fn settled(self) -> (u64, u64) {
        assert_eq!(self.lifecycle.drain(Duration::from_secs(20)).await, Drained::Finished);
        self.ledger.charged().await
    }
}

#[tokio::test]
async fn workers_are_asked_in_turn_until_one_begins() {
    const BROKEN: Script = Answer { prompt: "8", sent: &[], tail: Tail::Reset };
    const GARBAGE: Script = Answer { prompt: "8", sent: &[(Error, 0, b"{")], tail: Tail::Hang };
    const FAILED: Script =
        Answer { prompt: "8", sent: &[(Error, 0, WORKER_ERROR)], tail: Tail::End };
    const OVERSTATED: Script = Answer { prompt: "101", sent: &[(Data, 1, b"x")], tail: Tail::Hang };
    const UNREADABLE: Script = Answer { prompt: "x", sent: &[(Data, 1, b"x")], tail: Tail::Hang };
    for scripts in [
        &[WELL][..],
        &[Lost, WELL],
        &[Hang, WELL],
        &[BUSY, Lost, WELL],
        &[BROKEN, WELL],
        &[GARBAGE, FAILED, WELL],
        &[OVERSTATED, UNREADABLE, WELL],
        &[Refuse { status: 302, is_retryable: false, body: REFUSED }, WELL],
        &[Refuse { status: 400, is_retryable: false, body: b"<html>" }, WELL],
    ] {
        let rig = Rig::new().await;
        let stream = rig.open(scripts).await.await.unwrap();
        assert_eq!(rig.seen.lock().unwrap().len(), scripts.len(), "{scripts:?}");
        let attempts: Vec<_> = rig
            .seen
            .lock()
            .unwrap()
            .iter()
            .map(|head| head[headers::ATTEMPT].to_str().unwrap().to_owned())
            .collect();
        assert_eq!(attempts, ["0", "1", "2"][..scripts.len()]);
        drop(stream);
        assert_eq!(rig.settled().await, (8, 0), "{scripts:?}: the prompt, and no token seen");
    }
}

#[tokio::test]
async fn a_request_that_nobody_begins_costs_nothing() {
    let refuse = |scripts: &'static [Script]| async move {
        let rig = Rig::new().await;
        let error = rig.open(scripts).await.await.unwrap_err();
        let asked = rig.seen.lock().unwrap().len();
        assert_eq!(rig.settled().await, (0, 0), "{scripts:?}");
        (error, asked)
    };
    const REFUSE: Script = Refuse { status: 400, is_retryable: false, body: REFUSED };
    let (error, asked) = refuse(&[REFUSE, WELL]).await;
    assert!(matches!(error, DispatchError::WorkerRefused { status: 400, .. }), "{error:?}");
    assert_eq!(asked, 1, "a client's own fault is not tried elsewhere");

    let (error, asked) = refuse(&[BUSY, BUSY, BUSY, WELL]).await;
    assert!(matches!(error, DispatchError::Saturated { .. }), "{error:?}");
    assert_eq!(asked, 3, "attempts are bounded");

    assert!(matches!(refuse(&[]).await.0, DispatchError::NoWorker));
    assert!(matches!(refuse(&[Lost]).await.0, DispatchError::WorkerLost));
    assert!(matches!(refuse(&[Hang]).await.0, DispatchError::Deadline));
}

/// Heartbeats show that a worker lives, and buy it so much time and no more; who shows a token has
/// until the deadline.
#[tokio::test]
async fn heartbeats_do_not_put_off_the_first_token_for_ever() {
    const ALIVE: Script =
        Answer { prompt: "8", sent: &[(Heartbeat, 0, b""), (Heartbeat, 0, b"")], tail: Tail::Hang };
    const AT_WORK: Script =
        Answer { prompt: "8", sent: &[(Heartbeat, 0, b""), (Heartbeat, 1, b"")], tail: Tail::Hang };
    let rig = Rig::with(Duration::from_millis(60)).await;
    let error = rig.open(&[ALIVE, WELL]).await.await.unwrap_err();
    assert!(matches!(error, DispatchError::Deadline), "{error:?}");
    assert_eq!(rig.seen.lock().unwrap().len(), 1, "nobody is asked for what comes too late");
    assert_eq!(rig.settled().await, (0, 0));

    let rig = Rig::with(Duration::from_millis(60)).await;
    let opening = rig.open(&[AT_WORK]).await;
    let waited = tokio::time::timeout(Duration::from_millis(200), opening).await;
    assert!(waited.is_err(), "it is still waited for");
    assert_eq!(rig.settled().await, (8, 0), "the prompt, and no token seen");
}

/// A client that leaves while its request is under way: at every suspension point the ticket is
/// inside the future, so the reservation comes back.
#[tokio::test]
async fn a_client_that_leaves_before_the_answer_leaves_nothing_reserved() {
    for polls in 0..6 {
        let rig = Rig::new().await;
        let mut opening = Box::pin(rig.open(&[BUSY, Hang]).await);
        for _ in 0..polls {
            let waiting = tokio::time::timeout(Duration::from_millis(2), &mut opening).await;
            if waiting.is_ok() {
                break;
            }
        }
        drop(opening);
        assert_eq!(rig.settled().await, (0, 0), "after {polls} waits");
    }
}

const CRASHED: &[u8] = br#"{"status":502,"retryable":true,"error":{"message":"m","type":"server_error","param":null,"code":"engine_failed"}}"#;
const CRASH: Script =
    Answer { prompt: "8", sent: &[(Heartbeat, 3, b""), (Error, 3, CRASHED)], tail: Tail::End };

/// A request that ends engines meets two of them and no more, and has no worker passed over for
/// it; an engine that crashes where another one does not is struck.
#[tokio::test]
async fn a_request_that_crashes_engines_is_tried_once_more_and_then_refused_for_good() {
    const CRASH_AT_ONCE: Script = Refuse {
        status: 502,
        is_retryable: true,
        body: br#"{"error":{"message":"m","type":"server_error","param":null,"code":"engine_failed"}}"#,
    };
    for (scripts, asked, strikes, is_final) in [
        (&[CRASH, CRASH, WELL][..], 2, 0, Some(true)),
        (&[CRASH_AT_ONCE, CRASH, WELL], 2, 0, Some(true)),
        // To be full is not to have tried.
        (&[CRASH, BUSY, CRASH, WELL], 3, 0, Some(true)),
        (&[CRASH, Lost, WELL], 2, 2, Some(true)),
        (&[CRASH], 1, 1, Some(false)),
        (&[CRASH, WELL], 2, 1, None),
        (&[CRASH, BUSY, WELL], 3, 1, None),
        (&[Lost, CRASH, WELL], 3, 2, None),
    ] {
        let recorder = Strikes::default();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let rig = Rig::new().await;
        let opened = rig.open(scripts).await.await;
        assert_eq!(rig.seen.lock().unwrap().len(), asked, "{scripts:?}");
        assert_eq!(recorder.count(), strikes, "{scripts:?}");
        match (opened, is_final) {
            (Ok(_), None) => {}
            (Err(DispatchError::WorkerRefused { status: 502, is_final, body }), Some(expected)) => {
                assert_eq!(is_final, expected, "{scripts:?}");
                assert!(String::from_utf8_lossy(&body).contains("engine_failed"));
            }
            (opened, _) => panic!("{scripts:?}: {opened:?}"),
        }
    }
}

/// The same of a sealed request, whose workers' reasons cannot be read: a client that knows one
/// that ends engines has no honest worker passed over with it.
#[tokio::test]
async fn a_sealed_request_that_crashes_engines_is_tried_once_more_and_then_refused_for_good() {
    const SEALED_CRASH: Script = RefuseSealed { status: 502, is_retryable: true };
    const SEALED_BUSY: Script = RefuseSealed { status: 503, is_retryable: true };
    const SEALED_LATE: Script = RefuseSealed { status: 504, is_retryable: true };
    for (scripts, asked, strikes, is_answered) in [
        (&[SEALED_CRASH, SEALED_CRASH, WELL][..], 2, 0, false),
        (&[SEALED_CRASH, CRASH, WELL], 2, 0, false),
        (&[SEALED_CRASH, SEALED_BUSY, SEALED_CRASH, WELL], 3, 0, false),
        (&[SEALED_CRASH, Lost, WELL], 2, 2, false),
        (&[SEALED_CRASH], 1, 1, false),
        (&[SEALED_CRASH, WELL], 2, 1, true),
        (&[SEALED_LATE, WELL], 2, 1, true),
    ] {
        let recorder = Strikes::default();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let rig = Rig::new().await;
        let agreement =
            fixture::agreement_with(1, true, |it| it.sealed = Some(fixture::sealed_call()));
        let opened = rig.open_of(agreement, scripts).await.await;
        assert_eq!(rig.seen.lock().unwrap().len(), asked, "{scripts:?}");
        assert_eq!(recorder.count(), strikes, "{scripts:?}");
        match opened {
            Ok(_) => assert!(is_answered, "{scripts:?}"),
            Err(DispatchError::SealedRefused { status: 502, body }) => {
                assert!(!is_answered && body == "sealed", "{scripts:?}");
            }
            Err(error) => panic!("{scripts:?}: {error:?}"),
        }
    }
}

/// What no other worker would do better is no fault of the one that says so.
#[tokio::test]
async fn a_final_refusal_is_no_mark_against_its_worker() {
    const LARGE: Script = Refuse { status: 500, is_retryable: false, body: REFUSED };
    const LATE: Script = Refuse { status: 504, is_retryable: true, body: REFUSED };
    for (scripts, strikes) in [(&[LARGE][..], 0), (&[BUSY], 0), (&[LATE], 1), (&[Lost], 1)] {
        let recorder = Strikes::default();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let rig = Rig::new().await;
        rig.open(scripts).await.await.unwrap_err();
        assert_eq!(recorder.count(), strikes, "{scripts:?}");
    }
}

/// A whole answer that fails by the request's own fault is not charged: what was generated for it
/// stays taken of the wallet's rate.
#[tokio::test]
async fn work_that_nobody_pays_for_is_not_given_back_to_the_rate() {
    const OWN_FAULT: &[u8] = br#"{"status":400,"retryable":false,"error":{"code":"invalid"}}"#;
    const TOO_LARGE: &[u8] = br#"{"status":500,"retryable":false,"error":{"code":"large"}}"#;
    const fn failed(sent: &'static [(FrameKind, u32, &'static [u8])]) -> [Script; 1] {
        [Answer { prompt: "8", sent, tail: Tail::End }]
    }
    const AT_ONCE: [Script; 1] = failed(&[(Heartbeat, 0, b""), (Error, 0, OWN_FAULT)]);
    const IN_HEARTBEAT: [Script; 1] = failed(&[(Heartbeat, 5, b""), (Error, 0, OWN_FAULT)]);
    const IN_ERROR: [Script; 1] = failed(&[(Error, 5, TOO_LARGE)]);
    const WORKERS: [Script; 1] = failed(&[(Heartbeat, 5, b""), (Error, 5, WORKER_ERROR)]);
    for (scripts, is_kept) in
        [(&AT_ONCE, false), (&IN_HEARTBEAT, true), (&IN_ERROR, true), (&WORKERS, false)]
    {
        let rig = Rig::new().await;
        let rates = rig.dispatcher.rates.clone();
        rig.open(scripts).await.await.unwrap_err();
        assert_eq!(rig.settled().await, (0, 0), "{scripts:?}");
        let gone = if is_kept { fixture::TOKENS } else { 0 };
        assert_eq!(fixture::tokens_gone(&rates), gone, "{scripts:?}");
    }

    // What a sealed request is refused for was found by opening and reading it.
    const REFUSED_AT_ONCE: [Script; 1] = [RefuseSealed { status: 400, is_retryable: false }];
    const NOT_OPENED: [Script; 1] = [Refuse { status: 422, is_retryable: true, body: REFUSED }];
    for (scripts, is_kept) in [(&REFUSED_AT_ONCE, true), (&NOT_OPENED, false)] {
        let rig = Rig::new().await;
        let rates = rig.dispatcher.rates.clone();
        let agreement =
            fixture::agreement_with(1, true, |it| it.sealed = Some(fixture::sealed_call()));
        rig.open_of(agreement, scripts).await.await.unwrap_err();
        assert_eq!(rig.settled().await, (0, 0), "{scripts:?}");
        let gone = if is_kept { fixture::TOKENS } else { 0 };
        assert_eq!(fixture::tokens_gone(&rates), gone, "{scripts:?}");
    }
}

#[tokio::test]
async fn left_out_tools_are_told_within_reason() {
    let longest = "x".repeat(1024);
    for (tools, is_told) in [
        (longest.clone(), true),
        (longest + "x", false),
        ("web_search, ns:a-b.C_9".to_owned(), true),
        ("<script>".to_owned(), false),
        ("a;b".to_owned(), false),
        ("caf\u{e9}".to_owned(), false),
    ] {
        let (length, sent) = (tools.len(), tools.clone());
        let rig = Rig::new().await;
        let agreement = fixture::agreement(1, true);
        rig.ledger.reserve(&agreement).await;
        let (mut ticket, _endings) = fixture::ticket(&LiveRequests::default(), &agreement);
        let service = Worker::new(1).service(&agreement);
        rig.ledger.store.assign(agreement.request_id, service.worker, payee(), 0).await.unwrap();
        ticket.assign(Some(service));
        let send: Send = Box::new(move |_| {
            Box::pin(async move {
                let (body, _) = upstream(vec![encode_frame(Data, 1, b"x")], Tail::Hang);
                let tools = HeaderValue::from_bytes(sent.as_bytes()).unwrap();
                let response = Response::builder().header(headers::DROPPED_TOOLS, tools);
                Ok(response.body(body).unwrap())
            })
        });
        let begun = begin(&rig.dispatcher, send, &Bytes::from_static(b"{}"), &mut ticket).await;
        let Ok(Begun { dropped_tools, .. }) = begun else { panic!("it began") };
        assert_eq!(dropped_tools.map(|tools| tools.len()), is_told.then_some(length), "{tools}");
    }
}

#[test]
fn a_request_goes_to_the_path_that_its_client_used() {
    for endpoint in Endpoint::ALL {
        let agreement = fixture::agreement_with(1, true, |agreement| agreement.endpoint = endpoint);
        let service = Worker::new(1).service(&agreement);
        let request = request(&agreement, &service, &Bytes::from_static(b"{}"));
        assert_eq!(request.uri().path(), endpoint.path());
    }
}

#[test]
fn a_request_carries_what_the_worker_must_agree_to() {
    let agreement = fixture::agreement(1, true);
    let service = Worker::new(1).service(&agreement);
    let request = request(&agreement, &service, &Bytes::from_static(b"{}"));
    let text = |name| request.headers()[name].to_str().unwrap();
    assert_eq!(text(headers::REQUEST_ID), agreement.request_id.to_string());
    assert_eq!(text(headers::MAX_TOKENS), "10");
    let terms = URL_SAFE_NO_PAD.decode(text(headers::TERMS)).unwrap();
    assert_eq!(cocoon_attest::receipt::Terms::decode(&terms).unwrap(), service.terms);
}
