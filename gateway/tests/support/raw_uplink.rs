//! A worker's end of the uplink without a worker: TLS, messages, the exporter. Tests that lie to
//! a gateway stand on it, those of the uplink alone and those of the whole composition.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cocoon_uplink_wire::enrol::{GatewayMessage, WorkerMessage};
use cocoon_uplink_wire::message::{encode, from_cbor};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type RawUplink = TlsStream<TcpStream>;

/// Takes any gateway: these tests are about the other direction.
#[derive(Debug)]
struct AnyGateway;

impl ServerCertVerifier for AnyGateway {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

pub(crate) fn client(identity: Option<&KeyPair>, alpn: &[u8]) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyGateway));
    let mut config = match identity {
        Some(key) => {
            let params = CertificateParams::new(vec!["worker".to_owned()]).expect("a name");
            let certificate = params.self_signed(key).expect("a certificate").der().clone();
            let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
            builder.with_client_auth_cert(vec![certificate], key).expect("a usable key")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

pub(crate) async fn connect(
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<RawUplink> {
    secure(TcpStream::connect(address).await.expect("the port is open"), config).await
}

/// TLS over a connection that is there.
pub(crate) async fn secure(stream: TcpStream, config: ClientConfig) -> std::io::Result<RawUplink> {
    let name = ServerName::try_from("gateway").expect("a plain word");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

pub(crate) async fn send(uplink: &mut RawUplink, message: &WorkerMessage) {
    uplink.write_all(&encode(message)).await.expect("the connection carries it");
    uplink.flush().await.expect("the connection carries it");
}

pub(crate) async fn receive(uplink: &mut RawUplink) -> GatewayMessage {
    let read = async {
        let length = uplink.read_u32().await.expect("a length");
        let mut body = vec![0; usize::try_from(length).expect("it fits")];
        uplink.read_exact(&mut body).await.expect("a body");
        from_cbor(&body).expect("a message")
    };
    timeout(PATIENCE, read).await.expect("in time")
}

/// RFC 9266.
pub(crate) fn exporter(uplink: &RawUplink) -> [u8; 32] {
    let (_, connection) = uplink.get_ref();
    let label = b"EXPORTER-Channel-Binding";
    connection.export_keying_material([0; 32], label, Some(&[])).expect("an exporter")
}
