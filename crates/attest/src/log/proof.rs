//! Verifying proofs: all that a client or an auditor needs.

use super::hash::{empty_root, node_hash};

/// Hashes in a proof at most: a tree of 64-bit size needs no more.
pub const PATH_MAX: usize = 65;

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    #[error("there is no such leaf or no such tree")]
    Range,
    #[error("the path has too few or too many hashes")]
    Length,
    #[error("the path leads to another root")]
    Root,
    #[error("the path does not start from the earlier root")]
    EarlierRoot,
}

/// Checks that the leaf with this hash stands at `index` of the tree of `size` leaves with this
/// root (RFC 9162 §2.1.3.2).
pub fn verify_inclusion(
    leaf_hash: &[u8; 32],
    index: u64,
    size: u64,
    path: &[[u8; 32]],
    root: &[u8; 32],
) -> Result<(), ProofFault> {
    if index >= size {
        return Err(ProofFault::Range);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf_hash;
    for step in path {
        if last == 0 {
            return Err(ProofFault::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(step, &hash);
            climb_right_edge(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofFault::Length);
    }
    if hash == *root { Ok(()) } else { Err(ProofFault::Root) }
}

/// Checks that the tree of `first` leaves is the start of the tree of `second` leaves
/// (RFC 9162 §2.1.4.2): nothing was changed or taken away in between.
///
/// The empty tree is the start of every tree, and a tree of itself, both by an empty path.
pub fn verify_consistency(
    first: u64,
    second: u64,
    path: &[[u8; 32]],
    first_root: &[u8; 32],
    second_root: &[u8; 32],
) -> Result<(), ProofFault> {
    if first > second {
        return Err(ProofFault::Range);
    }
    if first == 0 || first == second {
        return without_path(first, second, path, first_root, second_root);
    }
    // The first tree as a whole is a subtree of the second where its size is a power of two.
    let (seed, steps) = if first.is_power_of_two() {
        (*first_root, path)
    } else {
        let (seed, steps) = path.split_first().ok_or(ProofFault::Length)?;
        (*seed, steps)
    };
    let (mut node, mut last) = (first - 1, second - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut earlier, mut later) = (seed, seed);
    for step in steps {
        if last == 0 {
            return Err(ProofFault::Length);
        }
        if node & 1 == 1 || node == last {
            earlier = node_hash(step, &earlier);
            later = node_hash(step, &later);
            climb_right_edge(&mut node, &mut last);
        } else {
            later = node_hash(&later, step);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofFault::Length);
    }
    if earlier != *first_root {
        return Err(ProofFault::EarlierRoot);
    }
    if later == *second_root { Ok(()) } else { Err(ProofFault::Root) }
}

fn without_path(
    first: u64,
    second: u64,
    path: &[[u8; 32]],
    first_root: &[u8; 32],
    second_root: &[u8; 32],
) -> Result<(), ProofFault> {
    if !path.is_empty() {
        return Err(ProofFault::Length);
    }
    if first == 0 && *first_root != empty_root() {
        return Err(ProofFault::EarlierRoot);
    }
    if first == second && first_root != second_root {
        return Err(ProofFault::Root);
    }
    Ok(())
}

/// From the left sibling of a right edge up to where the edge has a left sibling again.
fn climb_right_edge(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}
