//! From the client's final bytes to payloads of data frames: as they are, or sealed.

use bytes::Bytes;
use cocoon_seal::{AnswerHead, AnswerSealer, FrameKind, SealError, SealedRefusal};
use cocoon_uplink_wire::frame::PAYLOAD_BYTES_MAX;
use serde_json::value::RawValue;

use crate::serve::refusal::Refusal;

/// Data of one sealed frame: with what is before it, one mebibyte of plaintext.
const FRAME_DATA_BYTES: usize = 1024 * 1024 - 5;

/// What a sealed answer is written with.
pub(in crate::serve) struct Envelope {
    sealer: AnswerSealer,
    /// Leaves before the first data, and with it: alone it would be an answer that has begun.
    head: Option<AnswerHead>,
}

impl Envelope {
    pub(super) const fn new(sealer: AnswerSealer) -> Self {
        Self { sealer, head: None }
    }

    pub(super) fn with_head(self, head: AnswerHead) -> Self {
        Self { head: Some(head), ..self }
    }

    /// The one payload of a refusal, or `None` where nothing can be sealed any more.
    pub(in crate::serve) fn refuse(mut self, status: u16, error: &[u8]) -> Option<Bytes> {
        let error = std::str::from_utf8(error).ok()?.to_owned();
        let body = RawValue::from_string(error).ok()?;
        let refusal = SealedRefusal { status, body }.to_json();
        self.sealer.frame(FrameKind::Error, &refusal, true).ok().map(Bytes::from)
    }

    fn seal(&mut self, bytes: &[u8], is_final: bool) -> Result<Vec<Bytes>, SealError> {
        let mut payloads = Vec::new();
        if let Some(head) = self.head.take() {
            payloads.push(self.sealer.frame(FrameKind::Head, &head.to_json(), false)?.into());
        }
        let mut left = bytes;
        loop {
            let (data, rest) = left.split_at(left.len().min(FRAME_DATA_BYTES));
            let is_last = is_final && rest.is_empty();
            payloads.push(self.sealer.frame(FrameKind::Data, data, is_last)?.into());
            if rest.is_empty() {
                return Ok(payloads);
            }
            left = rest;
        }
    }
}

/// How an answer's bytes are wrapped.
pub(in crate::serve) enum Wrapping {
    /// As they are.
    Clear,
    Sealed(Box<Envelope>),
}

impl Wrapping {
    pub(in crate::serve) const fn is_sealed(&self) -> bool {
        matches!(self, Self::Sealed(_))
    }

    /// The payloads of the next data frames, at least one. `is_final` says that none follows.
    pub(in crate::serve) fn payloads(
        &mut self,
        bytes: Vec<u8>,
        is_final: bool,
    ) -> Result<Vec<Bytes>, Refusal> {
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(Refusal::answer_too_large());
        }
        match self {
            Self::Clear => Ok(vec![bytes.into()]),
            Self::Sealed(envelope) => {
                let sealed = envelope.seal(&bytes, is_final);
                sealed.map_err(|_| Refusal::internal("the answer could not be sealed"))
            }
        }
    }
}
