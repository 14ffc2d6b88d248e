//! Length-prefixed JSON, bounded.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The longest payload in either direction. A prompt that needs more exceeds every context.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

const PREFIX_BYTES: usize = 4;

/// Why a frame could not be made or read. After a read error the stream has no next frame.
#[derive(Debug, Error)]
pub enum WireError {
    #[error("a frame of {bytes} bytes exceeds the bound")]
    TooLong { bytes: usize },
    #[error("a frame is not a message of this protocol")]
    Json(#[from] serde_json::Error),
}

/// One message as the bytes of one frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![0; PREFIX_BYTES];
    serde_json::to_writer(&mut bytes, message)?;
    let payload = bytes.len() - PREFIX_BYTES;
    match u32::try_from(payload) {
        Ok(length) if payload <= FRAME_BYTES_MAX => {
            bytes[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
            Ok(bytes)
        }
        _ => Err(WireError::TooLong { bytes: payload }),
    }
}

/// Takes a byte stream apart. Holds at most one whole frame and what was pushed behind it.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    /// Bytes at the front that were already returned; removed when more arrive.
    consumed: usize,
}

impl FrameDecoder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes are pushed.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        let rest = &self.buffer[self.consumed..];
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let bytes = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if bytes > FRAME_BYTES_MAX {
            return Err(WireError::TooLong { bytes });
        }
        let Some(payload) = rest.get(..bytes) else { return Ok(None) };
        let message = serde_json::from_slice(payload)?;
        self.consumed += PREFIX_BYTES + bytes;
        Ok(Some(message))
    }

    /// Whether the stream stands between two frames.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == self.consumed
    }
}
