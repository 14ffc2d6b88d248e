//! Just enough of DER to write certificates and revocation lists.
//!
//! Shape: each function returns one element, and callers put elements into one another.
//! Invariants: every length has its shortest form. Contents have fewer than 65,536 bytes.

use cocoon_primitives::Timestamp;

pub(super) const NULL: [u8; 2] = [5, 0];

/// Unix seconds: from here on a time is written with four digits of its year (RFC 5280, 4.1.2.5).
const GENERALIZED_FROM: u64 = 2_524_608_000;

/// An element with this tag.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).expect("no certificate is that large");
    let [high, low] = length.to_be_bytes();
    let mut out = match (high, low) {
        (0, 0..=0x7f) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(&content);
    out
}

pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, parts)
}

pub(super) fn set(parts: &[&[u8]]) -> Vec<u8> {
    element(0x31, parts)
}

/// The context's own element `number`, constructed.
pub(super) fn context(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    element(0xa0 | number, parts)
}

pub(super) fn boolean(value: bool) -> Vec<u8> {
    element(1, &[&[if value { 0xff } else { 0 }]])
}

/// A number that is not negative, the most significant byte first.
pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = &bytes[start..];
    match digits.first() {
        None | Some(0x80..) => element(2, &[&[0], digits]),
        Some(_) => element(2, &[digits]),
    }
}

pub(super) fn enumerated(value: u8) -> Vec<u8> {
    element(10, &[&[value]])
}

pub(super) fn octets(bytes: &[u8]) -> Vec<u8> {
    element(4, &[bytes])
}

/// Whole bytes as a string of bits.
pub(super) fn bits(bytes: &[u8]) -> Vec<u8> {
    element(3, &[&[0], bytes])
}

pub(super) fn utf8(text: &str) -> Vec<u8> {
    element(12, &[text.as_bytes()])
}

pub(super) fn ia5(text: &str) -> Vec<u8> {
    element(22, &[text.as_bytes()])
}

/// An object identifier, from its dotted form.
pub(super) fn object(dotted: &str) -> Vec<u8> {
    let mut arcs = dotted.split('.').map(|arc| arc.parse::<u32>().expect("a number"));
    let (first, second) = (arcs.next().expect("two arcs"), arcs.next().expect("two arcs"));
    let mut content = Vec::new();
    for arc in std::iter::once(first * 40 + second).chain(arcs) {
        let digits = (0..5).rev().map(|place| (arc >> (7 * place)) & 0x7f);
        let mut digits: Vec<u32> = digits.skip_while(|digit| *digit == 0).collect();
        if digits.is_empty() {
            digits.push(0);
        }
        let last = digits.len() - 1;
        for (place, digit) in digits.into_iter().enumerate() {
            let more = if place < last { 0x80 } else { 0 };
            content.push(more | u8::try_from(digit).expect("seven bits"));
        }
    }
    element(6, &[&content])
}

/// A moment, in whole seconds. What lies behind the year 9999 is the year's end.
pub(super) fn time(at: Timestamp) -> Vec<u8> {
    let civil = super::civil(at);
    if at.as_seconds() < GENERALIZED_FROM {
        element(23, &[civil.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()])
    } else {
        element(24, &[civil.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use x509_parser::prelude::{FromDer as _, oid_registry};

    #[test]
    fn numbers_have_one_form() {
        assert_eq!(integer(&[]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(object("1.2.840.113741"), [6, 6, 42, 134, 72, 134, 248, 77]);
        assert_eq!(object("2.23.133.5.4.1"), [6, 6, 103, 129, 5, 5, 4, 1]);
        assert_eq!(object("1.3.0"), [6, 2, 43, 0]);
    }

    #[test]
    fn years_turn_to_four_digits_in_2050() {
        let at = |seconds| time(Timestamp::from_seconds(seconds));
        assert_eq!(&at(0)[2..], b"700101000000Z");
        assert_eq!(&at(2_524_607_999)[2..], b"491231235959Z");
        assert_eq!(&at(2_524_608_000)[2..], b"20500101000000Z");
        assert_eq!(&at(u64::MAX)[2..], b"99991230220000Z");
    }

    proptest! {
        #[test]
        fn elements_read_back(content in proptest::collection::vec(any::<u8>(), 0..1000)) {
            let written = octets(&content);
            let (rest, read) = <&[u8]>::from_der(&written).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(read, &content[..]);
        }

        #[test]
        fn identifiers_read_back(arcs in proptest::collection::vec(any::<u32>(), 1..8)) {
            let arcs: Vec<String> = arcs.iter().map(u32::to_string).collect();
            let dotted = format!("1.3.{}", arcs.join("."));
            let written = object(&dotted);
            let (_, read) = oid_registry::asn1_rs::Oid::from_der(&written).unwrap();
            prop_assert_eq!(read.to_id_string(), dotted);
        }
    }
}
