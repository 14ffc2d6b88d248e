//! Length-prefixed messages: `u32be length · CBOR`, and their strict reading.
//!
//! Messages are CBOR with definite lengths and shortest forms; a decoder refuses whatever its
//! own encoder would have written otherwise, so one value has one encoding.

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Nested values in a message at most; a deeper one is refused, not recursed into.
const DEPTH_MAX: usize = 16;

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("a message of {bytes} bytes is over the bound of {bytes_max}")]
    TooLong { bytes: usize, bytes_max: usize },
    #[error("the bytes are not the expected message")]
    Malformed,
    #[error("the message is not in its one encoding")]
    NotCanonical,
}

/// One value as CBOR, without its length.
pub fn to_cbor<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).expect("a message type always has a CBOR form");
    out
}

/// Reads one value, the whole of `bytes`.
pub fn from_cbor<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    let value: T = ciborium::de::from_reader_with_recursion_limit(bytes, DEPTH_MAX)
        .map_err(|_| MessageError::Malformed)?;
    // The reader stops after one value and takes long forms: comparing refuses both.
    if to_cbor(&value) == bytes { Ok(value) } else { Err(MessageError::NotCanonical) }
}

/// One value with its length before it.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    let body = to_cbor(value);
    let length = u32::try_from(body.len()).expect("messages are bounded far below 4 GiB");
    let mut out = Vec::with_capacity(4 + body.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&body);
    out.into()
}

/// Checks a length prefix against a bound before anything is allocated for it.
pub fn body_length(prefix: [u8; 4], bytes_max: usize) -> Result<usize, MessageError> {
    let bytes = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if bytes > bytes_max { Err(MessageError::TooLong { bytes, bytes_max }) } else { Ok(bytes) }
}

/// Cuts a byte stream into messages, however it was chunked.
#[derive(Debug)]
pub struct MessageDecoder {
    bytes_max: usize,
    buffer: BytesMut,
}

impl MessageDecoder {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, buffer: BytesMut::new() }
    }

    /// Adds what arrived.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole message, `None` when more bytes are needed. After an error the stream is lost.
    pub fn next_message<T: Serialize + DeserializeOwned>(
        &mut self,
    ) -> Result<Option<T>, MessageError> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = body_length(*prefix, self.bytes_max)?;
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        self.buffer.advance(4);
        from_cbor(&self.buffer.split_to(length)).map(Some)
    }
}

#[cfg(test)]
mod tests;
