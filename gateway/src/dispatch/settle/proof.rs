//! A receipt against its request, and against the answer that it came with.
//!
//! Two kinds of failure: a receipt that does not verify is nobody's word, and is dropped; one
//! that verifies and does not state what was seen is its worker's word, and is kept as evidence.

use std::sync::Arc;

use cocoon_attest::receipt::{Expected, ReceiptCore, ReceiptError, SignedReceipt, verify_worker};
use cocoon_metering::Usage;
use cocoon_primitives::TokenCount;
use cocoon_store::NewReceipt;

use crate::dispatch::ticket::{Agreement, Answer, Service};

/// What a receipt must agree with beyond the terms of its request.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The last cumulative count of the answer that it came in.
    pub(super) completion: Option<u64>,
    /// All that was taken for the client, where that is the whole answer.
    pub(super) answer: Option<Answer>,
}

/// A receipt whose signature, lease and terms hold.
pub(super) struct Verified {
    pub(super) core: ReceiptCore,
    pub(super) receipt: SignedReceipt,
    /// Where it does not state what was seen.
    pub(super) mismatch: Option<Contradiction>,
}

/// Why a receipt is not what its stream was owed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Contradiction {
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    #[error("the receipt counts {receipt} prompt tokens, the response head counted {head}")]
    Prompt { head: u64, receipt: u64 },
    #[error("the receipt is for {receipt} data frames, {forwarded} came")]
    Frames { receipt: u32, forwarded: u32 },
    #[error("the receipt commits to other bytes than those that came")]
    Response,
    /// The check itself was cut short: the process is ending.
    #[error("the receipt could not be checked")]
    Unchecked,
}

/// Checks a receipt, its signature and commitment included, off the runtime's threads.
pub(super) async fn check(
    agreement: &Arc<Agreement>,
    service: &Service,
    receipt: SignedReceipt,
    seen: Seen,
) -> Result<Verified, Contradiction> {
    let (agreement, service) = (agreement.clone(), service.clone());
    let check = move || {
        let expected = Expected {
            worker_id: service.worker,
            lease: Some(service.lease),
            request_id: agreement.request_id,
            attempt: Some(service.attempt),
            model: &agreement.model,
            terms: Some(&service.terms),
            completion: None,
        };
        let core = verify_worker(&receipt, &expected)?;
        let mismatch = mismatch(&core, &receipt.salt, service.prompt, seen);
        Ok(Verified { core, receipt, mismatch })
    };
    tokio::task::spawn_blocking(check).await.unwrap_or(Err(Contradiction::Unchecked))
}

pub(crate) fn usage_of(core: &ReceiptCore) -> Usage {
    Usage {
        prompt: TokenCount::new(core.usage.prompt),
        cached: TokenCount::new(core.usage.cached),
        completion: TokenCount::new(core.usage.completion),
        reasoning: TokenCount::new(core.usage.reasoning),
    }
}

/// A verified receipt, as the store keeps it; `stated` is its decoded core.
pub(crate) fn new_receipt(receipt: SignedReceipt, stated: &ReceiptCore) -> NewReceipt {
    let SignedReceipt { core, signature, salt, worker_key } = receipt;
    let (attempt, stated) = (stated.attempt, Some(usage_of(stated)));
    NewReceipt { core, signature, salt, worker_key, attempt, stated }
}

/// Where a receipt does not state what was seen of its answer.
fn mismatch(
    core: &ReceiptCore,
    salt: &[u8; 32],
    prompt: Option<u64>,
    seen: Seen,
) -> Option<Contradiction> {
    let receipt = core.usage.completion;
    if let Some(delivered) = seen.completion.filter(|delivered| *delivered != receipt) {
        return Some(ReceiptError::Count { receipt, delivered }.into());
    }
    // The response head counted the prompt before the first token.
    let receipt = core.usage.prompt;
    if let Some(head) = prompt.filter(|head| *head != receipt) {
        return Some(Contradiction::Prompt { head, receipt });
    }
    let Answer { mut forwarded, last, .. } = seen.answer?;
    if let Some(last) = last {
        forwarded.push(&last);
    }
    let (receipt, forwarded_frames) = (core.frames, forwarded.frames());
    if receipt != forwarded_frames {
        return Some(Contradiction::Frames { receipt, forwarded: forwarded_frames });
    }
    (core.resp_commit != forwarded.digest(salt)).then_some(Contradiction::Response)
}
