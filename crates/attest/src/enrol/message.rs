//! The evidence message: its parts as verbatim byte strings.

use crate::cbor::{CborError, Decoder, Encoder};
use crate::evidence::{
    ENDORSEMENTS_BYTES_MAX, EVENT_LOG_BYTES_MAX, Evidence, Kind, QUOTE_BYTES_MAX,
};

/// Bytes in the message at most.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
const BIND_BYTES_MAX: usize = 1024;
const KEYS_BYTES_MAX: usize = 4 * 1024;
const DEVICES_BYTES_MAX: usize = 768 * 1024;
const WORKLOAD_BYTES_MAX: usize = 64 * 1024;

/// Evidence and what it speaks for, unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnverifiedEvidence {
    pub(crate) challenge_id: [u8; 16],
    pub(crate) evidence: Evidence,
    pub(crate) bind: Vec<u8>,
    pub(crate) keys: Vec<u8>,
    pub(crate) dev: Vec<u8>,
    pub(crate) wl: Vec<u8>,
    /// By the receipt key over `bind`: see [`super::proof`].
    pub(crate) receipt_key_proof: [u8; 64],
}

impl UnverifiedEvidence {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.map(10);
        out.unsigned(1).bytes(&self.challenge_id);
        out.unsigned(2).text(self.evidence.kind.as_str());
        out.unsigned(3).bytes(&self.evidence.quote);
        out.unsigned(4).bytes(&self.bind);
        out.unsigned(5).bytes(&self.keys);
        out.unsigned(6).bytes(&self.dev);
        out.unsigned(7).bytes(&self.wl);
        out.unsigned(8).bytes(&self.receipt_key_proof);
        out.unsigned(9).bytes(&self.evidence.endorsements);
        out.unsigned(10).bytes(&self.evidence.event_log);
        out.into_bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(CborError::Range);
        }
        let mut reader = Decoder::new(bytes);
        reader.map(10)?;
        let challenge_id = reader.key(1)?.bytes_exact()?;
        let kind = Kind::parse(reader.key(2)?.text(16)?).ok_or(CborError::Text)?;
        let quote = reader.key(3)?.bytes(QUOTE_BYTES_MAX)?.to_vec();
        let bind = reader.key(4)?.bytes(BIND_BYTES_MAX)?.to_vec();
        let keys = reader.key(5)?.bytes(KEYS_BYTES_MAX)?.to_vec();
        let dev = reader.key(6)?.bytes(DEVICES_BYTES_MAX)?.to_vec();
        let wl = reader.key(7)?.bytes(WORKLOAD_BYTES_MAX)?.to_vec();
        let receipt_key_proof = reader.key(8)?.bytes_exact()?;
        let endorsements = reader.key(9)?.bytes(ENDORSEMENTS_BYTES_MAX)?.to_vec();
        let event_log = reader.key(10)?.bytes(EVENT_LOG_BYTES_MAX)?.to_vec();
        let evidence = Evidence { kind, quote, endorsements, event_log };
        let message = Self { challenge_id, evidence, bind, keys, dev, wl, receipt_key_proof };
        reader.finish()?;
        Ok(message)
    }
}
