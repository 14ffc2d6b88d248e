//! From a TCP connection to a lease: TLS and hello, then challenge, evidence, verdict.

use std::io;
use std::sync::Arc;

use cocoon_attest::enrol::{Attested, Refusal};
use cocoon_fleet::NotAdmitted;
use cocoon_store::StoreError;
use cocoon_uplink_wire::VERSION;
use cocoon_uplink_wire::enrol::{GatewayMessage, Hello, Refused, WorkerMessage};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::SharedFleet;
use super::lock;
use super::pace::{Machine, Pace, TooOften};
use super::tls::spki;
use super::verifier::{Channel, Judged, Verifier};
use super::wire::{WireError, receive, send};

/// The exporter that names this connection, RFC 9266.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// What every handshake goes by.
pub(super) struct Handshakes {
    pub(super) tls: Arc<ServerConfig>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) fleet: SharedFleet,
    pub(super) pace: Pace,
}

/// A connection that has said hello, over TLS.
pub(super) struct Greeted {
    stream: TlsStream<TcpStream>,
    channel: Channel,
}

/// A connection whose worker holds a lease.
pub(super) struct Enrolled {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) attested: Attested,
    pub(super) channel: Channel,
}

/// Why a connection did not become a worker.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("TLS failed")]
    Tls(#[source] io::Error),
    #[error("TLS gave no key of the peer or no exporter")]
    Channel,
    #[error("an enrolment message failed")]
    Wire(#[from] WireError),
    #[error("the worker speaks version {0}")]
    Version(u8),
    #[error("a message came out of order")]
    Order,
    #[error("the worker was refused")]
    Refused(#[source] Refusal),
    #[error("the worker is not admitted: {0}")]
    NotAdmitted(#[source] NotAdmitted),
    #[error("the worker has to wait")]
    TooOften(#[source] TooOften),
    #[error("the lease could not be recorded")]
    NotRecorded(#[source] StoreError),
}

impl HandshakeError {
    /// A stable code for the wire and for metrics.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Tls(_) => "tls",
            Self::Channel => "channel",
            Self::Wire(WireError::Io(_)) => "connection",
            Self::Wire(WireError::Message(_)) => "bad_message",
            Self::Version(_) => "unsupported_version",
            Self::Order => "out_of_order",
            Self::Refused(refusal) => refusal.code(),
            Self::NotAdmitted(reason) => reason.code(),
            Self::TooOften(_) => "enrolling_too_often",
            Self::NotRecorded(_) => "not_recorded",
        }
    }
}

impl Handshakes {
    /// TLS and the hello, which cost a peer nothing. The caller sets the deadline.
    pub(super) async fn greet(&self, stream: TcpStream) -> Result<Greeted, HandshakeError> {
        stream.set_nodelay(true).map_err(HandshakeError::Tls)?;
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
        let mut stream = acceptor.accept(stream).await.map_err(HandshakeError::Tls)?;
        match hello(&mut stream).await {
            Ok(channel) => Ok(Greeted { stream, channel }),
            Err(error) => {
                tell(&mut stream, &error).await;
                Err(error)
            }
        }
    }

    /// From the challenge to the lease. The caller sets the deadline.
    pub(super) async fn enrol(&self, greeted: Greeted) -> Result<Enrolled, HandshakeError> {
        let Greeted { mut stream, channel } = greeted;
        match self.converse(&mut stream, &channel).await {
            Ok(attested) => Ok(Enrolled { stream, attested, channel }),
            Err(error) => {
                tell(&mut stream, &error).await;
                Err(error)
            }
        }
    }

    async fn converse(
        &self,
        stream: &mut TlsStream<TcpStream>,
        channel: &Channel,
    ) -> Result<Attested, HandshakeError> {
        let open = self.verifier.challenge();
        send(stream, &GatewayMessage::Challenge(open.message())).await?;
        let WorkerMessage::Evidence(evidence) = receive(stream).await? else {
            return Err(HandshakeError::Order);
        };
        let judged = self.verifier.judge(open, evidence, channel).await;
        let Judged { attested, evidence, in_force } = judged.map_err(HandshakeError::Refused)?;
        let now = self.verifier.clock.now();
        let wanted = lock(&self.fleet).check(&attested, now);
        wanted.map_err(HandshakeError::NotAdmitted)?;
        // What is recorded stays for good: the last thing that may refuse comes before it.
        let paced = self.pace.enrol(Machine::of(attested.appraised()), now);
        paced.map_err(HandshakeError::TooOften)?;
        let recorded = self.verifier.transparency.record(&attested, &evidence, &in_force).await;
        recorded.map_err(HandshakeError::NotRecorded)?;
        send(stream, &GatewayMessage::Lease(attested.lease().encode())).await?;
        Ok(attested)
    }
}

async fn hello(stream: &mut TlsStream<TcpStream>) -> Result<Channel, HandshakeError> {
    let channel = channel(stream)?;
    match receive(stream).await? {
        WorkerMessage::Hello(Hello { v: VERSION }) => Ok(channel),
        WorkerMessage::Hello(Hello { v }) => Err(HandshakeError::Version(v)),
        WorkerMessage::Evidence(_) => Err(HandshakeError::Order),
    }
}

/// The exporter of this connection and the peer's key.
fn channel(stream: &TlsStream<TcpStream>) -> Result<Channel, HandshakeError> {
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let peer_spki = certificate.and_then(|certificate| spki(certificate).ok());
    let exporter = connection.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).ok();
    let (exporter, peer_spki) = exporter.zip(peer_spki).ok_or(HandshakeError::Channel)?;
    Ok(Channel { exporter, peer_spki: peer_spki.into() })
}

/// Tells the worker why, as far as the connection still carries it.
async fn tell(stream: &mut TlsStream<TcpStream>, error: &HandshakeError) {
    let message = match error {
        HandshakeError::Refused(refusal) => refusal.to_string(),
        HandshakeError::TooOften(too_often) => too_often.to_string(),
        other => other.to_string(),
    };
    let refused = Refused { reason: error.code().to_owned(), message };
    if send(stream, &GatewayMessage::Refused(refused)).await.is_ok()
        && let Err(error) = stream.shutdown().await
    {
        tracing::debug!(%error, "a refused worker left before the connection was closed");
    }
}
