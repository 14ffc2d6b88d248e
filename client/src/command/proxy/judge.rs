//! Whether a receipt states what happened. Pure.

use cocoon_attest::receipt::{
    Commitment, FileError, ReceiptCore, ReceiptFile, request_commitment, verify_file,
};

use super::exchange::Exchange;
use super::usage::ToldUsage;
use crate::trust::Doubt;
use crate::trust::worker::Admitted;

/// How an answer ended here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With the frame that its worker marked as the last.
    Whole,
    /// Before it, by the gateway or on the way.
    Cut,
    /// Before it, because the client did not wait.
    Left,
}

/// What was seen of an answer.
pub(super) struct Seen {
    /// Who gave it, where a frame came.
    pub(super) worker: Option<Admitted>,
    /// Over the frames that came.
    pub(super) frames: Commitment,
    pub(super) usage: Option<ToldUsage>,
    pub(super) end: End,
}

impl Seen {
    /// No frame came.
    pub(super) fn nothing(end: End) -> Self {
        Self { worker: None, frames: Commitment::new(), usage: None, end }
    }
}

/// A receipt that holds.
pub(super) struct Judged {
    pub(super) core: ReceiptCore,
    /// Whether its commitment to the answer could be held to what came.
    pub(super) is_answer_checked: bool,
}

/// The receipt's core, after everything that is known here was held to it.
pub(super) fn judge(
    file: &ReceiptFile,
    gateway_key: Option<&[u8; 32]>,
    exchange: &Exchange,
    seen: &Seen,
) -> Result<Judged, Doubt> {
    let verified = verify_file(file, gateway_key).map_err(|error| unverified(&error))?;
    let core = verified.core;
    let says = |holds: bool, code, what: &str| match holds {
        true => Ok(()),
        false => Err(Doubt::new(code, format!("the receipt {what}"))),
    };
    let named = || exchange.workers.iter().find(|worker| worker.worker_id == core.worker_id);
    let worker = seen.worker.as_ref().or_else(named).ok_or_else(|| {
        Doubt::new("receipt_worker", "the receipt is of a worker that could not open the request")
    })?;
    is_of(&core, file, exchange, worker)?;
    has_terms(&core, exchange)?;
    let account = verified.account.is_none_or(|account| account == exchange.wallet);
    says(account, "receipt_payer", "names another payer")?;
    let salt = verified.salt.ok_or_else(|| {
        Doubt::new("receipt_salt", "the receipt has no salt, so that its commitments stay closed")
    })?;
    let is_request = request_commitment(&salt, &exchange.sealed) == core.req_commit;
    says(is_request, "receipt_request_commitment", "is not of the request that was sent")?;
    let frames = seen.frames.frames();
    says(core.frames >= frames, "receipt_frames", "counts fewer frames than came")?;
    let is_answer_checked = seen.end == End::Whole || core.frames == frames;
    if is_answer_checked {
        let is_answer = core.frames == frames && seen.frames.digest(&salt) == core.resp_commit;
        says(is_answer, "receipt_answer_commitment", "is not of the answer that came")?;
    }
    let agrees = seen.usage.is_none_or(|usage| usage.agrees(&core.usage));
    says(agrees, "receipt_usage", "counts other tokens than the answer says")?;
    Ok(Judged { core, is_answer_checked })
}

/// This request, of this worker, under the evidence that was examined.
fn is_of(
    core: &ReceiptCore,
    file: &ReceiptFile,
    exchange: &Exchange,
    worker: &Admitted,
) -> Result<(), Doubt> {
    let head = &exchange.head;
    let manifest = worker.model(&head.model).map(|model| model.manifest_digest);
    for (holds, code, what) in [
        (core.request_id == head.request_id, "receipt_request", "is of another request"),
        (core.model == head.model, "receipt_model", "is of another model"),
        (Some(core.model_manifest_digest) == manifest, "receipt_model", "is of other model files"),
        (core.worker_id == worker.worker_id, "receipt_worker", "is of another worker"),
        (
            file.worker_key == hex::encode(worker.receipt_key),
            "receipt_worker",
            "is signed by another key than the attested one",
        ),
        (
            core.evidence_digest == worker.evidence_digest,
            "receipt_evidence",
            "names other evidence",
        ),
        (core.assurance == worker.assurance, "receipt_assurance", "states another assurance"),
    ] {
        if !holds {
            return Err(Doubt::new(code, format!("the receipt {what}")));
        }
    }
    Ok(())
}

/// Limits, prices and payer as the request stated them.
fn has_terms(core: &ReceiptCore, exchange: &Exchange) -> Result<(), Doubt> {
    let (head, terms) = (&exchange.head, &core.terms);
    let price = [terms.price.prompt, terms.price.cached, terms.price.completion]
        .map(|price| price.nano_per_million().get());
    for (holds, code, what) in [
        (super::limits::is_within(&price, &head.max_price), "receipt_price", "has a higher price"),
        (
            terms.max_prompt_tokens <= head.max_prompt_tokens,
            "receipt_limits",
            "has a wider limit of prompt tokens",
        ),
        (
            terms.max_completion_tokens <= u64::from(head.max_tokens),
            "receipt_limits",
            "has a wider limit of completion tokens",
        ),
        (terms.pay_commit == head.pay_commit, "receipt_payer", "commits to another payer"),
    ] {
        if !holds {
            return Err(Doubt::new(code, format!("the receipt {what} than was asked for")));
        }
    }
    Ok(())
}

pub(super) fn unverified(error: &FileError) -> Doubt {
    let code = match error {
        FileError::Field(_) => "receipt_malformed",
        FileError::Receipt(_) => "receipt_worker_signature",
        FileError::Path | FileError::GatewaySignature => "receipt_gateway_signature",
        FileError::GatewayKey => "receipt_gateway_key",
        FileError::Assurance => "receipt_assurance",
        FileError::Opening => "receipt_payer",
    };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    Doubt::new(code, format!("the receipt does not hold: {error}{}", cause.unwrap_or_default()))
}
