//! Writes an answer, one payload for each frame.

use super::{
    FINAL, FRAME_DATA_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_TEXT_HEADER_BYTES, FrameKind,
    PREAMBLE_BYTES, Schedule, VERSION,
};
use crate::error::SealError;
use crate::padding::STEP_BYTES;
use crate::suite::TAG_BYTES;

/// Seals the frames of one answer, in order.
pub struct AnswerSealer {
    schedule: Schedule,
    place: u8,
    response_nonce: [u8; 32],
    seq: u64,
    is_over: bool,
}

impl AnswerSealer {
    pub(super) const fn new(schedule: Schedule, place: u8, response_nonce: [u8; 32]) -> Self {
        Self { schedule, place, response_nonce, seq: 0, is_over: false }
    }

    /// The next payload: one frame, and before the first one the preamble. The first frame is a
    /// head, or a refusal that is also the last; all others are data.
    pub fn frame(
        &mut self,
        kind: FrameKind,
        data: &[u8],
        is_final: bool,
    ) -> Result<Vec<u8>, SealError> {
        if self.is_over {
            return Err(SealError::Ended);
        }
        if !kind.belongs(self.seq, is_final) {
            return Err(SealError::Kind);
        }
        if data.len() > FRAME_DATA_BYTES_MAX {
            return Err(SealError::TooLong);
        }
        let data_bytes = u32::try_from(data.len()).map_err(|_| SealError::TooLong)?;
        let text = (FRAME_TEXT_HEADER_BYTES + data.len()).next_multiple_of(STEP_BYTES);
        let sealed = u32::try_from(text + TAG_BYTES).map_err(|_| SealError::TooLong)?;
        let flags = if is_final { FINAL } else { 0 };
        // Room for the tag too: moving would leave a copy of the text behind.
        let mut out = Vec::with_capacity(PREAMBLE_BYTES + FRAME_HEADER_BYTES + text + TAG_BYTES);
        if self.seq == 0 {
            out.extend_from_slice(&[VERSION, self.place]);
            out.extend_from_slice(&self.response_nonce);
        }
        out.extend_from_slice(&sealed.to_be_bytes());
        out.push(flags);
        let from = out.len();
        out.push(kind.to_byte());
        out.extend_from_slice(&data_bytes.to_be_bytes());
        out.extend_from_slice(data);
        out.resize(from + text, 0);
        let (nonce, aad) = (self.schedule.nonce(self.seq), Schedule::aad(self.seq, flags));
        if !self.schedule.cipher.seal(&nonce, &aad, &mut out, from) {
            return Err(SealError::TooLong);
        }
        self.seq += 1;
        self.is_over = is_final;
        Ok(out)
    }
}
