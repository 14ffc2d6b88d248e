//! From a TCP connection to a lease: TLS, hello, challenge, evidence, verdict.

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
use super::tls::spki;
use super::verifier::{Channel, Verifier};
use super::wire::{WireError, receive, send};

/// The exporter that names this connection, RFC 9266.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// What every handshake goes by.
pub(super) struct Handshakes {
    pub(super) tls: Arc<ServerConfig>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) fleet: SharedFleet,
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
    #[error("the worker may not come back")]
    NotAdmitted(#[source] NotAdmitted),
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
            Self::NotRecorded(_) => "not_recorded",
        }
    }
}

impl Handshakes {
    /// Runs the whole handshake. The caller sets the deadline.
    pub(super) async fn enrol(&self, stream: TcpStream) -> Result<Enrolled, HandshakeError> {
        stream.set_nodelay(true).map_err(HandshakeError::Tls)?;
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
        let mut stream = acceptor.accept(stream).await.map_err(HandshakeError::Tls)?;
        match self.converse(&mut stream).await {
            Ok((attested, channel)) => Ok(Enrolled { stream, attested, channel }),
            Err(error) => {
                tell(&mut stream, &error).await;
                Err(error)
            }
        }
    }

    async fn converse(
        &self,
        stream: &mut TlsStream<TcpStream>,
    ) -> Result<(Attested, Channel), HandshakeError> {
        let channel = channel(stream)?;
        match receive(stream).await? {
            WorkerMessage::Hello(Hello { v: VERSION }) => {}
            WorkerMessage::Hello(Hello { v }) => return Err(HandshakeError::Version(v)),
            WorkerMessage::Evidence(_) => return Err(HandshakeError::Order),
        }
        let open = self.verifier.challenge();
        send(stream, &GatewayMessage::Challenge(open.message())).await?;
        let WorkerMessage::Evidence(evidence) = receive(stream).await? else {
            return Err(HandshakeError::Order);
        };
        let judged = self.verifier.judge(open, evidence, &channel).await;
        let (attested, evidence) = judged.map_err(HandshakeError::Refused)?;
        let wanted = lock(&self.fleet).check(&attested, self.verifier.clock.now());
        wanted.map_err(HandshakeError::NotAdmitted)?;
        let recorded = self.verifier.transparency.record(&attested, &evidence).await;
        recorded.map_err(HandshakeError::NotRecorded)?;
        send(stream, &GatewayMessage::Lease(attested.lease().encode())).await?;
        Ok((attested, channel))
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
        other => other.to_string(),
    };
    let refused = Refused { reason: error.code().to_owned(), message };
    if send(stream, &GatewayMessage::Refused(refused)).await.is_ok()
        && let Err(error) = stream.shutdown().await
    {
        tracing::debug!(%error, "a refused worker left before the connection was closed");
    }
}
