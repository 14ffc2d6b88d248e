//! X.509 certificates of vendors: read strictly, checked over the bytes as they came.
//!
//! Shape: [`Certificate`] borrows its DER. It knows nothing of whom to trust: the modules of each kind
//! of evidence pin that.
//! Invariants: one certificate and nothing behind it, at most [`DER_BYTES_MAX`] bytes; the signature
//! is over the received bytes, never a re-encoding; what no signature covers has one form only: the
//! framing is the shortest, and the outer algorithm is the inner one, byte for byte.

use super::der;
use ring::signature::{
    ECDSA_P384_SHA384_ASN1, RSA_PSS_2048_8192_SHA384, RsaPublicKeyComponents, UnparsedPublicKey,
};
use x509_parser::der_parser::{Oid, oid};
use x509_parser::oid_registry::{OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};

/// Vendors' certificates have about one and a half thousand bytes.
pub const DER_BYTES_MAX: usize = 8 * 1024;

/// The length of an uncompressed point on P-384.
const POINT_BYTES: usize = 97;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the certificate is too large")]
    TooLarge,
    #[error("not one X.509 certificate of version 3 in DER")]
    NotACertificate,
    #[error("the certificate is not framed in DER, or it names two signature algorithms")]
    Framing,
    #[error("the certificate has a critical extension that is not understood")]
    Critical,
}

/// When a certificate is not in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotInForce {
    #[error("not valid yet")]
    NotYet,
    #[error("expired")]
    Expired,
}

#[derive(Debug)]
pub(super) struct Certificate<'a> {
    parsed: X509Certificate<'a>,
}

impl<'a> Certificate<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Self, Malformed> {
        if der.len() > DER_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|_| Malformed::NotACertificate)?;
        let whole = rest.is_empty() && parsed.signature_value.unused_bits == 0;
        if !whole || parsed.version() != X509Version::V3 || parsed.extensions_map().is_err() {
            return Err(Malformed::NotACertificate);
        }
        framed(der).ok_or(Malformed::Framing)?;
        let understood = |oid: &Oid<'_>| {
            *oid == OID_X509_EXT_BASIC_CONSTRAINTS || *oid == OID_X509_EXT_KEY_USAGE
        };
        if parsed.extensions().iter().any(|ext| ext.critical && !understood(&ext.oid)) {
            return Err(Malformed::Critical);
        }
        Ok(Self { parsed })
    }

    /// The subject's common name; none where there are two.
    pub(super) fn subject(&self) -> Option<&str> {
        let mut names = self.parsed.subject().iter_common_name();
        let name = names.next()?.as_str().ok()?;
        names.next().is_none().then_some(name)
    }

    /// The issuer's common name; none where there are two.
    pub(super) fn issuer(&self) -> Option<&str> {
        let mut names = self.parsed.issuer().iter_common_name();
        let name = names.next()?.as_str().ok()?;
        names.next().is_none().then_some(name)
    }

    /// The serial number's bytes, as they are signed.
    pub(super) fn serial(&self) -> &'a [u8] {
        self.parsed.raw_serial()
    }

    /// The bytes of the extension `dotted`, undecoded.
    pub(super) fn extension(&self, dotted: &str) -> Option<&'a [u8]> {
        let found = |oid: &Oid<'_>| oid.to_id_string() == dotted;
        self.parsed.extensions().iter().find(|ext| found(&ext.oid)).map(|ext| ext.value)
    }

    /// Whether it may sign a certificate that has `below` further authorities under it.
    fn is_authority_over(&self, below: u32) -> bool {
        let basic = self.parsed.basic_constraints().ok().flatten().is_some_and(|basic| {
            basic.value.ca && basic.value.path_len_constraint.is_none_or(|limit| limit >= below)
        });
        let usage = self.parsed.key_usage().ok().flatten();
        basic && usage.is_some_and(|usage| usage.value.key_cert_sign())
    }

    /// Whether it is one that signs evidence and no certificates.
    pub(super) fn is_signer(&self) -> bool {
        let authority = self.parsed.basic_constraints().ok().flatten().is_some_and(|b| b.value.ca);
        let usage = self.parsed.key_usage().ok().flatten();
        !authority
            && usage.is_some_and(|usage| {
                usage.value.digital_signature() && !usage.value.key_cert_sign()
            })
    }

    /// The key, where it is a point on P-384 that is written out in full.
    pub(super) fn p384_point(&self) -> Option<&[u8]> {
        let spki = self.parsed.public_key();
        let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
        let key = &spki.subject_public_key;
        let right = spki.algorithm.algorithm == oid!(1.2.840.10045.2.1)
            && curve == oid!(1.3.132.0.34)
            && key.unused_bits == 0
            && key.data.len() == POINT_BYTES;
        right.then_some(key.data.as_ref())
    }

    /// The key, where it is one of RSA.
    #[cfg(feature = "soft-tee")]
    pub(super) fn rsa_key(&self) -> Option<RsaPublicKeyComponents<Vec<u8>>> {
        use x509_parser::public_key::PublicKey;
        let spki = self.parsed.public_key();
        let PublicKey::RSA(key) = spki.parsed().ok()? else { return None };
        let number = |bytes: &[u8]| bytes.strip_prefix(&[0]).unwrap_or(bytes).to_vec();
        Some(RsaPublicKeyComponents { n: number(key.modulus), e: number(key.exponent) })
    }

    /// Whether `at`, in seconds since 1970, lies within its dates; both ends belong to them.
    pub(super) fn in_force(&self, at: i64) -> Result<(), NotInForce> {
        let validity = self.parsed.validity();
        within(at, validity.not_before.timestamp(), validity.not_after.timestamp())
    }

    /// The first and the last second of its dates, since 1970.
    pub(super) fn dates(&self) -> (i64, i64) {
        let validity = self.parsed.validity();
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    }

    /// Whether this RSA key signed it: RSASSA-PSS, SHA-384, 48 bytes of salt.
    pub(super) fn is_signed_by_rsa(&self, key: &RsaPublicKeyComponents<Vec<u8>>) -> bool {
        self.parsed.signature_algorithm.algorithm == oid!(1.2.840.113549.1.1.10)
            && key.verify(&RSA_PSS_2048_8192_SHA384, self.message(), self.signature()).is_ok()
    }

    /// Whether this key on P-384 signed it: ECDSA, SHA-384.
    fn is_signed_by_p384(&self, point: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, point);
        self.parsed.signature_algorithm.algorithm == oid!(1.2.840.10045.4.3.3)
            && key.verify(self.message(), self.signature()).is_ok()
    }

    /// Whether `issuer`, with `below` further authorities under it, issued it: its name, its key, and
    /// its right to.
    pub(super) fn is_issued_by(&self, issuer: &Certificate<'_>, below: u32) -> bool {
        self.parsed.issuer().as_raw() == issuer.parsed.subject().as_raw()
            && issuer.is_authority_over(below)
            && issuer.p384_point().is_some_and(|point| self.is_signed_by_p384(point))
    }

    fn message(&self) -> &[u8] {
        self.parsed.tbs_certificate.as_ref()
    }

    fn signature(&self) -> &[u8] {
        &self.parsed.signature_value.data
    }
}

/// Whether the parts outside the signed one have their one form (RFC 5280, section 4.1).
fn framed(mut der: &[u8]) -> Option<()> {
    let mut parts = der::expect(&mut der, der::SEQUENCE)?.content;
    let mut signed = der::expect(&mut parts, der::SEQUENCE)?.content;
    let algorithm = der::expect(&mut parts, der::SEQUENCE)?.whole;
    let signature = der::expect(&mut parts, der::BIT_STRING)?.content;
    let _version = der::next(&mut signed)?;
    let _serial = der::expect(&mut signed, der::INTEGER)?;
    let inner = der::expect(&mut signed, der::SEQUENCE)?.whole;
    let framed = der.is_empty() && parts.is_empty() && signature.first() == Some(&0);
    (framed && inner == algorithm).then_some(())
}

/// A serial number without the zeros in front, of which DER puts one where the first bit is set.
pub(crate) fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

pub(super) fn within(at: i64, from: i64, until: i64) -> Result<(), NotInForce> {
    if at < from {
        return Err(NotInForce::NotYet);
    }
    if at > until { Err(NotInForce::Expired) } else { Ok(()) }
}
