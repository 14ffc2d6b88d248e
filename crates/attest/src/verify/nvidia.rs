//! NVIDIA GPUs and switches: a device's signed report of its measurements, and its certificates.
//!
//! Shape: [`appraise`] judges one device; [`evidence`] takes a file of several apart; [`devices`] judges
//! several together, and [`golden`] what one of them measured. The key of NVIDIA's root is compiled in.
//! Invariants: the signature is over the received bytes, nonce included; a firmware id that the report
//! names is the one that the signer's certificate was made for.
//! Limits: what the measurements should be is for a policy to say; NVIDIA revokes by OCSP, which is
//! not asked; and a report does not tell whether confidential computing is on. A valid report alone
//! says that there is such a device, and no more.

mod chain;
mod claims;
pub mod devices;
pub mod evidence;
pub mod golden;
mod report;

pub use chain::{CHAIN_BYTES_MAX, Malformed as MalformedChain};
pub use claims::{Architecture, Claims, Status};
pub use report::{Malformed as MalformedReport, REPORT_BYTES_MAX};

use cocoon_primitives::Timestamp;
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use super::certificate::{Certificate, NotInForce};
use super::{Appraisal, NvidiaRoot, Refusal, Verdict};
use report::Report;

/// Why a report was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("the certificates do not lead to NVIDIA's root")]
    Chain,
    #[error("the report's signature does not match")]
    Signature,
    #[error("a certificate is out of force: {0}")]
    Validity(NotInForce),
    #[error("the report answers another nonce")]
    Nonce,
    #[error("the report names another firmware than the signer's certificate")]
    Firmware,
    #[error("the signer is no GPU or switch of a known architecture")]
    Architecture,
}

impl Refusal for Reason {
    fn code(&self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Signature => "signature",
            Self::Validity(NotInForce::NotYet) => "certificate_not_yet_valid",
            Self::Validity(NotInForce::Expired) => "certificate_expired",
            Self::Nonce => "nonce",
            Self::Firmware => "firmware",
            Self::Architecture => "architecture",
        }
    }
}

/// Input that cannot be judged at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("not an attestation report: {0}")]
    Report(report::Malformed),
    #[error("not a chain of certificates: {0}")]
    Chain(chain::Malformed),
}

/// Judges `report` and `chain`, the certificates in PEM with the signer first, under NVIDIA's root as of
/// `at`. Without a nonce, how fresh the report is stays open.
pub fn appraise(
    report: &[u8],
    chain: &[u8],
    nonce: Option<&[u8; 32]>,
    at: Timestamp,
) -> Result<Verdict<Claims, Reason>, Unusable> {
    appraise_under(NvidiaRoot::Nvidia, report, chain, nonce, at)
}

/// The same under another root.
pub fn appraise_under(
    root: NvidiaRoot<'_>,
    report: &[u8],
    chain: &[u8],
    nonce: Option<&[u8; 32]>,
    at: Timestamp,
) -> Result<Verdict<Claims, Reason>, Unusable> {
    let report = Report::read(report).map_err(Unusable::Report)?;
    let ders = chain::read(chain).map_err(Unusable::Chain)?;
    let chain = ders.iter().map(|der| Certificate::read(der)).collect::<Result<Vec<_>, _>>();
    let chain =
        chain.map_err(|malformed| Unusable::Chain(chain::Malformed::Certificate(malformed)))?;
    let signer = chain.first().expect("a chain that was read has two certificates or more");
    let certified = chain::firmware_id(signer);
    let claims = Claims::of(&report, signer, &chain, certified);

    let mut appraisal = Appraisal::new();
    appraisal.ensure("chain", chain::is_trusted(&chain, root), Reason::Chain);
    appraisal.ensure("signature", is_signed(&report, signer), Reason::Signature);
    appraisal.require("validity", in_force(&chain, at));
    match nonce {
        Some(nonce) => appraisal.ensure("nonce", report.nonce == *nonce, Reason::Nonce),
        None => appraisal.not_checked("nonce", "no nonce was given"),
    }
    match report.field(claims::FIRMWARE_ID) {
        Some(id) => appraisal.ensure("firmware_id", certified == Some(id), Reason::Firmware),
        None => appraisal.not_checked("firmware_id", "the report names none"),
    }
    appraisal.ensure("architecture", claims.architecture.is_some(), Reason::Architecture);
    appraisal.not_checked("measurements", "no policy was given");
    appraisal.not_checked("revocation", "no OCSP answer is read");
    appraisal.not_checked("confidential_computing", "a report does not tell");
    Ok(appraisal.finish(Some(claims)))
}

fn is_signed(report: &Report<'_>, signer: &Certificate<'_>) -> bool {
    signer.p384_point().is_some_and(|point| {
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
            .verify(report.signed, report.signature)
            .is_ok()
    })
}

fn in_force(chain: &[Certificate<'_>], at: Timestamp) -> Result<(), Reason> {
    // A time beyond what certificates can say is after all of them.
    let at = i64::try_from(at.as_seconds()).unwrap_or(i64::MAX);
    chain.iter().try_for_each(|certificate| certificate.in_force(at)).map_err(Reason::Validity)
}

#[cfg(test)]
mod tests;
