//! What Intel publishes about its platforms: revocations, TCB levels and the quoting enclave.

use cocoon_primitives::Timestamp;
use dcap_qvl::configs::RustCryptoConfig;
use dcap_qvl::intel::{extract_cert_chain, parse_pck_extension_with};
use dcap_qvl::quote::Quote;
use dcap_qvl::{QeIdentity, QuoteCollateralV3, TcbInfo};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::{DateFault, Refusal};

/// Bytes in a collateral file at most; real ones have 15 to 25 KiB.
pub const COLLATERAL_BYTES_MAX: usize = 256 * 1024;

/// Collateral as received: unverified. Its signatures are judged together with a quote.
#[derive(Debug, Clone)]
pub struct Collateral {
    pub(super) parts: QuoteCollateralV3,
    tcb_info: TcbInfo,
    qe_identity: QeIdentity,
}

/// Why bytes are no collateral at all.
#[derive(Debug, thiserror::Error)]
pub enum CollateralError {
    #[error("it has more than {COLLATERAL_BYTES_MAX} bytes")]
    TooLong,
    #[error("it is not collateral in JSON")]
    Json(#[source] serde_json::Error),
    #[error("its TCB info is not readable")]
    TcbInfo(#[source] serde_json::Error),
    #[error("its quoting enclave's identity is not readable")]
    QeIdentity(#[source] serde_json::Error),
}

/// A dated part of the collateral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    TcbInfo,
    QeIdentity,
    RootRevocations,
    PlatformRevocations,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TcbInfo => "TCB info",
            Self::QeIdentity => "quoting enclave's identity",
            Self::RootRevocations => "root's revocation list",
            Self::PlatformRevocations => "platforms' revocation list",
        })
    }
}

impl Collateral {
    pub fn parse(json: &[u8]) -> Result<Self, CollateralError> {
        if json.len() > COLLATERAL_BYTES_MAX {
            return Err(CollateralError::TooLong);
        }
        let mut parts: QuoteCollateralV3 =
            serde_json::from_slice(json).map_err(CollateralError::Json)?;
        // The quote brings its own chain; a second one would leave that one unread.
        parts.pck_certificate_chain = None;
        let tcb_info = serde_json::from_str(&parts.tcb_info).map_err(CollateralError::TcbInfo)?;
        let qe_identity =
            serde_json::from_str(&parts.qe_identity).map_err(CollateralError::QeIdentity)?;
        Ok(Self { parts, tcb_info, qe_identity })
    }

    /// Every dated part is in force at `at`. The library judges the same dates again, with the
    /// signatures over them; this names the part.
    pub(super) fn check_dates(&self, at: Timestamp) -> Result<(), Refusal> {
        let (tcb, qe) = (&self.tcb_info, &self.qe_identity);
        let window = |from, until| Some((seconds(from)?, seconds(until)?));
        for (part, window) in [
            (Part::TcbInfo, window(&tcb.issue_date, &tcb.next_update)),
            (Part::QeIdentity, window(&qe.issue_date, &qe.next_update)),
            (Part::RootRevocations, revocations_window(&self.parts.root_ca_crl)),
            (Part::PlatformRevocations, revocations_window(&self.parts.pck_crl)),
        ] {
            let (from, until) = window.ok_or(Refusal::Collateral(part, DateFault::Undated))?;
            let at = at.as_seconds();
            if at < from {
                return Err(Refusal::Collateral(part, DateFault::NotYetValid));
            }
            if at > until {
                return Err(Refusal::Collateral(part, DateFault::Expired));
            }
        }
        Ok(())
    }

    /// Why the library refused, where that can be told without reading its text: the collateral is
    /// another platform's, or the platform is below every published TCB level.
    pub(super) fn explain(&self, quote: &Quote) -> Option<Refusal> {
        let chain = extract_cert_chain(quote).ok()?;
        let pck = parse_pck_extension_with::<RustCryptoConfig>(chain.first()?).ok()?;
        let described = hex::decode(&self.tcb_info.fmspc).ok()?;
        if pck.fmspc.as_slice() != described {
            return Some(Refusal::OtherPlatform);
        }
        let report = quote.report.as_td10()?;
        let is_below = |svn: &[u8; 16]| {
            self.tcb_info.tcb_levels.iter().all(|level| {
                level
                    .shortfalls(&pck.cpu_svn, pck.pce_svn, Some(svn))
                    .is_ok_and(|shortfalls| !shortfalls.is_empty())
            })
        };
        is_below(&report.tee_tcb_svn).then_some(Refusal::BelowEveryTcbLevel)
    }
}

fn seconds(rfc3339: &str) -> Option<u64> {
    let moment: jiff::Timestamp = rfc3339.parse().ok()?;
    u64::try_from(moment.as_second()).ok()
}

fn revocations_window(der: &[u8]) -> Option<(u64, u64)> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    let from = u64::try_from(list.last_update().timestamp()).ok()?;
    Some((from, u64::try_from(list.next_update()?.timestamp()).ok()?))
}
