//! Who may serve, and what a server signs: evidence, policy, leases and receipts.
//!
//! Pure: time, random bytes and input are arguments. Shape:
//! - [`enrol`]: a challenge that verification consumes, and the evidence that answers it;
//! - [`evidence`]: what a worker brings, unverified, by its kind;
//! - [`appraisal`]: what an evidence message proves, to anybody;
//! - [`policy`]: what a gateway accepts: a signed file with a digest that the worker sees;
//! - [`lease`]: one short admission of one worker; [`renewal`] prolongs it;
//! - [`log`]: the append-only record of leases and policies, and its proofs;
//! - [`receipt`]: the signed record of one request, which is also its bill;
//! - `softtee`, behind the feature `soft-tee`: evidence that software makes, under roots of our own;
//! - [`verify`]: vendors' evidence, judged offline;
//! - [`cbor`]: the deterministic encoding of all that is hashed or signed.
//!
//! Invariants: an [`enrol::Attested`] comes only from verification; every refusal has its own
//! reason; a verifier hashes received bytes, never a re-encoding.

pub mod appraisal;
pub mod cbor;
pub mod enrol;
pub mod evidence;
pub mod lease;
pub mod log;
pub mod policy;
pub mod receipt;
pub mod renewal;
#[cfg(feature = "soft-tee")]
pub mod softtee;
pub mod verify;

/// SHA-256 over parts, in order.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
