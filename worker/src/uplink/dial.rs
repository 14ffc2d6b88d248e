//! From an address to a lease.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cocoon_attest::cbor::CborError;
use cocoon_attest::enrol::{Challenge, Claim, evidence_digest};
use cocoon_attest::lease::Lease;
use cocoon_uplink_wire::VERSION;
use cocoon_uplink_wire::enrol::{
    GATEWAY_MESSAGE_BYTES_MAX, GatewayMessage, Hello, Refused, WorkerMessage,
};
use cocoon_uplink_wire::message::{MessageError, body_length, encode, from_cbor};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{LeaseContext, Link, LinkParts};
use crate::evidence::EvidenceError;

/// For TCP, TLS and enrolment together. A quote takes up to a second, a GPU's report about as long.
const DEADLINE: Duration = Duration::from_secs(45);
/// The exporter that names this connection, RFC 9266.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("the gateway did not answer in time")]
    Deadline,
    #[error("the connection failed")]
    Io(#[source] io::Error),
    #[error("TLS failed: wrong gateway key, or no gateway")]
    Tls(#[source] io::Error),
    #[error("this worker's TLS setup is not usable")]
    Setup(#[source] rustls::Error),
    #[error("a message of the gateway is not valid")]
    Message(#[source] MessageError),
    #[error("the challenge or lease is malformed")]
    Malformed(#[source] CborError),
    #[error("the challenge names another gateway key than the pinned one")]
    GatewayKey,
    #[error("a message came out of order")]
    Order,
    #[error("the lease is not the one that was asked for")]
    Lease,
    #[error("there is no evidence of this machine")]
    Evidence(#[source] EvidenceError),
    #[error("the gateway refused: {} ({})", .0.message, .0.reason)]
    Refused(Refused),
}

impl DialError {
    /// A stable code for logs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Io(_) => "connection",
            Self::Tls(_) => "tls",
            Self::Setup(_) => "tls_setup",
            Self::Message(_) => "bad_message",
            Self::Malformed(_) => "malformed",
            Self::GatewayKey => "wrong_gateway_key",
            Self::Order => "out_of_order",
            Self::Lease => "wrong_lease",
            Self::Evidence(_) => "no_evidence",
            Self::Refused(_) => "refused",
        }
    }
}

/// An enrolled connection.
pub(super) struct Connection {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) exporter: [u8; 32],
    pub(super) lease: Arc<LeaseContext>,
}

impl Link {
    /// Dials and enrols, under a deadline.
    pub(super) async fn dial(self: &Arc<Self>) -> Result<Connection, DialError> {
        let enrolled = tokio::time::timeout(DEADLINE, self.enrol()).await;
        enrolled.map_err(|_| DialError::Deadline)?
    }

    async fn enrol(self: &Arc<Self>) -> Result<Connection, DialError> {
        let config = self.parts.tls.client_config(self.config.gateway_spki_sha256);
        let config = config.map_err(DialError::Setup)?;
        let stream = TcpStream::connect(&self.config.gateway).await.map_err(DialError::Io)?;
        stream.set_nodelay(true).map_err(DialError::Io)?;
        // The name is not sent and not checked: the key is.
        let name = ServerName::try_from("cocoon-gateway").expect("a plain word is a DNS name");
        let connecting = TlsConnector::from(config).connect(name, stream);
        let mut stream = connecting.await.map_err(DialError::Tls)?;
        let exporter =
            stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]));
        let exporter = exporter.map_err(DialError::Setup)?;
        send(&mut stream, &WorkerMessage::Hello(Hello { v: VERSION })).await?;
        let challenge = match receive(&mut stream).await? {
            GatewayMessage::Challenge(bytes) => bytes,
            GatewayMessage::Refused(refused) => return Err(DialError::Refused(refused)),
            GatewayMessage::Lease(_) => return Err(DialError::Order),
        };
        let challenge = Challenge::decode(&challenge).map_err(DialError::Malformed)?;
        let evidence = self.answer(challenge.clone(), exporter).await?;
        let digest = evidence_digest(&evidence);
        send(&mut stream, &WorkerMessage::Evidence(evidence)).await?;
        let lease = match receive(&mut stream).await? {
            GatewayMessage::Lease(bytes) => bytes,
            GatewayMessage::Refused(refused) => return Err(DialError::Refused(refused)),
            GatewayMessage::Challenge(_) => return Err(DialError::Order),
        };
        let lease = Lease::decode(&lease).map_err(DialError::Malformed)?;
        let is_ours = lease.receipt_key == self.parts.receipt_key.public()
            && lease.worker_id == self.parts.receipt_key.worker_id()
            && lease.hpke_key == self.parts.seal_key.public()
            && lease.payee == self.config.payee
            && lease.models == self.parts.workload.models
            && lease.evidence_digest == digest
            && lease.policy_digest == challenge.policy_digest();
        if !is_ours {
            return Err(DialError::Lease);
        }
        let seal_key = Arc::clone(&self.parts.seal_key);
        let lease =
            LeaseContext::new(&self.parts.receipt_key, lease.facts(), self.config.payee, seal_key);
        Ok(Connection { stream, exporter, lease: Arc::new(lease) })
    }

    /// The evidence message for a challenge on the connection that the exporter names. One at a time:
    /// the hardware is slow, and its answers are bound to one question.
    pub(super) async fn answer(
        self: &Arc<Self>,
        challenge: Challenge,
        exporter: [u8; 32],
    ) -> Result<Vec<u8>, DialError> {
        if challenge.gw_spki_sha256() != self.config.gateway_spki_sha256 {
            return Err(DialError::GatewayKey);
        }
        let _turn = self.collecting.lock().await;
        let link = Arc::clone(self);
        let collected = tokio::task::spawn_blocking(move || link.collect(&challenge, &exporter));
        collected.await.map_err(|_| DialError::Deadline)?.map_err(DialError::Evidence)
    }

    /// GPUs over a nonce that names our keys, then the guest over all of it.
    fn collect(
        &self,
        challenge: &Challenge,
        exporter: &[u8; 32],
    ) -> Result<Vec<u8>, EvidenceError> {
        let LinkParts { evidence, event_log, clock, .. } = &self.parts;
        let claim = Claim {
            exporter,
            tls_spki: self.parts.tls.spki(),
            receipt_key: &self.parts.receipt_key,
            hpke_key: self.parts.seal_key.public(),
            payee: self.config.payee,
            workload: &self.parts.workload,
        };
        let devices = evidence.devices(challenge.gpu_nonce(&claim), clock.now())?;
        let prepared = challenge.prepare(&claim, &devices);
        let guest = evidence.guest(prepared.report_data(), event_log, clock.now())?;
        Ok(prepared.finish(guest))
    }
}

async fn send(stream: &mut TlsStream<TcpStream>, message: &WorkerMessage) -> Result<(), DialError> {
    stream.write_all(&encode(message)).await.map_err(DialError::Io)?;
    stream.flush().await.map_err(DialError::Io)
}

/// Reads one message and not one byte more: what follows is HTTP/2.
async fn receive(stream: &mut TlsStream<TcpStream>) -> Result<GatewayMessage, DialError> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await.map_err(DialError::Io)?;
    let length = body_length(prefix, GATEWAY_MESSAGE_BYTES_MAX).map_err(DialError::Message)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(DialError::Io)?;
    from_cbor(&body).map_err(DialError::Message)
}
