//! The gateway's check of a receipt against what it asked for and counted.

use cocoon_primitives::{ModelName, RequestId, WorkerId};

use super::{LeaseFacts, ReceiptCore, ReceiptError, SignedReceipt, Terms};

/// What a receipt must state. Where an `Option` is `None`, the gateway does not know.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    pub worker_id: WorkerId,
    /// `None` for a late receipt: it may be of an earlier lease.
    pub lease: Option<LeaseFacts>,
    pub request_id: RequestId,
    pub attempt: Option<u32>,
    pub model: &'a ModelName,
    /// `None` for a late receipt whose terms the gateway no longer holds.
    pub terms: Option<&'a Terms>,
    /// The last cumulative count that the stream delivered.
    pub completion: Option<u64>,
}

/// The core, after the signature and every expectation were checked.
pub fn verify_worker(
    receipt: &SignedReceipt,
    expected: &Expected<'_>,
) -> Result<ReceiptCore, ReceiptError> {
    let core = receipt.verify()?;
    if core.worker_id != expected.worker_id {
        return Err(ReceiptError::Worker);
    }
    if expected.lease.is_some_and(|lease| lease != facts(&core)) {
        return Err(ReceiptError::Lease);
    }
    if core.request_id != expected.request_id
        || expected.attempt.is_some_and(|attempt| attempt != core.attempt)
    {
        return Err(ReceiptError::Request);
    }
    if core.model != *expected.model {
        return Err(ReceiptError::Model);
    }
    if expected.terms.is_some_and(|terms| *terms != core.terms) {
        return Err(ReceiptError::Terms);
    }
    within_limits(&core)?;
    match expected.completion {
        Some(delivered) if delivered != core.usage.completion => {
            Err(ReceiptError::Count { receipt: core.usage.completion, delivered })
        }
        _ => Ok(core),
    }
}

fn facts(core: &ReceiptCore) -> LeaseFacts {
    LeaseFacts {
        lease_id: core.lease_id,
        evidence_digest: core.evidence_digest,
        policy_digest: core.policy_digest,
        assurance: core.assurance,
    }
}

/// Usage within the terms that the receipt itself carries, and consistent in itself.
pub(super) fn within_limits(core: &ReceiptCore) -> Result<(), ReceiptError> {
    let (usage, terms) = (&core.usage, &core.terms);
    let within = usage.prompt <= terms.max_prompt_tokens
        && usage.completion <= terms.max_completion_tokens
        && usage.cached <= usage.prompt
        && usage.reasoning <= usage.completion
        && core.started_s <= core.ended_s;
    if within { Ok(()) } else { Err(ReceiptError::Limits) }
}
