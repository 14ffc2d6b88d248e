//! The lease under which a request is served.

use std::sync::Arc;

use cocoon_attest::receipt::{LeaseFacts, ReceiptKey, ReceiptSigner};
use cocoon_primitives::{Assurance, Digest, LeaseId, WalletAddress, WorkerId};
use cocoon_seal::KeyPair;

/// What a request needs to know about the connection that it came over.
#[derive(Debug, Clone)]
pub struct LeaseContext {
    pub signer: ReceiptSigner,
    /// Who earns this worker's share: terms that name another payee are refused.
    pub payee: WalletAddress,
    /// Opens requests that are sealed to this worker.
    pub seal_key: Arc<KeyPair>,
}

impl LeaseContext {
    pub fn new(
        key: &ReceiptKey,
        lease: LeaseFacts,
        payee: WalletAddress,
        seal_key: Arc<KeyPair>,
    ) -> Self {
        Self { signer: key.signer(lease), payee, seal_key }
    }

    pub fn worker_id(&self) -> WorkerId {
        self.signer.worker_id()
    }

    pub fn lease_id(&self) -> LeaseId {
        self.signer.lease().lease_id
    }

    pub fn evidence_digest(&self) -> Digest {
        self.signer.lease().evidence_digest
    }

    pub fn policy_digest(&self) -> Digest {
        self.signer.lease().policy_digest
    }

    pub fn assurance(&self) -> Assurance {
        self.signer.lease().assurance
    }
}
