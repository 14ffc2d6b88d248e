//! Certificates and revocation lists of our own, in the form that vendors' have.
//!
//! Invariants: every name says that there is no hardware behind it; serial numbers follow from name
//! and key; dates are arguments, and certificates hold from 1970 to 2049, so that any clock of a
//! test lies within.

use cocoon_primitives::Timestamp;

use super::key::Key;
use super::{LABEL, Window, der};

const FROM: Timestamp = Timestamp::EPOCH;
/// The last second of 2049.
pub(super) const UNTIL: Timestamp = Timestamp::from_seconds(2_524_607_999);

const COMMON_NAME: &str = "2.5.4.3";
const ORGANIZATION: &str = "2.5.4.10";
const SUBJECT_KEY: &str = "2.5.29.14";
const KEY_USAGE: &str = "2.5.29.15";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const REVOCATION_NUMBER: &str = "2.5.29.20";
const AUTHORITY_KEY: &str = "2.5.29.35";

/// Somebody who issues: a name and its key.
pub(super) struct Authority {
    common_name: &'static str,
    pub(super) key: Key,
}

/// An extension that is not critical: its identifier and its content in DER.
pub(super) type Extension = (String, Vec<u8>);

impl Authority {
    pub(super) fn new(common_name: &'static str, key: Key) -> Self {
        Self { common_name, key }
    }

    /// A certificate over its own key.
    pub(super) fn own(&self) -> Vec<u8> {
        self.certificate(self.common_name, &self.key, true, &[])
    }

    /// A certificate for another authority.
    pub(super) fn delegate(&self, subject: &Self) -> Vec<u8> {
        self.certificate(subject.common_name, &subject.key, true, &[])
    }

    /// A certificate for a key that signs evidence.
    pub(super) fn endorse(&self, name: &str, key: &Key, extensions: &[Extension]) -> Vec<u8> {
        self.certificate(name, key, false, extensions)
    }

    fn certificate(&self, subject: &str, key: &Key, ca: bool, own: &[Extension]) -> Vec<u8> {
        let constraints =
            if ca { der::sequence(&[&der::boolean(true)]) } else { der::sequence(&[]) };
        // keyCertSign and cRLSign, or digitalSignature and nonRepudiation: unused bits, then the bits.
        let usage: [u8; 2] = if ca { [1, 0x06] } else { [6, 0xc0] };
        let mut extensions = vec![
            extension(BASIC_CONSTRAINTS, true, &constraints),
            extension(KEY_USAGE, true, &der::element(3, &[&usage])),
            extension(SUBJECT_KEY, false, &der::octets(&key_id(key))),
            self.authority_key(),
        ];
        extensions.extend(own.iter().map(|(oid, content)| extension(oid, false, content)));
        self.signed(&[
            &der::context(0, &[&der::integer(&[2])]),
            &der::integer(&serial(subject, key)),
            &self.key.algorithm(),
            &name(self.common_name),
            &der::sequence(&[&der::time(FROM), &der::time(UNTIL)]),
            &name(subject),
            &key.spki(),
            &der::context(3, &[&der::sequence(&[&extensions.concat()])]),
        ])
    }

    /// A list of revoked certificates: those with these serial numbers.
    pub(super) fn revocations(&self, window: Window, revoked: &[[u8; 16]]) -> Vec<u8> {
        let (from, until) = (window.from, window.until);
        let entry = |serial: &[u8; 16]| der::sequence(&[&der::integer(serial), &der::time(from)]);
        let entries: Vec<u8> = revoked.iter().flat_map(entry).collect();
        // Without entries there is no list of them (RFC 5280, 5.1.2.6).
        let entries = if revoked.is_empty() { entries } else { der::sequence(&[&entries]) };
        let number = extension(REVOCATION_NUMBER, false, &der::integer(&[1]));
        self.signed(&[
            &der::integer(&[1]),
            &self.key.algorithm(),
            &name(self.common_name),
            &der::time(from),
            &der::time(until),
            &entries,
            &der::context(0, &[&der::sequence(&[&self.authority_key(), &number])]),
        ])
    }

    fn authority_key(&self) -> Vec<u8> {
        let id = der::element(0x80, &[&key_id(&self.key)]);
        extension(AUTHORITY_KEY, false, &der::sequence(&[&id]))
    }

    fn signed(&self, parts: &[&[u8]]) -> Vec<u8> {
        let body = der::sequence(parts);
        let signature = self.key.sign(&body);
        der::sequence(&[&body, &self.key.algorithm(), &der::bits(&signature)])
    }
}

fn extension(oid: &str, critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if critical { der::boolean(true) } else { Vec::new() };
    der::sequence(&[&der::object(oid), &critical, &der::octets(content)])
}

/// The serial number of this key's certificate: positive, and of one length.
pub(super) fn serial(subject: &str, key: &Key) -> [u8; 16] {
    let digest = crate::sha256(&[subject.as_bytes(), &key.spki()]);
    let mut serial: [u8; 16] = *digest.first_chunk().expect("16 of 32 bytes");
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}

fn name(common_name: &str) -> Vec<u8> {
    let part = |oid, text| der::set(&[&der::sequence(&[&der::object(oid), &der::utf8(text)])]);
    der::sequence(&[&part(ORGANIZATION, LABEL), &part(COMMON_NAME, common_name)])
}

fn key_id(key: &Key) -> [u8; 20] {
    *crate::sha256(&[&key.public()]).first_chunk().expect("20 of 32 bytes")
}

pub(super) fn pem(certificates: &[&[u8]]) -> String {
    use base64::Engine as _;
    let mut out = String::new();
    for der in certificates {
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        for line in text.as_bytes().chunks(64) {
            out.extend(line.iter().copied().map(char::from));
            out.push('\n');
        }
        out.push_str("-----END CERTIFICATE-----\n");
    }
    out
}
