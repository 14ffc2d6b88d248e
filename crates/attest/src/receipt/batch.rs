//! Countersigning many receipts at once: a Merkle tree as in RFC 6962 §2.1, one signature on
//! its root, and a path for each receipt.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::cbor::{CborError, Decoder, Encoder};
use crate::log::{leaf_hash, node_hash, verify_inclusion};
use crate::sha256;

/// Receipts in a batch at most.
pub const LEAVES_MAX: usize = 64;
/// Steps in a path at most: enough for any tree with 64-bit indices.
const PATH_MAX: usize = 64;

const SETTLE_DOMAIN: &[u8] = b"cocoon/settle/v1\0";
const LEAF_DOMAIN: &[u8] = b"cocoon/settle-leaf/v1\0";

/// Where a leaf stands in its tree, and the hashes that lead from it to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub index: u64,
    pub size: u64,
    /// Siblings from the leaf upwards.
    pub path: Vec<[u8; 32]>,
}

impl Proof {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.array(3).unsigned(self.index).unsigned(self.size).array(self.path.len());
        for step in &self.path {
            out.bytes(step);
        }
        out.into_bytes()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Decoder::new(bytes);
        if reader.array(3)? != 3 {
            return Err(CborError::Range);
        }
        let (index, size) = (reader.unsigned()?, reader.unsigned()?);
        let steps = reader.array(PATH_MAX)?;
        let path = (0..steps).map(|_| reader.bytes_exact()).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { index, size, path })
    }
}

/// What a receipt contributes to a tree: its core and the worker's signature.
pub fn leaf(core: &[u8], signature: &[u8; 64]) -> [u8; 32] {
    sha256(&[LEAF_DOMAIN, core, signature])
}

/// The root over `leaves`; of none, the hash of nothing.
pub fn merkle_root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => sha256(&[]),
        [leaf] => leaf_hash(leaf),
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&merkle_root(left), &merkle_root(right))
        }
    }
}

/// The proof for the leaf at `index`, `None` where there is no such leaf.
pub fn proof(leaves: &[[u8; 32]], index: usize) -> Option<Proof> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    climb(leaves, index, &mut path);
    Some(Proof { index: u64::try_from(index).ok()?, size: u64::try_from(leaves.len()).ok()?, path })
}

fn climb(leaves: &[[u8; 32]], index: usize, path: &mut Vec<[u8; 32]>) {
    if leaves.len() < 2 {
        return;
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    if index < at {
        climb(left, index, path);
        path.push(merkle_root(right));
    } else {
        climb(right, index - at, path);
        path.push(merkle_root(left));
    }
}

/// True where `proof` leads from `leaf` to `root` (RFC 9162 §2.1.3.2).
pub fn verify(leaf: &[u8; 32], proof: &Proof, root: &[u8; 32]) -> bool {
    verify_inclusion(&leaf_hash(leaf), proof.index, proof.size, &proof.path, root).is_ok()
}

/// The gateway's signature on a batch.
pub fn countersign(key: &SigningKey, root: &[u8; 32]) -> [u8; 64] {
    key.sign(&sha256(&[SETTLE_DOMAIN, root])).to_bytes()
}

/// True where `signature` is the gateway's on `root`.
pub fn verify_countersignature(
    gateway_key: &[u8; 32],
    root: &[u8; 32],
    signature: &[u8; 64],
) -> bool {
    VerifyingKey::from_bytes(gateway_key).is_ok_and(|key| {
        let message = sha256(&[SETTLE_DOMAIN, root]);
        key.verify_strict(&message, &Signature::from_bytes(signature)).is_ok()
    })
}

/// The greatest power of two below `count`, which is at least 2.
fn split(count: usize) -> usize {
    let mut at = 1;
    while at * 2 < count {
        at *= 2;
    }
    at
}
