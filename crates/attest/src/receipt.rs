//! The signed record of one request: proof of the answer and evidence for its bill.
//!
//! Shape: a worker's [`ReceiptSigner`] turns a [`ReceiptDraft`] into a [`SignedReceipt`]; a
//! gateway checks it with [`verify_worker`] against its own counts, and countersigns the Merkle
//! root of a [`batch`]; a [`ReceiptFile`] carries both signatures to whoever paid.
//!
//! Invariants: the core is deterministic CBOR, hashed as received; request and response are
//! bound by salted commitments, so that a log of receipts confirms no guessed prompt; times are
//! whole seconds. Source: the attestation design §4.8.

pub mod batch;
mod commitment;
mod core;
mod file;
mod signed;
mod signer;
mod terms;
mod verify;

pub use self::commitment::{Commitment, params_commitment, pay_commitment, request_commitment};
pub use self::core::{Finish, ReceiptCore, Usage};
pub use self::file::{
    FileError, FileProof, Opening, ReceiptFile, ReceiptFileParts, VerifiedFile, verify_file,
};
pub use self::signed::{SignedReceipt, worker_id};
pub use self::signer::{LeaseFacts, ReceiptDraft, ReceiptKey, ReceiptSigner};
pub use self::terms::{PriceRow, Terms};
pub use self::verify::{Expected, verify_worker};

use crate::cbor::CborError;

/// What the signatures and hashes of receipts start with.
const RECEIPT_DOMAIN: &[u8] = b"cocoon/receipt/v1\0";

/// A receipt that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("the receipt is malformed")]
    Malformed(#[source] CborError),
    #[error("the worker's signature does not verify")]
    Signature,
    #[error("the receipt is of another worker")]
    Worker,
    #[error("the receipt is of another lease or other evidence")]
    Lease,
    #[error("the receipt is of another request or attempt")]
    Request,
    #[error("the receipt is of another model")]
    Model,
    #[error("the receipt states other terms than the request carried")]
    Terms,
    #[error("the receipt's usage is over the request's limits")]
    Limits,
    #[error("the receipt counts {receipt} completion tokens, the stream delivered {delivered}")]
    Count { receipt: u64, delivered: u64 },
}

impl From<CborError> for ReceiptError {
    fn from(error: CborError) -> Self {
        Self::Malformed(error)
    }
}

#[cfg(test)]
mod tests;
