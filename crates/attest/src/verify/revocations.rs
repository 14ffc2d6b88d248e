//! X.509 revocation lists of vendors: read strictly, checked over the bytes as they came.
//!
//! Invariants as for certificates: one list and nothing behind it, at most [`LIST_BYTES_MAX`] bytes; what no
//! signature covers has one form only; a critical extension, which could make a list a part of one, is
//! not understood.

use ring::signature::{RSA_PSS_2048_8192_SHA384, RsaPublicKeyComponents};
use x509_parser::der_parser::oid;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::{NotInForce, significant, within};
use super::der;

/// A list without entries has about a thousand bytes, an entry about thirty.
pub const LIST_BYTES_MAX: usize = 60 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the revocation list is too large")]
    TooLarge,
    #[error("not one X.509 revocation list in DER")]
    NotAList,
    #[error("the list is not framed in DER, or it names two signature algorithms")]
    Framing,
    #[error("the list does not say until when it holds")]
    Undated,
    #[error("the list has a critical extension that is not understood")]
    Critical,
}

#[derive(Debug)]
pub(super) struct Revocations<'a> {
    parsed: CertificateRevocationList<'a>,
    from: i64,
    until: i64,
}

impl<'a> Revocations<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Self, Malformed> {
        if der.len() > LIST_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        let (rest, parsed) =
            CertificateRevocationList::from_der(der).map_err(|_| Malformed::NotAList)?;
        if !rest.is_empty() || parsed.signature_value.unused_bits != 0 {
            return Err(Malformed::NotAList);
        }
        framed(der).ok_or(Malformed::Framing)?;
        let entries = parsed.iter_revoked_certificates();
        let of_entries = entries.flat_map(|entry| entry.extensions());
        if parsed.extensions().iter().chain(of_entries).any(|extension| extension.critical) {
            return Err(Malformed::Critical);
        }
        let from = parsed.last_update().timestamp();
        let until = parsed.next_update().ok_or(Malformed::Undated)?.timestamp();
        Ok(Self { parsed, from, until })
    }

    /// The issuer's common name; none where there are two.
    pub(super) fn issuer(&self) -> Option<&str> {
        let mut names = self.parsed.issuer().iter_common_name();
        let name = names.next()?.as_str().ok()?;
        names.next().is_none().then_some(name)
    }

    /// Whether `at`, in seconds since 1970, lies within its dates; both ends belong to them.
    pub(super) fn in_force(&self, at: i64) -> Result<(), NotInForce> {
        within(at, self.from, self.until)
    }

    /// The first and the last second of its dates, since 1970.
    pub(super) const fn dates(&self) -> (i64, i64) {
        (self.from, self.until)
    }

    /// Whether this RSA key signed it: RSASSA-PSS, SHA-384, 48 bytes of salt.
    pub(super) fn is_signed_by_rsa(&self, key: &RsaPublicKeyComponents<Vec<u8>>) -> bool {
        let message = self.parsed.tbs_cert_list.as_ref();
        let signature = &self.parsed.signature_value.data;
        self.parsed.signature_algorithm.algorithm == oid!(1.2.840.113549.1.1.10)
            && key.verify(&RSA_PSS_2048_8192_SHA384, message, signature).is_ok()
    }

    /// Whether it revokes the certificate with this serial number, whose leading zeros do not count.
    pub(super) fn lists(&self, serial: &[u8]) -> bool {
        let serial = significant(serial);
        self.parsed
            .iter_revoked_certificates()
            .any(|entry| significant(entry.raw_serial()) == serial)
    }
}

/// Whether the parts outside the signed one have their one form (RFC 5280, section 5.1).
fn framed(mut der: &[u8]) -> Option<()> {
    let mut parts = der::expect(&mut der, der::SEQUENCE)?.content;
    let mut signed = der::expect(&mut parts, der::SEQUENCE)?.content;
    let algorithm = der::expect(&mut parts, der::SEQUENCE)?.whole;
    let signature = der::expect(&mut parts, der::BIT_STRING)?.content;
    let _version = der::expect(&mut signed, der::INTEGER)?;
    let inner = der::expect(&mut signed, der::SEQUENCE)?.whole;
    let framed = der.is_empty() && parts.is_empty() && signature.first() == Some(&0);
    (framed && inner == algorithm).then_some(())
}
