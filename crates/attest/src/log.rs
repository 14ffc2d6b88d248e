//! An append-only log of leases and policies: a Merkle tree as in RFC 6962 and RFC 9162 §2.1.
//!
//! Shape: an [`Entry`] is one leaf; a [`Tree`] holds the hashes and makes proofs; a
//! [`SignedHead`] is what a gateway vouches for; [`verify_inclusion`] and [`verify_consistency`]
//! need nothing but hashes, so that anybody can hold a gateway to its heads.
//!
//! Cost: an append hashes twice on average and log₂ n times at most; a proof reads one hash for
//! each level, and hashes only along the tree's right edge. A leaf takes 64 bytes of memory.

mod entry;
mod hash;
mod head;
mod proof;
mod tree;

#[cfg(test)]
mod tests;

pub use entry::{BODY_BYTES_MAX, ENTRY_BYTES_MAX, Entry, Record};
pub use hash::{empty_root, leaf_hash, node_hash};
pub use head::SignedHead;
pub use proof::{PATH_MAX, ProofFault, verify_consistency, verify_inclusion};
pub use tree::Tree;
