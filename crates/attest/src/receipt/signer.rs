//! The worker's side: one key per boot, one chain of receipts, one signer per lease.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cocoon_primitives::{Assurance, Digest, LeaseId, ModelName, RequestId, Timestamp, WorkerId};
use ed25519_dalek::{Signer as _, SigningKey};

use super::signed::{signed_hash, worker_id};
use super::{Finish, ReceiptCore, SignedReceipt, Terms, Usage};
use crate::sha256;

/// K_rcpt: signs receipts and light renewals. Made at boot, never exported.
///
/// Clones share the key and the chain, so that sequence numbers run on from lease to lease.
#[derive(Clone)]
pub struct ReceiptKey {
    inner: Arc<Inner>,
}

struct Inner {
    key: SigningKey,
    worker_id: WorkerId,
    chain: Mutex<Chain>,
}

struct Chain {
    seq: u64,
    prev: [u8; 32],
}

impl ReceiptKey {
    /// A key from 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let worker_id = worker_id(key.verifying_key().as_bytes());
        let chain = Mutex::new(Chain { seq: 0, prev: [0; 32] });
        Self { inner: Arc::new(Inner { key, worker_id, chain }) }
    }

    pub fn public(&self) -> [u8; 32] {
        self.inner.key.verifying_key().to_bytes()
    }

    pub fn worker_id(&self) -> WorkerId {
        self.inner.worker_id
    }

    /// A signer of receipts under one lease.
    pub fn signer(&self, lease: LeaseFacts) -> ReceiptSigner {
        ReceiptSigner { key: self.clone(), lease }
    }

    pub(crate) fn sign(&self, hash: &[u8; 32]) -> [u8; 64] {
        self.inner.key.sign(hash).to_bytes()
    }
}

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiptKey({})", self.inner.worker_id)
    }
}

/// What a receipt says about the lease that it was made under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseFacts {
    pub lease_id: LeaseId,
    pub evidence_digest: Digest,
    pub policy_digest: Digest,
    pub assurance: Assurance,
}

/// What a request adds.
#[derive(Debug, Clone)]
pub struct ReceiptDraft {
    pub request_id: RequestId,
    pub attempt: u32,
    /// At most 128 bytes.
    pub chat_id: String,
    pub model: ModelName,
    pub model_manifest_digest: Digest,
    pub req_commit: [u8; 32],
    pub resp_commit: [u8; 32],
    pub frames: u32,
    pub finish: Finish,
    pub usage: Usage,
    pub params_digest: Digest,
    pub started: Timestamp,
    pub ended: Timestamp,
    pub terms: Terms,
    /// The salt of the commitments, 32 random bytes of this request.
    pub salt: [u8; 32],
}

/// Signs receipts under one lease.
#[derive(Debug, Clone)]
pub struct ReceiptSigner {
    key: ReceiptKey,
    lease: LeaseFacts,
}

impl ReceiptSigner {
    pub fn worker_id(&self) -> WorkerId {
        self.key.worker_id()
    }

    pub fn lease(&self) -> &LeaseFacts {
        &self.lease
    }

    /// Signs the next receipt of the worker's chain. Synchronous, so that `Drop` can call it.
    pub fn sign(&self, draft: ReceiptDraft) -> SignedReceipt {
        let salt = draft.salt;
        let mut chain = self.key.inner.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let core = self.core(draft, &chain).encode();
        chain.seq += 1;
        chain.prev = sha256(&[&core]);
        drop(chain);
        let signature = self.key.sign(&signed_hash(&core));
        SignedReceipt { core, signature, salt, worker_key: self.key.public() }
    }

    fn core(&self, draft: ReceiptDraft, chain: &Chain) -> ReceiptCore {
        ReceiptCore {
            request_id: draft.request_id,
            attempt: draft.attempt,
            chat_id: draft.chat_id,
            worker_id: self.key.worker_id(),
            lease_id: self.lease.lease_id,
            evidence_digest: self.lease.evidence_digest,
            policy_digest: self.lease.policy_digest,
            model_manifest_digest: draft.model_manifest_digest,
            model: draft.model,
            assurance: self.lease.assurance,
            req_commit: draft.req_commit,
            resp_commit: draft.resp_commit,
            frames: draft.frames,
            finish: draft.finish,
            usage: draft.usage,
            params_digest: draft.params_digest,
            started_s: draft.started.as_seconds(),
            ended_s: draft.ended.as_seconds(),
            seq: chain.seq,
            prev: chain.prev,
            terms: draft.terms,
        }
    }
}
