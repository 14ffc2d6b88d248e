//! What one leaf says.

use cocoon_primitives::{Digest, Timestamp};

use super::hash::leaf_hash;
use crate::cbor::{CborError, Decoder, Encoder};

/// Bytes of a lease or policy at most.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an encoded entry at most.
pub const ENTRY_BYTES_MAX: usize = BODY_BYTES_MAX + 128;

const LEASE: &str = "lease";
const RENEWAL: &str = "renewal";
const POLICY: &str = "policy";

/// One leaf: what became true, and when the gateway says it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub at: Timestamp,
    pub record: Record,
}

/// What is logged. Leases and policies stand as their own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A worker was enrolled on this evidence.
    Lease { lease: Vec<u8>, evidence: Digest },
    /// A lease was prolonged on this new evidence.
    Renewal { lease: Vec<u8>, evidence: Digest },
    /// Workers are judged by this policy from here on.
    Policy { policy: Vec<u8> },
}

impl Record {
    /// The word in the encoding.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Lease { .. } => LEASE,
            Self::Renewal { .. } => RENEWAL,
            Self::Policy { .. } => POLICY,
        }
    }

    /// The evidence that a lease or renewal rests on.
    pub const fn evidence(&self) -> Option<Digest> {
        match self {
            Self::Lease { evidence, .. } | Self::Renewal { evidence, .. } => Some(*evidence),
            Self::Policy { .. } => None,
        }
    }

    fn body(&self) -> &[u8] {
        match self {
            Self::Lease { lease, .. } | Self::Renewal { lease, .. } => lease,
            Self::Policy { policy } => policy,
        }
    }
}

impl Entry {
    /// `{1: kind, 2: time in ms, 3: lease or policy, 4: evidence digest}`; a policy has no 4.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        let evidence = self.record.evidence();
        out.map(if evidence.is_some() { 4 } else { 3 });
        out.unsigned(1).text(self.record.kind());
        out.unsigned(2).unsigned(self.at.as_millis());
        out.unsigned(3).bytes(self.record.body());
        if let Some(evidence) = evidence {
            out.unsigned(4).bytes(evidence.as_bytes());
        }
        out.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(CborError::Range);
        }
        // A policy's map is the short one; its kind must say so too.
        Self::read(bytes, 4).or_else(|error| match error {
            CborError::Key => Self::read(bytes, 3),
            other => Err(other),
        })
    }

    fn read(bytes: &[u8], fields: u64) -> Result<Self, CborError> {
        let mut reader = Decoder::new(bytes);
        reader.map(fields)?;
        let kind = reader.key(1)?.text(16)?;
        let at = Timestamp::from_millis(reader.key(2)?.unsigned()?);
        let body = reader.key(3)?.bytes(BODY_BYTES_MAX)?.to_vec();
        let evidence = if fields == 4 {
            Some(Digest::from_bytes(reader.key(4)?.bytes_exact()?))
        } else {
            None
        };
        reader.finish()?;
        let record = match (kind, evidence) {
            (LEASE, Some(evidence)) => Record::Lease { lease: body, evidence },
            (RENEWAL, Some(evidence)) => Record::Renewal { lease: body, evidence },
            (POLICY, None) => Record::Policy { policy: body },
            _ => return Err(CborError::Text),
        };
        Ok(Self { at, record })
    }

    /// The leaf's hash.
    pub fn leaf_hash(&self) -> [u8; 32] {
        leaf_hash(&self.encode())
    }
}
