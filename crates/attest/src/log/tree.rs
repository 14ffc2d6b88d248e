//! The hashes of a log, and proofs from them.

use super::hash::{empty_root, node_hash};

/// A Merkle tree that grows at its right edge.
///
/// Level `k` holds the hash of every complete subtree of 2ᵏ leaves, left to right. What is not
/// complete is hashed when it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    levels: Vec<Vec<[u8; 32]>>,
}

impl Tree {
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves in the tree.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| count(leaves.len()))
    }

    /// Adds a leaf by its hash; see [`super::leaf_hash`].
    pub fn push(&mut self, leaf_hash: [u8; 32]) {
        let mut carried = leaf_hash;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(carried);
            // An odd one waits for its sibling.
            if nodes.len() % 2 == 1 {
                return;
            }
            carried = node_hash(&nodes[nodes.len() - 2], &nodes[nodes.len() - 1]);
        }
    }

    /// The hash of the leaf at `index`.
    pub fn leaf(&self, index: u64) -> Option<[u8; 32]> {
        self.node(0, index)
    }

    /// The root over the first `size` leaves; `None` where there are fewer.
    pub fn root(&self, size: u64) -> Option<[u8; 32]> {
        if size == 0 {
            return Some(empty_root());
        }
        if size > self.size() { None } else { self.range(0, size) }
    }

    /// The path from the leaf at `index` to the root over the first `size` leaves, from the leaf
    /// upwards (RFC 9162 §2.1.3.1). `None` where there is no such leaf or tree.
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<[u8; 32]>> {
        if index >= size || size > self.size() {
            return None;
        }
        let mut path = Vec::new();
        let (mut start, mut width) = (0, size);
        while width > 1 {
            let left = split(width);
            if index - start < left {
                path.push(self.range(start + left, width - left)?);
                width = left;
            } else {
                path.push(self.range(start, left)?);
                start += left;
                width -= left;
            }
        }
        path.reverse();
        Some(path)
    }

    /// The proof that the tree of `first` leaves is the start of the one of `second` leaves
    /// (RFC 9162 §2.1.4.1); of none or of equal trees it is empty. `None` where there are no such
    /// trees.
    pub fn consistency(&self, first: u64, second: u64) -> Option<Vec<[u8; 32]>> {
        if first > second || second > self.size() {
            return None;
        }
        let mut path = Vec::new();
        if first == 0 {
            return Some(path);
        }
        let (mut start, mut width, mut wanted) = (0, second, first);
        // Whether the subtree at hand is the whole first tree, which the verifier has.
        let mut is_first = true;
        while wanted < width {
            let left = split(width);
            if wanted <= left {
                path.push(self.range(start + left, width - left)?);
                width = left;
            } else {
                path.push(self.range(start, left)?);
                start += left;
                width -= left;
                wanted -= left;
                is_first = false;
            }
        }
        if !is_first {
            path.push(self.range(start, width)?);
        }
        path.reverse();
        Some(path)
    }

    /// The hash over `width` leaves from `start` on, where the tree's definition has such a
    /// subtree. Complete ones are stored; along the right edge they are hashed together.
    fn range(&self, mut start: u64, mut width: u64) -> Option<[u8; 32]> {
        let mut complete = Vec::new();
        while !width.is_power_of_two() {
            let left = split(width);
            complete.push(self.node(left.trailing_zeros(), start)?);
            start += left;
            width -= left;
        }
        let last = self.node(width.trailing_zeros(), start)?;
        Some(complete.iter().rev().fold(last, |right, left| node_hash(left, &right)))
    }

    /// The complete subtree of 2^`level` leaves that begins at leaf `start`.
    fn node(&self, level: u32, start: u64) -> Option<[u8; 32]> {
        let nodes = self.levels.get(usize::try_from(level).ok()?)?;
        nodes.get(usize::try_from(start >> level).ok()?).copied()
    }
}

/// The greatest power of two below `width`, which is at least 2.
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

fn count(length: usize) -> u64 {
    u64::try_from(length).expect("a length in memory fits in 64 bits")
}
