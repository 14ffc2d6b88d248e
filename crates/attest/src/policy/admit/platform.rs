//! The processor and the guest's settings.

use cocoon_primitives::Timestamp;

use crate::policy::fault::{SnpFault, TcbPart, TdxFault};
use crate::policy::rules::{SnpRules, TdxRules};
use crate::verify::{snp, tdx};

/// Statuses of platforms that are out of date begin with it, as Intel writes them.
const OUT_OF_DATE: &str = "OutOfDate";

pub(super) fn tdx(
    rules: Option<&TdxRules>,
    claims: &tdx::Claims,
    now: Timestamp,
) -> Result<(), TdxFault> {
    let rules = rules.ok_or(TdxFault::NotAllowed)?;
    let status = claims.tcb_status.to_string();
    if !rules.tcb_status.contains(&status) {
        return Err(TdxFault::TcbStatus(status));
    }
    if status.starts_with(OUT_OF_DATE) {
        let published = Timestamp::from_seconds(claims.tcb_date);
        if now > published.saturating_add(rules.platform_grace) {
            return Err(TdxFault::OutOfDate);
        }
    }
    if claims.tcb_eval_data_number < rules.min_tcb_eval {
        return Err(TdxFault::Evaluation);
    }
    if claims.root_crl_number < rules.min_root_crl || claims.pck_crl_number < rules.min_pck_crl {
        return Err(TdxFault::RevocationsOld);
    }
    if claims.dynamic_platform == Some(true) && !rules.allow_dynamic_platform {
        return Err(TdxFault::DynamicPlatform);
    }
    let denied = claims.advisories.iter().find(|id| rules.denied_advisories.contains(*id));
    if let Some(advisory) = denied {
        return Err(TdxFault::Advisory(advisory.clone()));
    }
    if claims.td_attributes != rules.td_attributes {
        return Err(TdxFault::Attributes);
    }
    if !rules.xfam.contains(&claims.xfam) {
        return Err(TdxFault::Xfam);
    }
    if !rules.mr_seam.contains(&claims.mr_seam) {
        return Err(TdxFault::MrSeam);
    }
    if claims.mr_signer_seam.0 != [0; 48] || claims.seam_attributes.0 != [0; 8] {
        return Err(TdxFault::MrSignerSeam);
    }
    Ok(())
}

pub(super) fn snp(rules: Option<&SnpRules>, claims: &snp::Claims) -> Result<(), SnpFault> {
    let rules = rules.ok_or(SnpFault::NotAllowed)?;
    let floor = rules.floors.iter().find(|(product, _)| claims.product == Some(*product));
    let (_, floor) = floor.ok_or(SnpFault::Product)?;
    for (part, tcb) in [
        (TcbPart::Reported, claims.reported),
        (TcbPart::Committed, claims.committed),
        (TcbPart::Launch, claims.launch),
        (TcbPart::Current, claims.current),
    ] {
        if !tcb.is_some_and(|tcb| tcb.reaches(floor)) {
            return Err(SnpFault::Tcb(part));
        }
    }
    if claims.smt_allowed && !rules.allow_smt {
        return Err(SnpFault::Smt);
    }
    if rules.require_alias_check && !claims.platform.alias_check_complete {
        return Err(SnpFault::AliasCheck);
    }
    if !claims.crl_checked {
        return Err(SnpFault::Revocations);
    }
    if rules.min_crl_date.is_some_and(|earliest| !is_from(claims.crl_from, earliest)) {
        return Err(SnpFault::RevocationsOld);
    }
    Ok(())
}

/// Whether a list has a date, and not one before `earliest`.
fn is_from(seconds: Option<i64>, earliest: Timestamp) -> bool {
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.is_some_and(|seconds| Timestamp::from_seconds(seconds) >= earliest)
}
