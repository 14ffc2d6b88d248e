//! A core with its signature, as it travels from worker to gateway.

use cocoon_primitives::WorkerId;
use ed25519_dalek::{Signature, VerifyingKey};

use super::{RECEIPT_DOMAIN, ReceiptCore, ReceiptError};
use crate::cbor::{Decoder, Encoder};
use crate::sha256;

/// A worker's receipt. Nothing in it is verified yet: see [`super::verify_worker`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedReceipt {
    /// The core as signed, never re-encoded.
    pub core: Vec<u8>,
    pub signature: [u8; 64],
    /// Opens the commitments of request and response; goes to the client only.
    pub salt: [u8; 32],
    /// The Ed25519 key whose hash is the worker's id.
    pub worker_key: [u8; 32],
}

impl SignedReceipt {
    /// Bytes in an encoded receipt at most.
    pub const BYTES_MAX: usize = ReceiptCore::BYTES_MAX + 256;

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.map(4);
        out.unsigned(1).bytes(&self.core);
        out.unsigned(2).bytes(&self.signature);
        out.unsigned(3).bytes(&self.salt);
        out.unsigned(4).bytes(&self.worker_key);
        out.into_bytes()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let mut reader = Decoder::new(bytes);
        reader.map(4)?;
        let receipt = Self {
            core: reader.key(1)?.bytes(ReceiptCore::BYTES_MAX)?.to_vec(),
            signature: reader.key(2)?.bytes_exact()?,
            salt: reader.key(3)?.bytes_exact()?,
            worker_key: reader.key(4)?.bytes_exact()?,
        };
        reader.finish()?;
        Ok(receipt)
    }

    /// The core after the signature was checked and the worker's id matched its key.
    pub fn verify(&self) -> Result<ReceiptCore, ReceiptError> {
        let key =
            VerifyingKey::from_bytes(&self.worker_key).map_err(|_| ReceiptError::Signature)?;
        key.verify_strict(&signed_hash(&self.core), &Signature::from_bytes(&self.signature))
            .map_err(|_| ReceiptError::Signature)?;
        let core = ReceiptCore::decode(&self.core)?;
        if core.worker_id == worker_id(&self.worker_key) {
            Ok(core)
        } else {
            Err(ReceiptError::Worker)
        }
    }
}

/// What a worker signs: a hash, so that a contract can check it too.
pub(super) fn signed_hash(core: &[u8]) -> [u8; 32] {
    sha256(&[RECEIPT_DOMAIN, core])
}

/// A worker's id from its receipt key.
pub fn worker_id(receipt_key: &[u8; 32]) -> WorkerId {
    WorkerId::from_bytes(sha256(&[b"cocoon/worker/v1", receipt_key]))
}
