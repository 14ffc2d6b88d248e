//! One short admission of one worker.

use cocoon_primitives::{
    Assurance, Digest, LeaseId, ModelName, Timestamp, WalletAddress, WorkerId,
};

use crate::cbor::{CborError, Decoder, Encoder};
use crate::enrol::{TEXT_BYTES_MAX, Workload, WorkloadModel};
use crate::receipt::LeaseFacts;

/// What a gateway granted, as it tells the worker too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub lease_id: LeaseId,
    pub worker_id: WorkerId,
    /// The Ed25519 key that signs receipts and renewals.
    pub receipt_key: [u8; 32],
    /// SHA-256 of the TLS key that holds the connection.
    pub tls_spki_sha256: Digest,
    /// Who earns the worker's share.
    pub payee: WalletAddress,
    pub models: Vec<WorkloadModel>,
    pub assurance: Assurance,
    pub evidence_digest: Digest,
    pub policy_digest: Digest,
    pub issued: Timestamp,
    pub expires: Timestamp,
    /// The X25519 key that requests to this worker are sealed to.
    pub hpke_key: [u8; 32],
    /// The policy's name for what was booted, at most 128 bytes.
    pub image: String,
}

impl Lease {
    /// What receipts under this lease state.
    pub fn facts(&self) -> LeaseFacts {
        LeaseFacts {
            lease_id: self.lease_id,
            evidence_digest: self.evidence_digest,
            policy_digest: self.policy_digest,
            assurance: self.assurance,
        }
    }

    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires
    }

    pub fn model(&self, name: &ModelName) -> Option<&WorkloadModel> {
        self.models.iter().find(|model| model.name == *name)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.map(13);
        out.unsigned(1).bytes(self.lease_id.as_bytes());
        out.unsigned(2).bytes(self.worker_id.as_bytes());
        out.unsigned(3).bytes(&self.receipt_key);
        out.unsigned(4).bytes(self.tls_spki_sha256.as_bytes());
        out.unsigned(5).bytes(&self.payee.to_bytes());
        out.unsigned(6);
        Workload::write_models(&self.models, &mut out);
        out.unsigned(7).unsigned(match self.assurance {
            Assurance::Hardware => 0,
            Assurance::Software => 1,
        });
        out.unsigned(8).bytes(self.evidence_digest.as_bytes());
        out.unsigned(9).bytes(self.policy_digest.as_bytes());
        out.unsigned(10).unsigned(self.issued.as_millis());
        out.unsigned(11).unsigned(self.expires.as_millis());
        out.unsigned(12).bytes(&self.hpke_key);
        out.unsigned(13).text(&self.image);
        out.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Decoder::new(bytes);
        reader.map(13)?;
        let lease = Self {
            lease_id: LeaseId::from_bytes(reader.key(1)?.bytes_exact()?),
            worker_id: WorkerId::from_bytes(reader.key(2)?.bytes_exact()?),
            receipt_key: reader.key(3)?.bytes_exact()?,
            tls_spki_sha256: Digest::from_bytes(reader.key(4)?.bytes_exact()?),
            payee: WalletAddress::from_bytes(&reader.key(5)?.bytes_exact()?),
            models: Workload::read_models(reader.key(6)?)?,
            assurance: match reader.key(7)?.unsigned()? {
                0 => Assurance::Hardware,
                1 => Assurance::Software,
                _ => return Err(CborError::Range),
            },
            evidence_digest: Digest::from_bytes(reader.key(8)?.bytes_exact()?),
            policy_digest: Digest::from_bytes(reader.key(9)?.bytes_exact()?),
            issued: Timestamp::from_millis(reader.key(10)?.unsigned()?),
            expires: Timestamp::from_millis(reader.key(11)?.unsigned()?),
            hpke_key: reader.key(12)?.bytes_exact()?,
            image: reader.key(13)?.text(TEXT_BYTES_MAX)?.to_owned(),
        };
        reader.finish()?;
        Ok(lease)
    }
}
