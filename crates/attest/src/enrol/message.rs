//! The evidence message: its parts as verbatim byte strings.

use crate::cbor::{CborError, Decoder, Encoder};
use crate::evidence::{Evidence, QUOTE_BYTES_MAX};

/// Bytes in the message at most.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
const BIND_BYTES_MAX: usize = 1024;
const KEYS_BYTES_MAX: usize = 4 * 1024;
const DEVICES_BYTES_MAX: usize = 512 * 1024;
const WORKLOAD_BYTES_MAX: usize = 64 * 1024;

/// Evidence and what it speaks for, unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnverifiedEvidence {
    pub(super) challenge_id: [u8; 16],
    pub(super) evidence: Evidence,
    pub(super) bind: Vec<u8>,
    pub(super) keys: Vec<u8>,
    pub(super) dev: Vec<u8>,
    pub(super) wl: Vec<u8>,
    /// By the receipt key over `bind`: see [`super::proof`].
    pub(super) receipt_key_proof: [u8; 64],
}

impl UnverifiedEvidence {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.map(8);
        out.unsigned(1).bytes(&self.challenge_id);
        out.unsigned(2).text(self.evidence.kind());
        out.unsigned(3).bytes(self.evidence.quote());
        out.unsigned(4).bytes(&self.bind);
        out.unsigned(5).bytes(&self.keys);
        out.unsigned(6).bytes(&self.dev);
        out.unsigned(7).bytes(&self.wl);
        out.unsigned(8).bytes(&self.receipt_key_proof);
        out.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(CborError::Range);
        }
        let mut reader = Decoder::new(bytes);
        reader.map(8)?;
        let challenge_id = reader.key(1)?.bytes_exact()?;
        let kind = reader.key(2)?.text(16)?;
        let quote = reader.key(3)?.bytes(QUOTE_BYTES_MAX)?;
        let message = Self {
            challenge_id,
            evidence: Evidence::new(kind, quote).ok_or(CborError::Text)?,
            bind: reader.key(4)?.bytes(BIND_BYTES_MAX)?.to_vec(),
            keys: reader.key(5)?.bytes(KEYS_BYTES_MAX)?.to_vec(),
            dev: reader.key(6)?.bytes(DEVICES_BYTES_MAX)?.to_vec(),
            wl: reader.key(7)?.bytes(WORKLOAD_BYTES_MAX)?.to_vec(),
            receipt_key_proof: reader.key(8)?.bytes_exact()?,
        };
        reader.finish()?;
        Ok(message)
    }
}

/// The empty list of devices.
pub(super) fn no_devices() -> Vec<u8> {
    let mut out = Encoder::new();
    out.array(0);
    out.into_bytes()
}
