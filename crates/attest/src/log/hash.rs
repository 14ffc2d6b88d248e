//! The tree's hashes: leaves and nodes start with different bytes, so that none passes for the
//! other.

use crate::sha256;

/// RFC 6962 §2.1, of a leaf's bytes.
pub fn leaf_hash(leaf: &[u8]) -> [u8; 32] {
    sha256(&[&[0], leaf])
}

/// RFC 6962 §2.1, of two subtrees.
pub fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    sha256(&[&[1], left, right])
}

/// The root of a tree without leaves.
pub fn empty_root() -> [u8; 32] {
    sha256(&[])
}
