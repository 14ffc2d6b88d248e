//! AMD SEV-SNP: a guest's attestation report and the certificate of the chip's key that signed it.
//!
//! Shape: [`appraise`] reads both, runs every check, and says which refused first. AMD's signing keys
//! are compiled in, one for each product line.
//! Invariants: signatures are over the received bytes; the key is a chip's own (VCEK), never an
//! operator's (VLEK); the certificate's TCB and chip are the report's. The line Milan is refused
//! though its signatures are checked: software alone extracts its chips' secrets, and a valid report
//! then proves nothing.
//! Limits: AMD's revocation list is not read, and which guest runs is for a policy to judge.
//! Turin's rules are of the specification; no report of that line was at hand to try them on.

mod claims;
mod endorsement;
mod product;
mod report;

pub use claims::Claims;
pub use product::Product;
pub use report::{Malformed, REPORT_BYTES};

use cocoon_primitives::Timestamp;
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use super::certificate::{self, Certificate, NotInForce};
use super::{Appraisal, Refusal, Verdict};
use report::Report;

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
}

/// Judges `report` and `vcek`, the certificate of the key that signed it, in DER, as of `at`. A
/// nonce of at most 64 bytes must be the report data, which is filled up with zeros.
pub fn appraise(
    report: &[u8],
    vcek: &[u8],
    nonce: Option<&[u8]>,
    at: Timestamp,
) -> Result<Verdict<Claims, Reason>, Unusable> {
    let report = Report::read(report).map_err(Unusable::Report)?;
    let vcek = Certificate::read(vcek).map_err(Unusable::Certificate)?;
    let product = vcek.issuer().and_then(Product::by_issuer);
    let claims = Claims::of(&report, product, vcek.dates());

    let mut appraisal = Appraisal::new();
    signatures(&mut appraisal, &report, &vcek, product);
    dates(&mut appraisal, &vcek, product, at);
    chip(&mut appraisal, &report, &vcek, product);
    appraisal.ensure("version", VERSIONS.contains(&claims.version), Reason::Version);
    let [family, model, _] = claims.processor.0;
    let processor = Product::by_model(family, model);
    let named = processor.is_some() && processor == product;
    appraisal.ensure("processor", named, Reason::Processor);
    appraisal.ensure("debug", !claims.debug_allowed, Reason::Guest(Permission::Debug));
    appraisal.ensure("migration", !claims.migration_allowed, Reason::Guest(Permission::Migration));
    appraisal.ensure("vmpl", claims.vmpl == 0, Reason::Vmpl);
    match nonce {
        Some(nonce) => {
            let matches = super::is_report_data(nonce, &claims.report_data.0);
            appraisal.ensure("nonce", matches, Reason::Nonce);
        }
        None => appraisal.not_checked("nonce", "no nonce was given"),
    }
    appraisal.not_checked("revocation", "no revocation list is read");
    appraisal.not_checked("measurement", "no policy was given");
    Ok(appraisal.finish(Some(claims)))
}

/// Who signed, and whether such a key is accepted: apart, so that a valid signature of a refused key
/// shows as one.
fn signatures(
    appraisal: &mut Appraisal<Reason>,
    report: &Report<'_>,
    vcek: &Certificate<'_>,
    product: Option<Product>,
) {
    let vlek = vcek.subject() == Some("SEV-VLEK") || report.signing_key() == KEY_VLEK;
    if vlek {
        appraisal.not_checked("chain", "no issuer of operators' keys is compiled in");
    } else {
        let signed = product.is_some_and(|product| vcek.is_signed_by_rsa(&product.key()));
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
    appraisal.ensure("product", product != Some(Product::Milan), Reason::Milan);
}

fn dates(
    appraisal: &mut Appraisal<Reason>,
    vcek: &Certificate<'_>,
    product: Option<Product>,
    at: Timestamp,
) {
    // A time beyond what certificates can say is after all of them.
    let at = i64::try_from(at.as_seconds()).unwrap_or(i64::MAX);
    let issuer = product.map_or(Ok(()), |product| {
        let (from, until) = product.key_validity();
        certificate::within(at, from, until)
    });
    let result = vcek.in_force(at).and(issuer).map_err(Reason::Validity);
    appraisal.require("validity", result);
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

#[cfg(test)]
mod tests;
