//! What this machine can show about itself.
//!
//! One source so far: quotes of a software root, behind the cargo feature `soft-tee`. A build
//! without any source has no value of [`EvidenceSource`], and its configuration is refused.

#[cfg(feature = "soft-tee")]
pub mod software;

use std::io;

use cocoon_attest::evidence::Evidence;
#[cfg(feature = "soft-tee")]
use cocoon_attest::evidence::software::SoftwareRoot;
use cocoon_primitives::Timestamp;

/// Makes evidence over report data.
#[derive(Debug)]
pub enum EvidenceSource {
    #[cfg(feature = "soft-tee")]
    Software(SoftwareRoot),
}

/// Why a root key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    #[error("failed to read or write the file ({0})")]
    File(io::Error),
    #[error("the file does not hold 64 hex digits")]
    Form,
}

impl EvidenceSource {
    /// Evidence over `report_data`, all 64 bytes.
    #[cfg(feature = "soft-tee")]
    pub fn evidence(&self, report_data: [u8; 64], now: Timestamp) -> Evidence {
        match self {
            Self::Software(root) => Evidence::Software(root.quote(report_data, now)),
        }
    }

    /// Evidence over `report_data`: there is no source, so there is no call.
    #[cfg(not(feature = "soft-tee"))]
    pub fn evidence(&self, _report_data: [u8; 64], _now: Timestamp) -> Evidence {
        match *self {}
    }
}
