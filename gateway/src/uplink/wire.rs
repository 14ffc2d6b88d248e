//! Enrolment messages over a stream, before HTTP/2 takes it over.

use std::io;

use cocoon_uplink_wire::enrol::{GatewayMessage, WORKER_MESSAGE_BYTES_MAX, WorkerMessage};
use cocoon_uplink_wire::message::{MessageError, body_length, encode, from_cbor};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Why no message came.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the connection failed")]
    Io(#[source] io::Error),
    #[error("the message is not valid")]
    Message(#[source] MessageError),
}

/// Reads one message and not one byte more.
pub(super) async fn receive<S>(stream: &mut S) -> Result<WorkerMessage, WireError>
where
    S: AsyncRead + Unpin,
{
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await.map_err(WireError::Io)?;
    let length = body_length(prefix, WORKER_MESSAGE_BYTES_MAX).map_err(WireError::Message)?;
    let limit = u64::try_from(length).expect("the bound fits in 64 bits");
    // Grows with what arrives: a peer that only announces much costs nothing.
    let mut body = Vec::new();
    stream.take(limit).read_to_end(&mut body).await.map_err(WireError::Io)?;
    if body.len() < length {
        return Err(WireError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    from_cbor(&body).map_err(WireError::Message)
}

pub(super) async fn send<S>(stream: &mut S, message: &GatewayMessage) -> Result<(), WireError>
where
    S: AsyncWrite + Unpin,
{
    stream.write_all(&encode(message)).await.map_err(WireError::Io)?;
    stream.flush().await.map_err(WireError::Io)
}
