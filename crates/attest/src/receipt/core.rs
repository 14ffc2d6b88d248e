//! The part of a receipt that is signed.

use cocoon_primitives::{Assurance, Digest, LeaseId, ModelName, RequestId, WorkerId};

use super::ReceiptError;
use super::terms::{TERMS_BYTES_MAX, Terms};
use crate::cbor::{CborError, Decoder, Encoder};

const VERSION: u64 = 1;
const DOMAIN: &str = "cocoon/receipt/v1";
const CHAT_ID_BYTES_MAX: usize = 128;

/// Tokens of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt: u64,
    /// Of the prompt, read from a cache.
    pub cached: u64,
    pub completion: u64,
    /// Of the completion, spent on reasoning.
    pub reasoning: u64,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    ClientAbort,
    Error,
}

impl Finish {
    const ALL: [Self; 6] = [
        Self::Stop,
        Self::Length,
        Self::ToolCalls,
        Self::ContentFilter,
        Self::ClientAbort,
        Self::Error,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::ClientAbort => "client_abort",
            Self::Error => "error",
        }
    }
}

/// What a worker states about one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptCore {
    pub request_id: RequestId,
    pub attempt: u32,
    /// The `id` of the completion object, at most 128 bytes.
    pub chat_id: String,
    pub worker_id: WorkerId,
    pub lease_id: LeaseId,
    pub evidence_digest: Digest,
    pub policy_digest: Digest,
    pub model_manifest_digest: Digest,
    pub model: ModelName,
    pub assurance: Assurance,
    /// Salted commitment to the body that the worker received.
    pub req_commit: [u8; 32],
    /// Salted commitment to the payloads of all data frames, in order.
    pub resp_commit: [u8; 32],
    /// Data frames under `resp_commit`.
    pub frames: u32,
    pub finish: Finish,
    pub usage: Usage,
    /// Salted commitment to the sampling parameters.
    pub params_digest: Digest,
    pub started_s: u64,
    pub ended_s: u64,
    /// Counts the receipts of this worker from 0.
    pub seq: u64,
    /// Hash of the worker's previous core, zero for its first: an omission shows.
    pub prev: [u8; 32],
    pub terms: Terms,
}

impl ReceiptCore {
    /// Bytes in an encoded core at most.
    pub const BYTES_MAX: usize = 4096;

    /// The core in its one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.map(23);
        out.unsigned(1).unsigned(VERSION);
        out.unsigned(2).text(DOMAIN);
        out.unsigned(3).bytes(self.request_id.as_bytes());
        out.unsigned(4).text(&self.chat_id);
        out.unsigned(5).bytes(self.worker_id.as_bytes());
        out.unsigned(6).bytes(self.lease_id.as_bytes());
        out.unsigned(7).bytes(self.evidence_digest.as_bytes());
        out.unsigned(8).bytes(self.policy_digest.as_bytes());
        out.unsigned(9).bytes(self.model_manifest_digest.as_bytes());
        out.unsigned(10).text(self.model.as_str());
        out.unsigned(11).unsigned(match self.assurance {
            Assurance::Hardware => 0,
            Assurance::Software => 1,
        });
        out.unsigned(12).bytes(&self.req_commit);
        out.unsigned(13).bytes(&self.resp_commit);
        out.unsigned(14).unsigned(u64::from(self.frames));
        out.unsigned(15).text(self.finish.as_str());
        out.unsigned(16).array(4);
        let Usage { prompt, cached, completion, reasoning } = self.usage;
        out.unsigned(prompt).unsigned(cached).unsigned(completion).unsigned(reasoning);
        out.unsigned(17).bytes(self.params_digest.as_bytes());
        out.unsigned(18).unsigned(self.started_s);
        out.unsigned(19).unsigned(self.ended_s);
        out.unsigned(20).unsigned(self.seq);
        out.unsigned(21).bytes(&self.prev);
        out.unsigned(22).unsigned(u64::from(self.attempt));
        out.unsigned(23).bytes(&self.terms.encode());
        out.into_bytes()
    }

    /// Reads a core; anything but its one encoding is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(CborError::Range.into());
        }
        let mut reader = Decoder::new(bytes);
        let core = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(core)
    }

    fn read(reader: &mut Decoder<'_>) -> Result<Self, CborError> {
        reader.map(23)?;
        if reader.key(1)?.unsigned()? != VERSION || reader.key(2)?.text(32)? != DOMAIN {
            return Err(CborError::Range);
        }
        let request_id = RequestId::from_bytes(reader.key(3)?.bytes_exact()?);
        let chat_id = reader.key(4)?.text(CHAT_ID_BYTES_MAX)?.to_owned();
        Ok(Self {
            request_id,
            chat_id,
            worker_id: WorkerId::from_bytes(reader.key(5)?.bytes_exact()?),
            lease_id: LeaseId::from_bytes(reader.key(6)?.bytes_exact()?),
            evidence_digest: Digest::from_bytes(reader.key(7)?.bytes_exact()?),
            policy_digest: Digest::from_bytes(reader.key(8)?.bytes_exact()?),
            model_manifest_digest: Digest::from_bytes(reader.key(9)?.bytes_exact()?),
            model: read_model(reader.key(10)?)?,
            assurance: match reader.key(11)?.unsigned()? {
                0 => Assurance::Hardware,
                1 => Assurance::Software,
                _ => return Err(CborError::Range),
            },
            req_commit: reader.key(12)?.bytes_exact()?,
            resp_commit: reader.key(13)?.bytes_exact()?,
            frames: reader.key(14)?.unsigned_32()?,
            finish: read_finish(reader.key(15)?)?,
            usage: read_usage(reader.key(16)?)?,
            params_digest: Digest::from_bytes(reader.key(17)?.bytes_exact()?),
            started_s: reader.key(18)?.unsigned()?,
            ended_s: reader.key(19)?.unsigned()?,
            seq: reader.key(20)?.unsigned()?,
            prev: reader.key(21)?.bytes_exact()?,
            attempt: reader.key(22)?.unsigned_32()?,
            terms: Terms::decode(reader.key(23)?.bytes(TERMS_BYTES_MAX)?)?,
        })
    }
}

pub(crate) fn read_model(reader: &mut Decoder<'_>) -> Result<ModelName, CborError> {
    reader.text(ModelName::BYTES_MAX)?.parse().map_err(|_| CborError::Text)
}

fn read_finish(reader: &mut Decoder<'_>) -> Result<Finish, CborError> {
    let text = reader.text(16)?;
    Finish::ALL.into_iter().find(|finish| finish.as_str() == text).ok_or(CborError::Text)
}

fn read_usage(reader: &mut Decoder<'_>) -> Result<Usage, CborError> {
    if reader.array(4)? != 4 {
        return Err(CborError::Range);
    }
    Ok(Usage {
        prompt: reader.unsigned()?,
        cached: reader.unsigned()?,
        completion: reader.unsigned()?,
        reasoning: reader.unsigned()?,
    })
}
