//! Reads an answer, however it was chunked.

use std::fmt;
use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};
use cocoon_primitives::WorkerId;

use super::{
    FINAL, FRAME_HEADER_BYTES, FRAME_TEXT_BYTES_MAX, FRAME_TEXT_HEADER_BYTES, FrameKind,
    KEEP_ALIVE, Keyed, PREAMBLE_BYTES, Schedule, VERSION,
};
use crate::error::OpenError;
use crate::padding::STEP_BYTES;
use crate::suite::TAG_BYTES;

/// One frame of an answer, opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: FrameKind,
    pub data: Bytes,
    pub is_final: bool,
    /// The bytes as the worker sent them, which the receipt's commitment is over.
    pub payload: Bytes,
}

impl fmt::Debug for Frame {
    /// What was sealed is not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("kind", &self.kind)
            .field("data_bytes", &self.data.len())
            .field("is_final", &self.is_final)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// Opens the frames of one answer, in order.
pub struct AnswerOpener {
    keys: Vec<Keyed>,
    buffer: BytesMut,
    state: State,
    /// Of one frame's plaintext.
    text_bytes_max: usize,
}

enum State {
    /// Nothing but keep-alives has come.
    Before,
    Open(Box<Answer>),
    /// The last frame has come.
    Ended(Box<Answer>),
    Failed(OpenError),
}

struct Answer {
    schedule: Schedule,
    worker_id: WorkerId,
    params_salt: [u8; 32],
    seq: u64,
}

impl AnswerOpener {
    pub(super) fn new(keys: Vec<Keyed>) -> Self {
        let text_bytes_max = FRAME_TEXT_BYTES_MAX;
        Self { keys, buffer: BytesMut::new(), state: State::Before, text_bytes_max }
    }

    /// Takes no frame of more than `bytes`, header and tag included: a longer one is malformed, and
    /// is refused before it is buffered. What the format allows stays the most.
    #[must_use]
    pub fn with_frame_max(self, bytes: usize) -> Self {
        let text = bytes.saturating_sub(FRAME_HEADER_BYTES + TAG_BYTES);
        Self { text_bytes_max: text.min(FRAME_TEXT_BYTES_MAX), ..self }
    }

    /// Adds what arrived. Call [`Self::next_frame`] until it has none before pushing more: the
    /// buffer then holds less than one frame and one chunk.
    pub fn push(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Failed(_)) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next frame, `None` when more bytes are needed. After an error every call repeats it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, OpenError> {
        let next = self.read();
        if let Err(error) = next {
            self.buffer.clear();
            self.state = State::Failed(error);
        }
        next
    }

    /// Whether the answer is whole. Anything else was cut off.
    pub fn finish(&self) -> Result<(), OpenError> {
        match &self.state {
            State::Ended(_) if self.buffer.is_empty() => Ok(()),
            State::Ended(_) => Err(OpenError::Trailing),
            State::Failed(error) => Err(*error),
            State::Before | State::Open(_) => Err(OpenError::Truncated),
        }
    }

    /// Who answers, once the first frame has opened.
    pub fn worker_id(&self) -> Option<WorkerId> {
        self.answer().map(|answer| answer.worker_id)
    }

    /// Salt of the commitment to the parameters in the receipt, once the first frame has opened.
    pub fn params_salt(&self) -> Option<[u8; 32]> {
        self.answer().map(|answer| answer.params_salt)
    }

    fn answer(&self) -> Option<&Answer> {
        match &self.state {
            State::Open(answer) | State::Ended(answer) if answer.seq > 0 => Some(answer),
            _ => None,
        }
    }

    fn read(&mut self) -> Result<Option<Frame>, OpenError> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        loop {
            let Some(header) = self.buffer.first_chunk::<FRAME_HEADER_BYTES>() else {
                return Ok(None);
            };
            if *header != KEEP_ALIVE {
                break;
            }
            self.buffer.advance(FRAME_HEADER_BYTES);
        }
        if matches!(self.state, State::Before) {
            let Some(answer) = self.preamble()? else { return Ok(None) };
            self.state = State::Open(Box::new(answer));
        }
        let State::Open(answer) = &mut self.state else { return Err(OpenError::Trailing) };
        let before = if answer.seq == 0 { PREAMBLE_BYTES } else { 0 };
        let payload = cut(&mut self.buffer, before, answer.seq, self.text_bytes_max)?;
        let Some(payload) = payload else { return Ok(None) };
        let frame = answer.open(payload, before)?;
        if frame.is_final {
            self.state = match std::mem::replace(&mut self.state, State::Before) {
                State::Open(answer) => State::Ended(answer),
                state => state,
            };
        }
        Ok(Some(frame))
    }

    /// Reads the preamble and leaves it: it belongs to the first payload.
    fn preamble(&self) -> Result<Option<Answer>, OpenError> {
        if self.buffer.first() != Some(&VERSION) {
            return Err(OpenError::Preamble);
        }
        let Some([_, place, nonce @ ..]) = self.buffer.first_chunk::<PREAMBLE_BYTES>() else {
            return Ok(None);
        };
        let keyed = self.keys.get(usize::from(*place)).ok_or(OpenError::Preamble)?;
        Ok(Some(Answer {
            schedule: Schedule::new(&keyed.exports.answer, &keyed.enc, nonce),
            worker_id: keyed.worker_id,
            params_salt: keyed.exports.params_salt,
            seq: 0,
        }))
    }
}

/// Takes the next payload off, once it is whole: `before` bytes and one frame.
fn cut(
    buffer: &mut BytesMut,
    before: usize,
    seq: u64,
    text_bytes_max: usize,
) -> Result<Option<Bytes>, OpenError> {
    let Some(header) = buffer.get(before..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
    let [l0, l1, l2, l3, flags] = *header;
    let malformed = OpenError::Malformed(seq);
    let sealed = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).map_err(|_| malformed)?;
    let text = sealed.checked_sub(TAG_BYTES).ok_or(malformed)?;
    let is_bounded = (STEP_BYTES..=text_bytes_max).contains(&text);
    if !is_bounded || !text.is_multiple_of(STEP_BYTES) || flags > FINAL {
        return Err(malformed);
    }
    let whole = before + FRAME_HEADER_BYTES + sealed;
    Ok((buffer.len() >= whole).then(|| buffer.split_to(whole).freeze()))
}

impl Answer {
    fn open(&mut self, payload: Bytes, before: usize) -> Result<Frame, OpenError> {
        let malformed = OpenError::Malformed(self.seq);
        let (header, sealed) = payload
            .get(before..)
            .and_then(<[u8]>::split_first_chunk::<FRAME_HEADER_BYTES>)
            .ok_or(malformed)?;
        let flags = header[FRAME_HEADER_BYTES - 1];
        let (nonce, aad) = (self.schedule.nonce(self.seq), Schedule::aad(self.seq, flags));
        let text = self.schedule.cipher.open(&nonce, &aad, sealed);
        let text = text.ok_or(OpenError::Frame(self.seq))?;
        let is_final = flags == FINAL;
        let (kind, data) = read_text(&text)
            .filter(|(kind, _)| kind.belongs(self.seq, is_final))
            .ok_or(malformed)?;
        self.seq += 1;
        let data = Bytes::from_owner(text).slice(data);
        Ok(Frame { kind, data, is_final, payload })
    }
}

/// The kind, and where the data is. `None` where the text is not as a sealer writes it.
fn read_text(text: &[u8]) -> Option<(FrameKind, Range<usize>)> {
    let [kind, l0, l1, l2, l3] = *text.first_chunk::<FRAME_TEXT_HEADER_BYTES>()?;
    let kind = FrameKind::from_byte(kind)?;
    let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).ok()?;
    let end = FRAME_TEXT_HEADER_BYTES.checked_add(length)?;
    let is_zero = text.get(end..)?.iter().all(|byte| *byte == 0);
    let is_narrow = end.next_multiple_of(STEP_BYTES) == text.len();
    (is_zero && is_narrow).then_some((kind, FRAME_TEXT_HEADER_BYTES..end))
}
