//! A worker that proves itself and serves: its streams say what a test tells them to say.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use cocoon_attest::enrol::Challenge;
use cocoon_attest::lease::Lease;
use cocoon_attest::renewal;
use cocoon_uplink_wire::event::WorkerEvent;
use cocoon_uplink_wire::headers::{EVENTS_PATH, RENEW_PATH};
use cocoon_uplink_wire::message::{encode, from_cbor, to_cbor};
use cocoon_uplink_wire::renew::{RenewalAnswer, RenewalRequest};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::fake::{Forever, dial};
use super::forge::Forge;
use super::*;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What one stream says: each message is a chunk, and the end of the channel is its end.
pub(super) type Script = mpsc::Sender<Bytes>;

/// A worker that serves until its connection ends.
pub(super) struct Honest {
    pub(super) lease: Lease,
    /// Full renewals that it was asked for.
    pub(super) asked: Arc<AtomicUsize>,
    /// Its streams, in the order of their requests.
    pub(super) scripts: mpsc::Receiver<Script>,
    /// Cancelled when its connection has ended.
    pub(super) gone: tokio_util::sync::CancellationToken,
}

/// What the service of one connection knows.
struct Served {
    forge: Forge,
    lease: Lease,
    exporter: [u8; 32],
    spki: Vec<u8>,
    asked: Arc<AtomicUsize>,
    scripts: mpsc::Sender<Script>,
}

impl Honest {
    /// `forge` is what it proves at first, and `later` what it answers full renewals with.
    pub(super) async fn start(gateway: &Gateway, forge: Forge, later: Forge) -> Self {
        Self::with_streams(gateway, forge, later, 100).await
    }

    /// One that takes so many streams at once, of which its events are one.
    pub(super) async fn with_streams(
        gateway: &Gateway,
        forge: Forge,
        later: Forge,
        streams: u32,
    ) -> Self {
        let mut dialled = dial(gateway).await;
        let (exporter, spki) = (dialled.exporter(), dialled.spki());
        let challenge = dialled.challenge().await;
        let evidence = forge.answer(&challenge, &exporter, &spki, SystemClock.now());
        let lease = dialled.accepted(evidence).await;
        let (asked, gone) =
            (Arc::new(AtomicUsize::new(0)), tokio_util::sync::CancellationToken::new());
        let (scripts, received) = mpsc::channel(4);
        let served = Arc::new(Served {
            forge: later,
            lease: lease.clone(),
            exporter,
            spki,
            asked: Arc::clone(&asked),
            scripts,
        });
        let ended = gone.clone().drop_guard();
        gateway.lifecycle.spawn("test.worker", async move {
            let _ended = ended;
            let service = service_fn(move |request| {
                let served = Arc::clone(&served);
                async move { Ok::<_, Infallible>(served.answer(request).await) }
            });
            let server = http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(streams)
                .serve_connection(TokioIo::new(dialled.stream), service);
            // However the gateway ends it.
            drop(server.await);
        });
        Self { lease, asked, scripts: received, gone }
    }

    /// Full renewals that it was asked for so far.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A request that streams, its first chunk already read.
    pub(super) async fn stream(&mut self, link: &WorkerLink) -> (Script, Response<Incoming>) {
        let request = Request::post(CHAT_PATH)
            .body(Full::new(Bytes::from_static(b"{}")))
            .expect("a constant path is a request");
        let sent = timeout(PATIENCE, link.send(request)).await.expect("in time");
        let mut response = sent.expect("an answer");
        let script = timeout(PATIENCE, self.scripts.recv()).await.expect("in time");
        let script = script.expect("the worker serves");
        script.send(Bytes::from_static(b"first")).await.expect("somebody reads");
        assert_eq!(chunk(&mut response).await.expect("a chunk"), "first");
        (script, response)
    }
}

/// The next chunk that has bytes; `None` is a clean end.
pub(super) async fn next_chunk(
    response: &mut Response<Incoming>,
) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        let frame = timeout(PATIENCE, response.body_mut().frame()).await.expect("in time")?;
        match frame.map(|frame| frame.into_data().unwrap_or_default()) {
            Ok(empty) if empty.is_empty() => {}
            other => return Some(other),
        }
    }
}

async fn chunk(response: &mut Response<Incoming>) -> Option<Bytes> {
    next_chunk(response).await.map(|chunk| chunk.expect("the stream goes on"))
}

impl Served {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match request.uri().path() {
            EVENTS_PATH => {
                let load = WorkerEvent::Load { running: 0, waiting: 0, permits: 8, queue: 0 };
                Response::new(Forever(Some(encode(&load))).boxed_unsync())
            }
            RENEW_PATH => {
                let body = request.into_body().collect().await.expect("the body comes").to_bytes();
                let answer = self.renew(&from_cbor(&body).expect("a renewal"));
                Response::new(Full::new(Bytes::from(to_cbor(&answer))).boxed_unsync())
            }
            _ => {
                // A request that was taken back has a head and no body; HTTP/2's reset for a
                // cancellation reads as its end.
                let body = request.into_body().collect().await;
                if !body.is_ok_and(|body| !body.to_bytes().is_empty()) {
                    return Response::new(Full::default().boxed_unsync());
                }
                let (script, chunks) = mpsc::channel::<Bytes>(4);
                self.scripts.send(script).await.expect("the test listens");
                let chunks = futures_util::stream::unfold(chunks, async |mut chunks| {
                    let chunk = chunks.recv().await?;
                    Some((Ok(http_body::Frame::data(chunk)), chunks))
                });
                Response::new(http_body_util::StreamBody::new(chunks).boxed_unsync())
            }
        }
    }

    fn renew(&self, asked: &RenewalRequest) -> RenewalAnswer {
        match asked {
            RenewalRequest::Light { nonce } => {
                let key = &self.forge.receipt_key;
                let signature = renewal::answer(key, nonce, &self.exporter, self.lease.lease_id);
                RenewalAnswer::Light { signature }
            }
            RenewalRequest::Full(challenge) => {
                self.asked.fetch_add(1, Ordering::SeqCst);
                let challenge = Challenge::decode(challenge).expect("a challenge");
                let now = SystemClock.now();
                RenewalAnswer::Full(self.forge.answer(&challenge, &self.exporter, &self.spki, now))
            }
        }
    }
}
