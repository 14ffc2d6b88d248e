//! Intel TDX quotes, version 4 and 5, judged with the platform's collateral and under Intel's root, or,
//! with the feature `soft-tee`, under a root that the caller names.
//!
//! Shape: [`quote`] holds the bytes to their shape and to the key that they carry, [`collateral`]
//! to its dates; `dcap-qvl` leads that key, the platform and the collateral to Intel's root; the
//! vendor policy is here. Checks run cheapest first and stop at the first refusal.
//! Invariants: only `UpToDate` is accepted, except by [`appraise_for_policy`], which leaves every status but
//! `Revoked` to a policy; a guest that is debugged, profiled, migratable or bound
//! to service guests is refused; dynamic platforms, cached keys and SMT are allowed, which every
//! server with two sockets needs. Cost: about ten ECDSA verifications.

mod claims;
mod collateral;
mod quote;

use cocoon_primitives::Timestamp;
use dcap_qvl::configs::RustCryptoConfig;
use dcap_qvl::quote::{Quote, Report, TDAttributes};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{Policy as _, QuotePolicy, TcbStatus};

pub use self::claims::Claims;
pub use self::collateral::{COLLATERAL_BYTES_MAX, Collateral, CollateralError, Part};
use self::quote::{Fault, UnverifiedQuote};
use super::{Appraisal, TdxRoot, Verdict};

/// Characters of the library's reason that are kept.
const DETAIL_CHARS_MAX: usize = 300;

/// Input that cannot be judged at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("not a quote: it is longer than any quote")]
    TooLong,
    #[error("not a quote: it ends before its parts do")]
    Truncated,
    #[error("not a quote: a part of it does not fill its place")]
    Part,
}

/// What a guest's own settings give away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuestFault {
    #[error("the guest can be debugged")]
    Debug,
    #[error("the guest can be profiled, migrated, or has attributes that are reserved")]
    Attributes,
    #[error("the guest is bound to service guests")]
    Served,
    #[error("the guest does not disable #VE on pending pages")]
    SeptVeEnabled,
}

/// Why a part of the collateral does not count at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DateFault {
    #[error("has no readable dates")]
    Undated,
    #[error("is not yet valid")]
    NotYetValid,
    #[error("has expired")]
    Expired,
}

/// Why a quote was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there are bytes other than zero behind the quote")]
    BytesBehind,
    #[error("this is not the quote of a TDX guest")]
    NotTdx,
    #[error("quotes of version {0} are not known")]
    Version(u16),
    #[error("the attestation key did not sign this quote")]
    QuoteSignature,
    #[error("the quoting enclave does not vouch for the attestation key")]
    AttestationKey,
    #[error("{0}")]
    Guest(GuestFault),
    #[error("the {0} {1}")]
    Collateral(Part, DateFault),
    #[error("the collateral describes another platform")]
    OtherPlatform,
    #[error("the platform is below every TCB level that Intel lists")]
    BelowEveryTcbLevel,
    #[error("the quote does not lead to its vendor's root: {0}")]
    Unverified(String),
    #[error("the platform's TCB status is {status}, with {} advisories", advisories.len())]
    TcbStatus { status: TcbStatus, advisories: Vec<String> },
    #[error("the report data is not the nonce")]
    Nonce,
}

impl super::Refusal for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::BytesBehind => "bytes_behind",
            Self::NotTdx => "not_tdx",
            Self::Version(_) => "version",
            Self::QuoteSignature => "quote_signature",
            Self::AttestationKey => "attestation_key",
            Self::Guest(GuestFault::Debug) => "debug",
            Self::Guest(GuestFault::Attributes) => "td_attributes",
            Self::Guest(GuestFault::Served) => "service_guest",
            Self::Guest(GuestFault::SeptVeEnabled) => "sept_ve_enabled",
            Self::Collateral(_, DateFault::Undated) => "collateral_undated",
            Self::Collateral(_, DateFault::NotYetValid) => "collateral_not_yet_valid",
            Self::Collateral(_, DateFault::Expired) => "collateral_expired",
            Self::OtherPlatform => "other_platform",
            Self::BelowEveryTcbLevel => "below_every_tcb_level",
            Self::Unverified(_) => "unverified",
            Self::TcbStatus { .. } => "tcb_status",
            Self::Nonce => "nonce",
        }
    }
}

/// Who decides whether a platform's TCB status will do.
#[derive(Debug, Clone, Copy)]
enum Status {
    UpToDate,
    OfPolicy,
}

/// The report data and RTMR3 that a quote has, unverified; none where it is no quote.
pub(crate) fn peek(input: &[u8]) -> Option<([u8; 64], [u8; 48])> {
    UnverifiedQuote::parse(input).ok()?.reported()
}

/// Judges a quote under Intel's root at the moment `at`. A nonce of at most 64 bytes must be the report
/// data, which is filled up with zeros.
pub fn appraise(
    input: &[u8],
    collateral: &Collateral,
    nonce: Option<&[u8]>,
    at: Timestamp,
) -> Result<Verdict<Claims, Refusal>, Malformed> {
    judge(TdxRoot::Intel, input, collateral, nonce, at, Status::UpToDate)
}

/// The same under another root.
pub fn appraise_under(
    root: TdxRoot<'_>,
    input: &[u8],
    collateral: &Collateral,
    nonce: Option<&[u8]>,
    at: Timestamp,
) -> Result<Verdict<Claims, Refusal>, Malformed> {
    judge(root, input, collateral, nonce, at, Status::UpToDate)
}

/// The same, for a caller whose policy judges the TCB status in the claims: any but `Revoked` passes.
pub fn appraise_for_policy(
    root: TdxRoot<'_>,
    input: &[u8],
    collateral: &Collateral,
    nonce: Option<&[u8]>,
    at: Timestamp,
) -> Result<Verdict<Claims, Refusal>, Malformed> {
    judge(root, input, collateral, nonce, at, Status::OfPolicy)
}

fn judge(
    root: TdxRoot<'_>,
    input: &[u8],
    collateral: &Collateral,
    nonce: Option<&[u8]>,
    at: Timestamp,
    status: Status,
) -> Result<Verdict<Claims, Refusal>, Malformed> {
    let mut appraisal = Appraisal::new();
    let unverified = match UnverifiedQuote::parse(input) {
        Ok(unverified) => Ok(unverified),
        Err(Fault::Malformed(malformed)) => return Err(malformed),
        Err(Fault::Refused(refusal)) => Err(refusal),
    };
    let unverified = appraisal.require("format", unverified);
    let quote = unverified.as_ref().map(|unverified| Quote::parse(unverified.bytes)).transpose();
    let quote = quote.map_err(|_| Malformed::Part)?;
    let claims = unverified.zip(quote).and_then(|(unverified, quote)| {
        let evidence = Evidence { unverified: &unverified, quote: &quote, collateral };
        check(&mut appraisal, root, evidence, at)
    });
    if let Some(claims) = &claims {
        check_status(&mut appraisal, claims, status);
        match nonce {
            Some(nonce) => {
                let matches = super::is_report_data(nonce, &claims.report_data.0);
                appraisal.ensure("nonce", matches, Refusal::Nonce);
            }
            None => appraisal.not_checked("nonce", "none was given"),
        }
        appraisal.not_checked("measurements", "no policy was given");
    }
    Ok(appraisal.finish(claims))
}

fn check_status(appraisal: &mut Appraisal<Refusal>, claims: &Claims, rule: Status) {
    let status = claims.tcb_status;
    let reason = Refusal::TcbStatus { status, advisories: claims.advisories.clone() };
    match (rule, status) {
        (_, TcbStatus::UpToDate) => appraisal.ensure("tcb_status", true, reason),
        (Status::OfPolicy, status) if status != TcbStatus::Revoked => {
            appraisal.not_checked("tcb_status", "it is left to the policy");
        }
        _ => appraisal.ensure("tcb_status", false, reason),
    }
}

/// A quote with what is needed to judge it.
#[derive(Clone, Copy)]
struct Evidence<'a> {
    unverified: &'a UnverifiedQuote<'a>,
    quote: &'a Quote,
    collateral: &'a Collateral,
}

/// Everything up to the root; the first refusal ends it.
fn check(
    appraisal: &mut Appraisal<Refusal>,
    root: TdxRoot<'_>,
    evidence: Evidence<'_>,
    at: Timestamp,
) -> Option<Claims> {
    appraisal.require("quote_signature", evidence.unverified.check_signature())?;
    appraisal.require("attestation_key", evidence.unverified.check_attestation_key())?;
    appraisal.require("td_attributes", check_attributes(&evidence.quote.report))?;
    appraisal.require("collateral_dates", evidence.collateral.check_dates(at))?;
    appraisal.require("vendor_chain", lead_to_root(root, evidence, at))
}

fn check_attributes(report: &Report) -> Result<(), Refusal> {
    let td = report.as_td10().ok_or(Refusal::NotTdx)?;
    let attributes = TDAttributes::parse(td.td_attributes)
        .map_err(|_| Refusal::Guest(GuestFault::Attributes))?;
    if attributes.tud & 1 != 0 {
        return Err(Refusal::Guest(GuestFault::Debug));
    }
    if attributes.tud != 0 || attributes.reserved != 0 || attributes.sec.migratable {
        return Err(Refusal::Guest(GuestFault::Attributes));
    }
    let is_served = report.as_td15().is_some_and(|td| td.mr_service_td != [0; 48]);
    if attributes.sec.servtd_ext || is_served {
        return Err(Refusal::Guest(GuestFault::Served));
    }
    if attributes.sec.sept_ve_disable {
        Ok(())
    } else {
        Err(Refusal::Guest(GuestFault::SeptVeEnabled))
    }
}

fn lead_to_root(
    root: TdxRoot<'_>,
    evidence: Evidence<'_>,
    at: Timestamp,
) -> Result<Claims, Refusal> {
    let Evidence { unverified: read, quote, collateral } = evidence;
    let now = at.as_seconds();
    let verifier = match root {
        TdxRoot::Intel => QuoteVerifier::new_prod(),
        #[cfg(feature = "soft-tee")]
        TdxRoot::Software(root) => QuoteVerifier::new(root.to_vec()),
        #[cfg(not(feature = "soft-tee"))]
        TdxRoot::Never(never, _) => match never {},
    };
    // Named, because any crate that turns on `ring` would change the default.
    let verified = verifier
        .with_config::<RustCryptoConfig>()
        .verify_with_policy(read.bytes, &collateral.parts, now, &QuotePolicy::claims_only(now))
        .map_err(|error| collateral.explain(quote).unwrap_or_else(|| unverified(&error)))?;
    // The TCB status is judged by the caller, so that its refusal has its own name.
    if verified.tcb.status == TcbStatus::Revoked {
        let advisories = verified.tcb.advisory_ids;
        return Err(Refusal::TcbStatus { status: TcbStatus::Revoked, advisories });
    }
    QuotePolicy::strict(now)
        .allow_status(verified.tcb.status)
        .allow_dynamic_platform(true)
        .allow_cached_keys(true)
        .allow_smt(true)
        .platform_grace_period(std::time::Duration::MAX)
        .qe_grace_period(std::time::Duration::MAX)
        .validate(&verified)
        .map_err(|error| unverified(&error))?;
    Claims::of(&verified).ok_or(Refusal::NotTdx)
}

/// The library's chain of reasons, for people; nothing branches on it.
fn unverified(error: &impl std::fmt::Display) -> Refusal {
    Refusal::Unverified(format!("{error:#}").chars().take(DETAIL_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests;
