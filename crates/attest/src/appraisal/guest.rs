//! The guest: its quote or report, what the vendor says about its platform, and its event log.

use cocoon_primitives::Timestamp;
use subtle::ConstantTimeEq as _;

use super::{Platform, software_allowed};
use crate::enrol::{EvidenceFault, Refusal, SoftwareFault};
use crate::evidence::{Evidence, Kind, SnpEndorsements};
use crate::policy::Policy;
use crate::verify::event_log::EventLog;
use crate::verify::{SnpRoot, TdxRoot, snp, tdx};

/// A guest whose evidence leads to its maker's key.
pub(super) struct Guest {
    pub(super) platform: Platform,
    /// When the first thing that it rests on ends.
    pub(super) until: Timestamp,
}

pub(super) fn judge(
    evidence: &Evidence,
    log: &EventLog,
    report_data: &[u8; 64],
    policy: &Policy,
    now: Timestamp,
) -> Result<Guest, Refusal> {
    let judged = match evidence.kind {
        Kind::Tdx | Kind::SoftTdx => {
            let root = tdx_root(evidence.kind, policy).map_err(Refusal::Software)?;
            let unverified = tdx::peek(&evidence.quote);
            let reported = unverified.map(|(data, rtmr3)| (data, rtmr3 == log.rtmr3()));
            look(reported, report_data).and_then(|()| tdx_guest(root, evidence, log, now))
        }
        Kind::Snp | Kind::SoftSnp => {
            let root = snp_root(evidence.kind, policy).map_err(Refusal::Software)?;
            let unverified = snp::peek(&evidence.quote);
            let reported = unverified.map(|(data, host)| (data, host == log.host_data()));
            look(reported, report_data).and_then(|()| snp_guest(root, evidence, log, now))
        }
    };
    let (guest, data, is_logged) = judged.map_err(Refusal::Evidence)?;
    // What counts is what was verified, whatever was looked at before.
    look(Some((data, is_logged)), report_data).map_err(Refusal::Evidence)?;
    Ok(guest)
}

/// Whether a guest reports this data and a measured log. Before the vendor's chain it costs nothing, and
/// refuses what the chain would be led for in vain; what cannot be read is left to the verifier.
fn look(reported: Option<([u8; 64], bool)>, report_data: &[u8; 64]) -> Result<(), EvidenceFault> {
    let Some((data, is_logged)) = reported else { return Ok(()) };
    if !bool::from(data.ct_eq(report_data)) {
        return Err(EvidenceFault::ReportData);
    }
    if is_logged { Ok(()) } else { Err(EvidenceFault::EventLog) }
}

fn tdx_root(kind: Kind, policy: &Policy) -> Result<TdxRoot<'_>, SoftwareFault> {
    if kind == Kind::Tdx {
        return Ok(TdxRoot::Intel);
    }
    let _roots = software_allowed(policy)?;
    #[cfg(feature = "soft-tee")]
    return _roots.tdx_root.as_deref().map(TdxRoot::Software).ok_or(SoftwareFault::NotAllowed);
    #[cfg(not(feature = "soft-tee"))]
    Err(SoftwareFault::NotBuilt)
}

fn snp_root(kind: Kind, policy: &Policy) -> Result<SnpRoot<'_>, SoftwareFault> {
    if kind == Kind::Snp {
        return Ok(SnpRoot::Amd);
    }
    let _roots = software_allowed(policy)?;
    #[cfg(feature = "soft-tee")]
    return _roots.snp_signer.as_deref().map(SnpRoot::Software).ok_or(SoftwareFault::NotAllowed);
    #[cfg(not(feature = "soft-tee"))]
    Err(SoftwareFault::NotBuilt)
}

/// With what it says of its report data, and whether its event log is the measured one.
type Reported = (Guest, [u8; 64], bool);

fn tdx_guest(
    root: TdxRoot<'_>,
    evidence: &Evidence,
    log: &EventLog,
    now: Timestamp,
) -> Result<Reported, EvidenceFault> {
    let collateral =
        tdx::Collateral::parse(&evidence.endorsements).map_err(|_| EvidenceFault::TdxCollateral)?;
    let verdict = tdx::appraise_for_policy(root, &evidence.quote, &collateral, None, now)
        .map_err(EvidenceFault::TdxQuote)?;
    if let Some(refusal) = verdict.refusal() {
        return Err(EvidenceFault::Tdx(refusal.clone()));
    }
    let claims = verdict.accepted().ok_or(EvidenceFault::Unjudged)?.clone();
    let until = Timestamp::from_seconds(claims.collateral_expires);
    let (reported, is_logged) = (claims.report_data.0, claims.rtmr3.0 == log.rtmr3());
    Ok((Guest { platform: Platform::Tdx(Box::new(claims)), until }, reported, is_logged))
}

fn snp_guest(
    root: SnpRoot<'_>,
    evidence: &Evidence,
    log: &EventLog,
    now: Timestamp,
) -> Result<Reported, EvidenceFault> {
    let endorsements =
        SnpEndorsements::decode(&evidence.endorsements).map_err(EvidenceFault::SnpEndorsements)?;
    if endorsements.crl.is_empty() {
        return Err(EvidenceFault::SnpRevocations);
    }
    let crl = Some(endorsements.crl.as_slice());
    let verdict = snp::appraise_under(root, &evidence.quote, &endorsements.vcek, crl, None, now)
        .map_err(EvidenceFault::SnpReport)?;
    if let Some(reason) = verdict.refusal() {
        return Err(EvidenceFault::Snp(*reason));
    }
    let claims = verdict.accepted().ok_or(EvidenceFault::Unjudged)?.clone();
    let until = claims.certificate_until.min(claims.crl_until.unwrap_or(0));
    // What ended before 1970 was refused above.
    let until = Timestamp::from_seconds(u64::try_from(until).unwrap_or(0));
    let (reported, is_logged) = (claims.report_data.0, claims.host_data.0 == log.host_data());
    Ok((Guest { platform: Platform::Snp(Box::new(claims)), until }, reported, is_logged))
}
