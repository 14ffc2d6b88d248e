//! The record of one answer while it runs: what its receipt will say.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cocoon_attest::receipt::{
    Commitment, Finish, ReceiptDraft, SignedReceipt, Usage, params_commitment, request_commitment,
};
use cocoon_primitives::{Clock, Digest, RequestId, Timestamp};

use super::head::Head;
use super::refusal::Refusal;
use super::transcript::Facts;
use crate::engine::ModelCard;
use crate::uplink::{LeaseContext, ReceiptOutbox};

/// What a record is made of.
pub(super) struct RecordParts {
    pub(super) lease: Arc<LeaseContext>,
    pub(super) outbox: Arc<ReceiptOutbox>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) head: Head,
    pub(super) card: ModelCard,
    /// The `id` of the answer.
    pub(super) answer_id: String,
    pub(super) request_body: Bytes,
    /// A stable text of the sampling parameters.
    pub(super) params: Vec<u8>,
    /// Of a sealed request: a salt that the gateway never sees.
    pub(super) params_salt: Option<[u8; 32]>,
    pub(super) started: Timestamp,
}

/// Everything about an answer but its text.
pub(super) struct Record {
    lease: Arc<LeaseContext>,
    outbox: Arc<ReceiptOutbox>,
    clock: Arc<dyn Clock>,
    head: Head,
    card: ModelCard,
    answer_id: String,
    started: Timestamp,
    salt: [u8; 32],
    req_commit: [u8; 32],
    params_digest: Digest,
    response: Commitment,
}

impl Record {
    /// Opens a record under a fresh salt from the operating system. Hashes the whole body.
    pub(super) fn open(parts: RecordParts) -> Result<Self, Refusal> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)
            .map_err(|_| Refusal::internal("the system gives no random bytes"))?;
        Ok(Self {
            req_commit: request_commitment(&salt, &parts.request_body),
            params_digest: Digest::from_bytes(params_commitment(
                &parts.params_salt.unwrap_or(salt),
                &parts.params,
            )),
            response: Commitment::new(),
            lease: parts.lease,
            outbox: parts.outbox,
            clock: parts.clock,
            head: parts.head,
            card: parts.card,
            answer_id: parts.answer_id,
            started: parts.started,
            salt,
        })
    }

    /// What every object of the answer repeats.
    pub(super) fn facts(&self) -> Facts {
        Facts {
            id: self.answer_id.clone(),
            model: self.card.name.as_str().to_owned(),
            created: self.created(),
        }
    }

    pub(super) fn answer_id(&self) -> &str {
        &self.answer_id
    }

    pub(super) fn request_id(&self) -> RequestId {
        self.head.request_id
    }

    /// Unix seconds.
    pub(super) fn created(&self) -> u64 {
        self.started.as_seconds()
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// How long the request has left.
    pub(super) fn left(&self) -> Duration {
        self.head.terms.not_after.since(self.started)
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
            chat_id: self.answer_id.clone(),
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
        if usage.prompt > self.head.terms.max_prompt_tokens {
            // Longer prompts are refused; of this one the engine has said less, or nothing, before.
            tracing::warn!(
                "the engine counts more prompt tokens than the terms allow: they are not billed"
            );
            metrics::counter!("cocoon_worker_prompts_cut_total").increment(1);
        }
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
