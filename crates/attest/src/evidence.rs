//! The kinds of evidence, and their appraisal against a policy.
//!
//! One kind so far: `software`, signed by a key of our own, behind the cargo feature `soft-tee`.
//! A processor's quote (TDX, SEV-SNP) and the reports of devices become further variants, each
//! with a module that turns bytes into claims; `appraise` stays the one place that decides.

#[cfg(feature = "soft-tee")]
pub mod software;

use cocoon_primitives::{Assurance, Timestamp};

use crate::cbor::CborError;
use crate::policy::{Mode, Policy};

/// Bytes in a quote at most.
pub const QUOTE_BYTES_MAX: usize = 16 * 1024;

/// Evidence as received: unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A quote that a software root signed.
    Software(Vec<u8>),
}

impl Evidence {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Software(_) => "software",
        }
    }

    pub(crate) fn quote(&self) -> &[u8] {
        match self {
            Self::Software(quote) => quote,
        }
    }

    pub(crate) fn new(kind: &str, quote: &[u8]) -> Option<Self> {
        match kind {
            "software" => Some(Self::Software(quote.to_vec())),
            _ => None,
        }
    }
}

/// Why evidence was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceFault {
    #[error("production mode refuses software evidence")]
    SoftwareInProduction,
    #[error("this build verifies no software evidence")]
    SoftwareNotBuilt,
    #[error("the policy does not allow software evidence")]
    SoftwareNotAllowed,
    #[error("the quote is malformed")]
    Malformed(#[source] CborError),
    #[error("the quote does not carry the label of software evidence")]
    Label,
    #[error("the quote is signed by a root that the policy does not name")]
    UnknownRoot,
    #[error("the quote's signature does not verify")]
    Signature,
    #[error("the quote is over other data than this enrolment")]
    ReportData,
    #[error("the quote's time is too far from now")]
    Time,
}

impl EvidenceFault {
    /// A stable code for the wire and for metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SoftwareInProduction => "software_in_production",
            Self::SoftwareNotBuilt => "software_not_built",
            Self::SoftwareNotAllowed => "software_not_allowed",
            Self::Malformed(_) => "quote_malformed",
            Self::Label => "quote_label",
            Self::UnknownRoot => "quote_unknown_root",
            Self::Signature => "quote_signature",
            Self::ReportData => "quote_report_data",
            Self::Time => "quote_time",
        }
    }
}

/// Decides whether evidence stands for `report_data` under `policy`.
pub(crate) fn appraise(
    evidence: &Evidence,
    report_data: &[u8; 64],
    policy: &Policy,
    now: Timestamp,
) -> Result<Assurance, EvidenceFault> {
    match evidence {
        Evidence::Software(quote) => {
            if policy.mode() == Mode::Production {
                return Err(EvidenceFault::SoftwareInProduction);
            }
            appraise_software(quote, report_data, policy, now)
        }
    }
}

#[cfg(feature = "soft-tee")]
fn appraise_software(
    quote: &[u8],
    report_data: &[u8; 64],
    policy: &Policy,
    now: Timestamp,
) -> Result<Assurance, EvidenceFault> {
    if !policy.allows_software() {
        return Err(EvidenceFault::SoftwareNotAllowed);
    }
    software::verify(quote, report_data, policy, now).map(|()| Assurance::Software)
}

#[cfg(not(feature = "soft-tee"))]
fn appraise_software(
    _: &[u8],
    _: &[u8; 64],
    _: &Policy,
    _: Timestamp,
) -> Result<Assurance, EvidenceFault> {
    Err(EvidenceFault::SoftwareNotBuilt)
}

#[cfg(all(test, not(feature = "soft-tee")))]
mod tests {
    use super::*;
    use crate::policy::{ModelRule, PolicyError, PolicyFile};

    #[test]
    fn a_default_build_refuses_software_at_start_and_at_enrolment() {
        let plain = PolicyFile {
            mode: Mode::Development,
            insecure_allow_software_tee: false,
            software_roots: Vec::new(),
            models: ModelRule::ANY,
            lease_seconds: 600,
        };
        let lax = PolicyFile { insecure_allow_software_tee: true, ..plain.clone() };
        assert!(lax.validate().unwrap_err().contains(&PolicyError::SoftwareNotBuilt));
        let verdict = appraise(
            &Evidence::Software(Vec::new()),
            &[0; 64],
            &plain.validate().unwrap(),
            Timestamp::EPOCH,
        );
        assert_eq!(verdict, Err(EvidenceFault::SoftwareNotBuilt));
    }
}
