//! AMD SEV-SNP: a guest's attestation report and the certificate of the chip's key that signed it.
//!
//! Shape: [`appraise`] reads both, runs every check, and says which refused first. AMD's keys are compiled
//! in, a root and a signing key for each product line; [`appraise_under`] also reads AMD's revocation list
//! of the line, and takes another signer with the feature `soft-tee`.
//! Invariants: signatures are over the received bytes; the key is a chip's own (VCEK), never an
//! operator's (VLEK); the certificate's TCB and chip are the report's. The line Milan is refused
//! though its signatures are checked: software alone extracts its chips' secrets, and a valid report
//! then proves nothing.
//! Limits: without a list, revocation is open, and the claims say so; which guest runs is for a policy to
//! judge.
//! Turin's rules are of the specification; no report of that line was at hand to try them on.

mod claims;
mod endorsement;
mod product;
mod report;
mod root;

pub use claims::{Claims, MitigationVectors, PlatformInfo, Tcb};
pub use product::Product;
pub use report::{Malformed, REPORT_BYTES};

use cocoon_primitives::Timestamp;
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use super::certificate::{self, Certificate, NotInForce};
use super::revocations::{self, Revocations};
use super::{Appraisal, Refusal, SnpRoot, Verdict};
use report::Report;
use root::Issuer;

/// The versions of the report whose fields this module knows. Version 2 does not name the processor.
const VERSIONS: std::ops::RangeInclusive<u32> = 3..=5;

/// The report's number for ECDSA on P-384 with SHA-384.
const ECDSA_P384_SHA384: u32 = 1;

/// The report's number for a key that AMD gave to an operator.
const KEY_VLEK: u32 = 1;

/// Why a report was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("no key of AMD that is compiled in signed the certificate of the chip's key")]
    Chain,
    #[error("the report's signature does not match")]
    Signature,
    #[error("an operator's key (VLEK) signed the report, not the chip's own")]
    Vlek,
    #[error("chips of the line Milan do not keep their secrets")]
    Milan,
    #[error("a certificate is out of force: {0}")]
    Validity(NotInForce),
    #[error("the certificate is for another TCB version than the report's")]
    Tcb,
    #[error("the certificate is for another chip, or the report hides which one")]
    Chip,
    #[error("the report has a version that is not accepted")]
    Version,
    #[error("the report names a processor of another product line than its certificate")]
    Processor,
    #[error("the guest's policy allows {0}")]
    Guest(Permission),
    #[error("the report was not asked for at VMPL 0")]
    Vmpl,
    #[error("the report data is not the nonce")]
    Nonce,
    #[error("the revocation list is not signed by who issues them for this product line")]
    ListSignature,
    #[error("the revocation list is out of force: {0}")]
    ListValidity(NotInForce),
    #[error("the certificate of the chip's key, or of its issuer, is revoked")]
    Revoked,
}

/// What a guest's policy allows and no vendor's guest should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Permission {
    #[error("the host to debug it")]
    Debug,
    #[error("a migration agent to move it")]
    Migration,
}

impl Refusal for Reason {
    fn code(&self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Signature => "signature",
            Self::Vlek => "vlek",
            Self::Milan => "milan",
            Self::Validity(NotInForce::NotYet) => "certificate_not_yet_valid",
            Self::Validity(NotInForce::Expired) => "certificate_expired",
            Self::Tcb => "tcb",
            Self::Chip => "chip",
            Self::Version => "version",
            Self::Processor => "processor",
            Self::Guest(Permission::Debug) => "debug",
            Self::Guest(Permission::Migration) => "migration",
            Self::Vmpl => "vmpl",
            Self::Nonce => "nonce",
            Self::ListSignature => "crl_signature",
            Self::ListValidity(NotInForce::NotYet) => "crl_not_yet_valid",
            Self::ListValidity(NotInForce::Expired) => "crl_expired",
            Self::Revoked => "revoked",
        }
    }
}

/// Input that cannot be judged at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("not an attestation report: {0}")]
    Report(Malformed),
    #[error("not the certificate of a chip's key: {0}")]
    Certificate(certificate::Malformed),
    #[error("not a revocation list: {0}")]
    Revocations(revocations::Malformed),
}

/// The report data and the host data that a report has, unverified; none where it is no report.
pub(crate) fn peek(report: &[u8]) -> Option<([u8; 64], [u8; 32])> {
    let report = Report::read(report).ok()?;
    Some((report.report_data(), report.host_data()))
}

/// Judges `report` and `vcek`, the certificate of the key that signed it, in DER, under AMD's keys as of
/// `at`. A nonce of at most 64 bytes must be the report data, which is filled up with zeros.
pub fn appraise(
    report: &[u8],
    vcek: &[u8],
    nonce: Option<&[u8]>,
    at: Timestamp,
) -> Result<Verdict<Claims, Reason>, Unusable> {
    appraise_under(SnpRoot::Amd, report, vcek, None, nonce, at)
}

/// The same under another root, and with the product line's revocation list in DER where there is one.
pub fn appraise_under(
    root: SnpRoot<'_>,
    report: &[u8],
    vcek: &[u8],
    crl: Option<&[u8]>,
    nonce: Option<&[u8]>,
    at: Timestamp,
) -> Result<Verdict<Claims, Reason>, Unusable> {
    let report = Report::read(report).map_err(Unusable::Report)?;
    let vcek = Certificate::read(vcek).map_err(Unusable::Certificate)?;
    let list = crl.map(Revocations::read).transpose().map_err(Unusable::Revocations)?;
    let issuer = Issuer::of(root, &vcek);
    let product = issuer.as_ref().map(|issuer| issuer.product);
    let mut claims = Claims::of(&report, product, vcek.dates());
    // A time beyond what certificates can say is after all of them.
    let at = i64::try_from(at.as_seconds()).unwrap_or(i64::MAX);

    let mut appraisal = Appraisal::new();
    signatures(&mut appraisal, &report, &vcek, issuer.as_ref());
    let in_force = issuer.as_ref().map_or(Ok(()), |issuer| issuer.in_force(at));
    let in_force = vcek.in_force(at).and(in_force).map_err(Reason::Validity);
    appraisal.require("validity", in_force);
    chip(&mut appraisal, &report, &vcek, product);
    guest(&mut appraisal, &claims);
    match nonce {
        Some(nonce) => {
            let matches = super::is_report_data(nonce, &claims.report_data.0);
            appraisal.ensure("nonce", matches, Reason::Nonce);
        }
        None => appraisal.not_checked("nonce", "no nonce was given"),
    }
    match list {
        Some(list) => {
            let good = not_revoked(&list, &vcek, issuer.as_ref(), at);
            if let Some((from, until)) = appraisal.require("revocation", good) {
                claims.crl_checked = true;
                claims.crl_from = Some(from);
                claims.crl_until = Some(until);
            }
        }
        None => appraisal.not_checked("revocation", "no revocation list was given"),
    }
    appraisal.not_checked("measurement", "no policy was given");
    Ok(appraisal.finish(Some(claims)))
}

/// Who signed, and whether such a key is accepted: apart, so that a valid signature of a refused key
/// shows as one.
fn signatures(
    appraisal: &mut Appraisal<Reason>,
    report: &Report<'_>,
    vcek: &Certificate<'_>,
    issuer: Option<&Issuer>,
) {
    let vlek = vcek.subject() == Some("SEV-VLEK") || report.signing_key() == KEY_VLEK;
    if vlek {
        appraisal.not_checked("chain", "no issuer of operators' keys is compiled in");
    } else {
        let signed = issuer.is_some_and(|issuer| issuer.signed(vcek));
        let is_vcek = vcek.subject() == Some("SEV-VCEK");
        appraisal.ensure("chain", signed && is_vcek, Reason::Chain);
    }
    let signed = report.signature_algorithm() == ECDSA_P384_SHA384
        && vcek.p384_point().is_some_and(|point| {
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                .verify(report.signed(), &report.signature())
                .is_ok()
        });
    appraisal.ensure("signature", signed, Reason::Signature);
    appraisal.ensure("signing_key", !vlek && report.signing_key() == 0, Reason::Vlek);
    let product = issuer.map(|issuer| issuer.product);
    appraisal.ensure("product", product != Some(Product::Milan), Reason::Milan);
}

fn chip(
    appraisal: &mut Appraisal<Reason>,
    report: &Report<'_>,
    vcek: &Certificate<'_>,
    product: Option<Product>,
) {
    let tcb = product.and_then(|product| endorsement::tcb(vcek, product));
    appraisal.ensure("tcb", tcb == Some(report.reported_tcb()), Reason::Tcb);
    let chip_id = report.chip_id();
    let same = product.is_some_and(|product| endorsement::is_of_chip(vcek, product, &chip_id));
    appraisal.ensure("chip", same, Reason::Chip);
}

/// What the report says of itself, its processor and its guest.
fn guest(appraisal: &mut Appraisal<Reason>, claims: &Claims) {
    appraisal.ensure("version", VERSIONS.contains(&claims.version), Reason::Version);
    let [family, model, _] = claims.processor.0;
    let processor = Product::by_model(family, model);
    let named = processor.is_some() && processor == claims.product;
    appraisal.ensure("processor", named, Reason::Processor);
    appraisal.ensure("debug", !claims.debug_allowed, Reason::Guest(Permission::Debug));
    appraisal.ensure("migration", !claims.migration_allowed, Reason::Guest(Permission::Migration));
    appraisal.ensure("vmpl", claims.vmpl == 0, Reason::Vmpl);
}

/// The first and the last second for which the list says that neither certificate is revoked.
fn not_revoked(
    list: &Revocations<'_>,
    vcek: &Certificate<'_>,
    issuer: Option<&Issuer>,
    at: i64,
) -> Result<(i64, i64), Reason> {
    let issuer = issuer.filter(|issuer| issuer.signed_list(list)).ok_or(Reason::ListSignature)?;
    list.in_force(at).map_err(Reason::ListValidity)?;
    if issuer.is_revoked(list, vcek) { Err(Reason::Revoked) } else { Ok(list.dates()) }
}

#[cfg(test)]
mod tests;
