//! The certificates of an NVIDIA device, from the key that signs reports up to NVIDIA's root.
//!
//! Invariants: the root's key is the one that is compiled in; each certificate is issued by the one
//! behind it, by name, key and right; the first one signs no certificates. Their dates run to the
//! year 9999: revocation is by OCSP alone, which is not asked here.

use x509_parser::pem::Pem;

use crate::verify::NvidiaRoot;
use crate::verify::certificate::{self, Certificate};
use crate::verify::der;

pub const CHAIN_BYTES_MAX: usize = 64 * 1024;
/// Today's chains have five certificates.
const CERTIFICATES: std::ops::RangeInclusive<usize> = 2..=8;

/// The key of "NVIDIA Device Identity CA", a point on P-384.
const ROOT: [&str; 3] = [
    "04",
    "0e4c14a33bf8a5626658db4129607e4cbf4519c4412716f4d0d917c4978005bdeabeaefd57bc66082d718a4f8b6052e1",
    "516ee8a7c422b84de857071bb58fd395bea0cfa1c63ee7c80d6bd63901d91cbbd187d3857dc16b5cceaf238ff8c27dbd",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("not two to eight certificates in PEM")]
    Pem,
    #[error("{0}")]
    Certificate(certificate::Malformed),
}

/// Reads PEM into the DER of each certificate.
pub(super) fn read(text: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    if text.len() > CHAIN_BYTES_MAX {
        return Err(Malformed::Pem);
    }
    let mut chain = Vec::new();
    for pem in Pem::iter_from_buffer(text) {
        let pem = pem.map_err(|_| Malformed::Pem)?;
        if pem.label != "CERTIFICATE" || chain.len() == *CERTIFICATES.end() {
            return Err(Malformed::Pem);
        }
        chain.push(pem.contents);
    }
    if chain.len() < *CERTIFICATES.start() { Err(Malformed::Pem) } else { Ok(chain) }
}

/// Whether `chain`, the signer first, leads to that root.
pub(super) fn is_trusted(chain: &[Certificate<'_>], trusted: NvidiaRoot<'_>) -> bool {
    let (Some(signer), Some(root)) = (chain.first(), chain.last()) else {
        return false;
    };
    let issued = chain.windows(2).zip(0..).all(|(pair, below)| match pair {
        [subject, issuer] => subject.is_issued_by(issuer, below),
        _ => false,
    });
    let Some(pinned) = key(trusted) else { return false };
    let below = u32::try_from(chain.len()).unwrap_or(u32::MAX).saturating_sub(2);
    issued
        && signer.is_signer()
        && root.p384_point() == Some(pinned.as_slice())
        && root.is_issued_by(root, below)
}

/// The root's key as a point; none where the caller's root is no such certificate.
fn key(root: NvidiaRoot<'_>) -> Option<Vec<u8>> {
    match root {
        NvidiaRoot::Nvidia => {
            Some(hex::decode(ROOT.concat()).expect("the constant is hexadecimal"))
        }
        #[cfg(feature = "soft-tee")]
        NvidiaRoot::Software(der) => {
            Certificate::read(der).ok().and_then(|root| root.p384_point().map(<[u8]>::to_vec))
        }
        #[cfg(not(feature = "soft-tee"))]
        NvidiaRoot::Never(never, _) => match never {},
    }
}

/// The firmware's digest that the device's certificate was made for (TCG DICE). Hopper has it in a
/// composite identity, Blackwell among the fields of a TCB's description.
pub(super) fn firmware_id<'a>(signer: &Certificate<'a>) -> Option<&'a [u8]> {
    if let Some(mut identity) = signer.extension("2.23.133.5.4.1") {
        let mut fields = der::expect(&mut identity, der::SEQUENCE)?.content;
        let _version = der::expect(&mut fields, der::INTEGER)?;
        let _key = der::expect(&mut fields, der::SEQUENCE)?;
        return digest(&mut fields).filter(|_| fields.is_empty() && identity.is_empty());
    }
    let mut description = signer.extension("2.23.133.5.4.1.1")?;
    let mut fields = der::expect(&mut description, der::SEQUENCE)?.content;
    while let Some(field) = der::next(&mut fields) {
        if field.tag == FIRMWARE_IDS {
            let mut content = field.content;
            return digest(&mut content);
        }
    }
    None
}

/// `fwids`, field 6 of a DiceTcbInfo.
const FIRMWARE_IDS: u8 = 0xa6;
/// 2.16.840.1.101.3.4.2.2
const SHA384: [u8; 9] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];

fn digest<'a>(fields: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut pair = der::expect(fields, der::SEQUENCE)?.content;
    let hash = der::expect(&mut pair, der::OBJECT)?.content;
    let digest = der::expect(&mut pair, der::OCTET_STRING)?.content;
    (pair.is_empty() && hash == SHA384 && digest.len() == 48).then_some(digest)
}
