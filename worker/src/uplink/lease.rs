//! The lease under which a request is served.

use cocoon_attest::receipt::{LeaseFacts, ReceiptKey, ReceiptSigner};
use cocoon_primitives::{Assurance, Digest, LeaseId, WalletAddress, WorkerId};

/// What a request needs to know about the connection that it came over.
#[derive(Debug, Clone)]
pub struct LeaseContext {
    pub signer: ReceiptSigner,
    /// Who earns this worker's share: terms that name another payee are refused.
    pub payee: WalletAddress,
}

impl LeaseContext {
    pub fn new(key: &ReceiptKey, lease: LeaseFacts, payee: WalletAddress) -> Self {
        Self { signer: key.signer(lease), payee }
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
