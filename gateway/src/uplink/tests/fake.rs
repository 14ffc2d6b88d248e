//! Workers that lie, and what becomes of them: a typed refusal, or the end of their connection.

use std::convert::Infallible;

use cocoon_attest::enrol::Challenge;
use cocoon_attest::lease::Lease;
use cocoon_uplink_wire::enrol::{GatewayMessage, Hello, Refused, WorkerMessage};
use cocoon_uplink_wire::event::WorkerEvent;
use cocoon_uplink_wire::headers::{EVENTS_PATH, RENEW_PATH};
use cocoon_uplink_wire::message::encode;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{KeyPair, PublicKeyData as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::forge::Forge;
use super::*;

#[path = "../../../tests/support/raw_uplink.rs"]
mod raw_uplink;

use raw_uplink::{RawUplink, client, connect, secure};

/// Less than a gateway waits for a hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(4);

/// A connection past TLS, and the key that holds it.
pub(super) struct Dialled {
    pub(super) stream: RawUplink,
    key: KeyPair,
}

pub(super) async fn dial(gateway: &Gateway) -> Dialled {
    let key = KeyPair::generate().expect("a key");
    let config = client(Some(&key), cocoon_uplink_wire::ALPN);
    Dialled { stream: connect(gateway.address, config).await.expect("TLS"), key }
}

/// As [`dial`], from another address of this machine.
async fn dial_from(gateway: &Gateway, address: [u8; 4]) -> Dialled {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((address, 0))).expect("all of 127/8 is this machine");
    let stream = socket.connect(gateway.address).await.expect("the port is open");
    let key = KeyPair::generate().expect("a key");
    let config = client(Some(&key), cocoon_uplink_wire::ALPN);
    Dialled { stream: secure(stream, config).await.expect("TLS"), key }
}

impl Dialled {
    async fn send(&mut self, message: &WorkerMessage) {
        raw_uplink::send(&mut self.stream, message).await;
    }

    async fn receive(&mut self) -> GatewayMessage {
        raw_uplink::receive(&mut self.stream).await
    }

    async fn refusal(&mut self) -> Refused {
        match self.receive().await {
            GatewayMessage::Refused(refused) => refused,
            other => panic!("not refused but {other:?}"),
        }
    }

    pub(super) async fn challenge(&mut self) -> Challenge {
        Challenge::decode(&self.challenge_bytes().await).expect("a challenge")
    }

    pub(super) async fn challenge_bytes(&mut self) -> Vec<u8> {
        self.send(&WorkerMessage::Hello(Hello { v: 1 })).await;
        match self.receive().await {
            GatewayMessage::Challenge(bytes) => bytes,
            other => panic!("not a challenge but {other:?}"),
        }
    }

    /// Shows this evidence and returns the verdict.
    pub(super) async fn offered(&mut self, evidence: Vec<u8>) -> Result<Lease, Refused> {
        self.send(&WorkerMessage::Evidence(evidence)).await;
        match self.receive().await {
            GatewayMessage::Lease(lease) => Ok(Lease::decode(&lease).expect("a lease")),
            GatewayMessage::Refused(refused) => Err(refused),
            other => panic!("no verdict but {other:?}"),
        }
    }

    /// Shows this evidence, which is good.
    pub(super) async fn accepted(&mut self, evidence: Vec<u8>) -> Lease {
        self.offered(evidence).await.expect("a lease")
    }

    pub(super) fn exporter(&self) -> [u8; 32] {
        raw_uplink::exporter(&self.stream)
    }

    pub(super) fn spki(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    /// What an honest worker answers on the connection with this exporter.
    fn answer(&self, challenge: &Challenge, exporter: &[u8; 32]) -> Vec<u8> {
        honest().answer(challenge, exporter, &self.spki(), SystemClock.now())
    }

    /// Shows this evidence and returns the code of its refusal.
    pub(super) async fn refused(&mut self, evidence: Vec<u8>) -> String {
        self.send(&WorkerMessage::Evidence(evidence)).await;
        self.refusal().await.reason
    }

    pub(super) async fn enrol(mut self, forge: &Forge) -> RawUplink {
        let challenge = self.challenge().await;
        let evidence = forge.answer(&challenge, &self.exporter(), &self.spki(), SystemClock.now());
        self.accepted(evidence).await;
        self.stream
    }
}

pub(super) fn honest() -> Forge {
    Forge::new(SEED, model().as_str())
}

#[tokio::test]
async fn garbage_instead_of_a_hello_is_refused_and_others_still_enrol() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let mut liar = dial(&gateway).await;
    liar.stream.write_all(&[0, 0, 0, 3, 1, 2, 3]).await.expect("sent");
    assert_eq!(liar.refusal().await.reason, "bad_message");
    let mut long = dial(&gateway).await;
    long.stream.write_all(&[255; 16]).await.expect("sent");
    assert_eq!(long.refusal().await.reason, "bad_message");
    let mut old = dial(&gateway).await;
    old.send(&WorkerMessage::Hello(Hello { v: 2 })).await;
    assert_eq!(old.refusal().await.reason, "unsupported_version");
    let mut hasty = dial(&gateway).await;
    hasty.send(&WorkerMessage::Evidence(vec![1])).await;
    assert_eq!(hasty.refusal().await.reason, "out_of_order");
    let (worker, _life) = gateway.worker(&SEED, "").await;
    assert_eq!(gateway.pick().await.worker, worker.worker_id);
}

#[tokio::test]
async fn garbage_instead_of_tls_harms_nobody() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let mut liar = TcpStream::connect(gateway.address).await.expect("the port is open");
    liar.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    timeout(PATIENCE, liar.read_to_end(&mut answer)).await.expect("in time").ok();
    let (worker, _life) = gateway.worker(&SEED, "").await;
    assert_eq!(gateway.pick().await.worker, worker.worker_id);
}

/// They hold their own address's places alone, and those for seconds.
#[tokio::test]
async fn silent_connections_keep_nobody_else_out() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let mut silent = Vec::new();
    for _ in 0..70 {
        silent.push(TcpStream::connect(gateway.address).await.expect("the port is open"));
    }
    // Beyond its share an address is turned away at once.
    let mut last = silent.pop().expect("there are many");
    let told = timeout(HELLO_PATIENCE, last.read(&mut [0])).await.expect("it is closed at once");
    assert!(matches!(told, Ok(0) | Err(_)), "{told:?}");
    let honest = timeout(HELLO_PATIENCE, async {
        dial_from(&gateway, [127, 0, 0, 2]).await.enrol(&honest()).await
    });
    honest.await.expect("it does not wait for them");
    // Those that hold a place lose it, and the address may come again.
    let first = silent.first_mut().expect("there are many");
    timeout(PATIENCE, first.read(&mut [0])).await.expect("it is closed in seconds").ok();
    let again = timeout(PATIENCE, dial(&gateway)).await.expect("in time");
    again.enrol(&super::fake::honest()).await;
}

#[tokio::test]
async fn a_peer_without_a_key_or_with_another_protocol_gets_nothing() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let key = KeyPair::generate().expect("a key");
    for config in [client(None, cocoon_uplink_wire::ALPN), client(Some(&key), b"h2")] {
        let mut answer = Vec::new();
        // TLS 1.3 tells a client of a refused key only when it reads.
        if let Ok(mut stream) = connect(gateway.address, config).await {
            let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time");
            assert!(read.is_err(), "the gateway went on with a nameless peer");
        }
        assert!(answer.is_empty());
    }
}

#[tokio::test]
async fn evidence_of_another_connection_is_refused() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let (mut first, mut second) = (dial(&gateway).await, dial(&gateway).await);
    let challenge = first.challenge().await;
    let evidence = first.answer(&challenge, &second.exporter());
    assert_eq!(first.refused(evidence).await, "wrong_exporter");
    let other = second.challenge().await;
    let evidence = second.answer(&challenge, &second.exporter());
    assert_ne!(other, challenge);
    assert_eq!(second.refused(evidence).await, "unknown_challenge");
    assert!(lock(&gateway.fleet).is_empty());
}

/// What a lying worker answers on the two routes of the uplink itself.
#[derive(Clone, Copy)]
struct Lies {
    events: &'static [u8],
    renewal: &'static [u8],
}

async fn serve(gateway: &Gateway, lies: Lies) {
    let stream = dial(gateway).await.enrol(&honest()).await;
    let service = service_fn(move |request: Request<Incoming>| async move {
        let body: UnsyncBoxBody<Bytes, Infallible> = match request.uri().path() {
            EVENTS_PATH => {
                let load = WorkerEvent::Load { running: 0, waiting: 0, permits: 1, queue: 0 };
                let mut bytes = encode(&load).to_vec();
                bytes.extend_from_slice(lies.events);
                Forever(Some(bytes.into())).boxed_unsync()
            }
            RENEW_PATH => Full::new(Bytes::from_static(lies.renewal)).boxed_unsync(),
            path => panic!("nobody asks for {path}"),
        };
        Ok::<_, Infallible>(Response::new(body))
    });
    let server =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    let served = timeout(PATIENCE, server).await.expect("the gateway ends the connection");
    drop(served);
}

/// One chunk, then nothing, for as long as the other side listens.
pub(super) struct Forever(pub(super) Option<Bytes>);

impl http_body::Body for Forever {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(bytes) => std::task::Poll::Ready(Some(Ok(http_body::Frame::data(bytes)))),
            None => std::task::Poll::Pending,
        }
    }
}

#[tokio::test]
async fn garbage_among_the_events_ends_the_connection() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let lies = Lies { events: &[0, 0, 0, 2, 0xff, 0xff], renewal: b"" };
    serve(&gateway, lies).await;
    until(|| lock(&gateway.fleet).is_empty()).await;
}

#[tokio::test]
async fn a_receipt_that_is_none_ends_the_connection() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let event = encode(&WorkerEvent::Receipt(vec![1, 2, 3]));
    let lies = Lies { events: Box::leak(event.to_vec().into_boxed_slice()), renewal: b"" };
    serve(&gateway, lies).await;
    until(|| lock(&gateway.fleet).is_empty()).await;
}

#[tokio::test]
async fn a_renewal_that_does_not_verify_ends_the_lease() {
    let gateway = Gateway::start(&PolicyText { lease_seconds: 1, ..PolicyText::default() }).await;
    let lies = Lies { events: b"", renewal: b"no renewal" };
    let serving = serve(&gateway, lies);
    let picked = async { gateway.pick().await };
    let ((), pick) = tokio::join!(serving, picked);
    assert!(pick.link.is_closed());
    until(|| lock(&gateway.fleet).is_empty()).await;
}
