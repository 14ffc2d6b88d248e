//! Which policy was in force last.

use cocoon_primitives::Digest;
use serde::{Deserialize, Serialize};

/// What a gateway remembers, so that nobody brings an older policy back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    pub version: u64,
    pub digest: Digest,
}
