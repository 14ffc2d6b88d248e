//! The record of one answer while it runs: what its receipt will say.

use std::sync::Arc;

use bytes::Bytes;
use cocoon_attest::receipt::{
    Commitment, Finish, ReceiptDraft, SignedReceipt, Usage, params_commitment, request_commitment,
};
use cocoon_primitives::{Clock, Digest, Timestamp};

use super::head::Head;
use super::refusal::Refusal;
use crate::engine::ModelCard;
use crate::uplink::{LeaseContext, ReceiptOutbox};

/// What a record is made of.
pub(super) struct RecordParts<'a> {
    pub(super) lease: Arc<LeaseContext>,
    pub(super) outbox: Arc<ReceiptOutbox>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) head: Head,
    pub(super) card: ModelCard,
    pub(super) request_body: &'a Bytes,
    /// A stable text of the sampling parameters.
    pub(super) params: &'a [u8],
    pub(super) started: Timestamp,
}

/// Everything about an answer but its text.
pub(super) struct Record {
    lease: Arc<LeaseContext>,
    outbox: Arc<ReceiptOutbox>,
    clock: Arc<dyn Clock>,
    head: Head,
    card: ModelCard,
    started: Timestamp,
    salt: [u8; 32],
    req_commit: [u8; 32],
    params_digest: Digest,
    response: Commitment,
}

impl Record {
    /// Opens a record under a fresh salt from the operating system.
    pub(super) fn open(parts: RecordParts<'_>) -> Result<Self, Refusal> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)
            .map_err(|_| Refusal::internal("the system gives no random bytes"))?;
        Ok(Self {
            req_commit: request_commitment(&salt, parts.request_body),
            params_digest: Digest::from_bytes(params_commitment(&salt, parts.params)),
            response: Commitment::new(),
            lease: parts.lease,
            outbox: parts.outbox,
            clock: parts.clock,
            head: parts.head,
            card: parts.card,
            started: parts.started,
            salt,
        })
    }

    /// The `id` of the completion object.
    pub(super) fn chat_id(&self) -> String {
        format!("chatcmpl-{}", hex::encode(self.head.request_id.as_bytes()))
    }

    pub(super) fn model(&self) -> &str {
        self.card.name.as_str()
    }

    /// Unix seconds.
    pub(super) fn created(&self) -> u64 {
        self.started.as_seconds()
    }

    pub(super) fn prompt_tokens_max(&self) -> u64 {
        self.head.terms.max_prompt_tokens
    }

    /// Commits to the payload of the next data frame.
    pub(super) fn commit(&mut self, payload: &[u8]) {
        self.response.push(payload);
    }

    /// True once a data frame was committed to.
    pub(super) fn has_delivered(&self) -> bool {
        self.response.frames() > 0
    }

    /// Signs the receipt for what was committed to so far and leaves it in the outbox too.
    /// Synchronous, so that `Drop` can call it.
    pub(super) fn sign(&self, finish: Finish, usage: Usage) -> SignedReceipt {
        let receipt = self.lease.signer.sign(ReceiptDraft {
            request_id: self.head.request_id,
            attempt: self.head.attempt,
            chat_id: self.chat_id(),
            model: self.card.name.clone(),
            model_manifest_digest: Digest::from_bytes(self.card.manifest_digest),
            req_commit: self.req_commit,
            resp_commit: self.response.digest(&self.salt),
            frames: self.response.frames(),
            finish,
            usage: self.bounded(usage),
            params_digest: self.params_digest,
            started: self.started,
            // A clock that was set back must not make a receipt that no gateway takes.
            ended: self.clock.now().max(self.started),
            terms: self.head.terms.clone(),
            salt: self.salt,
        });
        self.outbox.push(receipt.clone());
        receipt
    }

    /// The part of `usage` that the terms allow: nobody pays for more.
    pub(super) fn bounded(&self, usage: Usage) -> Usage {
        let prompt = usage.prompt.min(self.head.terms.max_prompt_tokens);
        let completion = usage.completion.min(u64::from(self.head.tokens_max));
        Usage {
            prompt,
            cached: usage.cached.min(prompt),
            completion,
            reasoning: usage.reasoning.min(completion),
        }
    }
}
