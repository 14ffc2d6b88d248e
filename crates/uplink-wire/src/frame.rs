//! Frames of a response body: `u32be payload length · u8 kind · u32be cumulative completion
//! tokens · payload`.
//!
//! The payload of a data frame is final bytes for the client; a gateway forwards it unchanged
//! and meters by the cumulative count, so it never scans a stream.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes in a payload at most, whatever a decoder is configured to take.
pub const PAYLOAD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes before a payload.
pub const HEADER_BYTES: usize = 9;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Final bytes for the client.
    Data,
    /// A signed receipt.
    Receipt,
    /// A failure after the response head; nothing follows but possibly a receipt.
    Error,
    /// Nothing: the worker lives.
    Heartbeat,
}

impl FrameKind {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Receipt => 1,
            Self::Error => 2,
            Self::Heartbeat => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Data),
            1 => Some(Self::Receipt),
            2 => Some(Self::Error),
            3 => Some(Self::Heartbeat),
            _ => None,
        }
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: FrameKind,
    /// Completion tokens generated so far, this frame included.
    pub cumulative: u32,
    pub payload: Bytes,
}

/// Bytes that are no sequence of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {bytes} bytes is over the bound of {bytes_max}")]
    TooLong { bytes: u32, bytes_max: usize },
    #[error("frame kind {0} is unknown")]
    UnknownKind(u8),
}

/// One frame as bytes.
///
/// # Panics
/// If the payload is longer than [`PAYLOAD_BYTES_MAX`]: whoever renders answers bounds them.
pub fn encode_frame(kind: FrameKind, cumulative: u32, payload: &[u8]) -> Bytes {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a frame's payload is over its bound");
    let length = u32::try_from(payload.len()).expect("the bound fits in 32 bits");
    let mut out = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    out.put_u32(length);
    out.put_u8(kind.to_byte());
    out.put_u32(cumulative);
    out.put_slice(payload);
    out.freeze()
}

/// Cuts a byte stream into frames, however it was chunked.
#[derive(Debug)]
pub struct FrameDecoder {
    payload_bytes_max: usize,
    buffer: BytesMut,
}

impl FrameDecoder {
    /// A decoder that takes payloads of up to `payload_bytes_max`, never over [`PAYLOAD_BYTES_MAX`].
    pub fn new(payload_bytes_max: usize) -> Self {
        Self {
            payload_bytes_max: payload_bytes_max.min(PAYLOAD_BYTES_MAX),
            buffer: BytesMut::new(),
        }
    }

    /// Adds what arrived. Call [`Self::next_frame`] until it has none before pushing more: the
    /// buffer then holds less than one frame and one chunk.
    pub fn push(&mut self, chunk: Bytes) {
        if self.buffer.is_empty() {
            // A whole chunk that nobody else holds is taken over without a copy.
            self.buffer = BytesMut::from(chunk);
        } else {
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// The next whole frame, `None` when more bytes are needed. After an error the stream is lost.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, kind, c0, c1, c2, c3] = *header;
        let bytes = u32::from_be_bytes([l0, l1, l2, l3]);
        let too_long = FrameError::TooLong { bytes, bytes_max: self.payload_bytes_max };
        let length = usize::try_from(bytes).map_err(|_| too_long)?;
        if length > self.payload_bytes_max {
            return Err(too_long);
        }
        let kind = FrameKind::from_byte(kind).ok_or(FrameError::UnknownKind(kind))?;
        if self.buffer.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let payload = self.buffer.split_to(length).freeze();
        Ok(Some(Frame { kind, cumulative: u32::from_be_bytes([c0, c1, c2, c3]), payload }))
    }

    /// True when no part of a frame is left over: a body that ends otherwise was cut.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind() -> impl Strategy<Value = FrameKind> {
        prop_oneof![
            Just(FrameKind::Data),
            Just(FrameKind::Receipt),
            Just(FrameKind::Error),
            Just(FrameKind::Heartbeat)
        ]
    }

    proptest! {
        #[test]
        fn frames_survive_any_chunking(
            frames in prop::collection::vec((kind(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            chunk in 1_usize..17,
        ) {
            let mut wire = Vec::new();
            for (kind, cumulative, payload) in &frames {
                wire.extend_from_slice(&encode_frame(*kind, *cumulative, payload));
            }
            let mut decoder = FrameDecoder::new(64);
            let mut seen = Vec::new();
            for piece in wire.chunks(chunk) {
                decoder.push(Bytes::copy_from_slice(piece));
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push((frame.kind, frame.cumulative, frame.payload.to_vec()));
                }
            }
            prop_assert!(decoder.is_empty());
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = FrameDecoder::new(1000);
            decoder.push(Bytes::from(bytes));
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }

    #[test]
    fn a_long_frame_is_refused_from_its_header() {
        let mut decoder = FrameDecoder::new(8);
        decoder.push(Bytes::from_static(&[0, 0, 0, 9, 0, 0, 0, 0, 0]));
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLong { bytes: 9, bytes_max: 8 }));
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let mut decoder = FrameDecoder::new(8);
        decoder.push(Bytes::from_static(&[0, 0, 0, 1, 9, 0, 0, 0, 0, 0]));
        assert_eq!(decoder.next_frame(), Err(FrameError::UnknownKind(9)));
    }
}
