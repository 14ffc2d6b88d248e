//! Public samples of vendors' evidence, in a folder beside the repository.

use std::path::{Path, PathBuf};

use cocoon_primitives::Timestamp;

/// One byte that becomes another, at places that a seed decides.
pub(crate) struct Mutations {
    state: u64,
}

impl Mutations {
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Anything below `limit`, of splitmix64.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit).expect("a length fits");
        usize::try_from((mixed ^ (mixed >> 31)) % limit).expect("it is below a length")
    }

    /// `bytes` with another byte at `offset`.
    pub(crate) fn at(&mut self, bytes: &[u8], offset: usize) -> Vec<u8> {
        let mut mutated = bytes.to_vec();
        let difference = u8::try_from(1 + self.below(255)).expect("it is at most 255");
        mutated[offset] ^= difference;
        mutated
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence")
}

/// A sample, or nothing and a loud word where the folder is missing.
pub(crate) fn sample(kind: &str, name: &str) -> Option<Vec<u8>> {
    if !folder().is_dir() {
        eprintln!("SKIPPED: no folder {} with vendors' evidence", folder().display());
        return None;
    }
    let path = folder().join(kind).join(name);
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The first moment of a day, in UTC.
pub(crate) fn day(date: &str) -> Timestamp {
    let moment: jiff::Timestamp = format!("{date}T00:00:00Z").parse().expect("a date");
    Timestamp::from_seconds(u64::try_from(moment.as_second()).expect("after 1970"))
}
