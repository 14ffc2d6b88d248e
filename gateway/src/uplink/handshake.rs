//! From a TCP connection to a lease: TLS, hello, challenge, evidence, verdict.

use std::io;
use std::sync::Arc;

use cocoon_attest::enrol::{Attested, OpenChallenge, Presented, Refusal};
use cocoon_attest::policy::Policy;
use cocoon_primitives::{Clock, Digest, LeaseId};
use cocoon_uplink_wire::VERSION;
use cocoon_uplink_wire::enrol::{GatewayMessage, Hello, Refused, WorkerMessage};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::tls::spki;
use super::wire::{WireError, receive, send};

/// The exporter that names this connection, RFC 9266.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// What a handshake is judged with.
pub(super) struct Verifier {
    pub(super) tls: Arc<ServerConfig>,
    pub(super) spki_sha256: Digest,
    pub(super) policy: Policy,
    pub(super) clock: Arc<dyn Clock>,
}

/// A connection whose worker holds a lease.
pub(super) struct Enrolled {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) attested: Attested,
    pub(super) exporter: [u8; 32],
    pub(super) peer_spki: Vec<u8>,
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
}

impl HandshakeError {
    /// A stable code for the wire and for metrics.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Tls(_) => "tls",
            Self::Channel => "channel",
            Self::Wire(WireError::Io(_)) => "connection",
            Self::Wire(WireError::Message(_)) => "bad_message",
            Self::Version(_) => "unsupported_version",
            Self::Order => "out_of_order",
            Self::Refused(refusal) => refusal.code(),
        }
    }
}

impl Verifier {
    /// Runs the whole handshake. The caller sets the deadline.
    pub(super) async fn enrol(&self, stream: TcpStream) -> Result<Enrolled, HandshakeError> {
        stream.set_nodelay(true).map_err(HandshakeError::Tls)?;
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
        let mut stream = acceptor.accept(stream).await.map_err(HandshakeError::Tls)?;
        let outcome = self.converse(&mut stream).await;
        match outcome {
            Ok((attested, exporter, peer_spki)) => {
                Ok(Enrolled { stream, attested, exporter, peer_spki })
            }
            Err(error) => {
                tell(&mut stream, &error).await;
                Err(error)
            }
        }
    }

    async fn converse(
        &self,
        stream: &mut TlsStream<TcpStream>,
    ) -> Result<(Attested, [u8; 32], Vec<u8>), HandshakeError> {
        let (exporter, peer_spki) = channel(stream)?;
        match receive(stream).await? {
            WorkerMessage::Hello(Hello { v: VERSION }) => {}
            WorkerMessage::Hello(Hello { v }) => return Err(HandshakeError::Version(v)),
            WorkerMessage::Evidence(_) => return Err(HandshakeError::Order),
        }
        let open = self.challenge();
        send(stream, &GatewayMessage::Challenge(open.message())).await?;
        let WorkerMessage::Evidence(evidence) = receive(stream).await? else {
            return Err(HandshakeError::Order);
        };
        let attested =
            self.judge(open, &evidence, &exporter, &peer_spki).map_err(HandshakeError::Refused)?;
        send(stream, &GatewayMessage::Lease(attested.lease().encode())).await?;
        Ok((attested, exporter, peer_spki))
    }

    pub(super) fn challenge(&self) -> OpenChallenge {
        OpenChallenge::issue(&random(), self.spki_sha256, &self.policy, self.clock.now())
    }

    pub(super) fn judge(
        &self,
        open: OpenChallenge,
        evidence: &[u8],
        exporter: &[u8; 32],
        peer_spki: &[u8],
    ) -> Result<Attested, Refusal> {
        let lease_id = LeaseId::from_bytes(random());
        let presented = Presented { evidence, exporter, peer_spki, lease_id };
        open.verify(&presented, &self.policy, self.clock.now())
    }
}

/// The exporter of this connection and the peer's key.
fn channel(stream: &TlsStream<TcpStream>) -> Result<([u8; 32], Vec<u8>), HandshakeError> {
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let peer_spki = certificate.and_then(|certificate| spki(certificate).ok());
    let exporter = connection.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).ok();
    exporter.zip(peer_spki).ok_or(HandshakeError::Channel)
}

/// Tells the worker why, as far as the connection still carries it.
async fn tell(stream: &mut TlsStream<TcpStream>, error: &HandshakeError) {
    let message = match error {
        HandshakeError::Refused(refusal) => refusal.to_string(),
        other => other.to_string(),
    };
    let refused = Refused { reason: error.code().to_owned(), message };
    if send(stream, &GatewayMessage::Refused(refused)).await.is_ok()
        && let Err(error) = stream.shutdown().await
    {
        tracing::debug!(%error, "a refused worker left before the connection was closed");
    }
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
