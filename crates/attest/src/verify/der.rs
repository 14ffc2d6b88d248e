//! Just enough of DER to take apart what must be taken literally.
//!
//! Shape: [`next`] and [`expect`] split one element off a slice. Tags of one byte only.
//! Invariants: a length is in its shortest form and within the input, or there is no element.

/// A sequence, the one constructed type that callers walk.
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;

#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// With tag and length.
    pub(super) whole: &'a [u8],
}

/// Splits the next element off `input`.
pub(super) fn next<'a>(input: &mut &'a [u8]) -> Option<Element<'a>> {
    let all = *input;
    let (header, length) = match *all {
        [_, short @ 0..=0x7f, ..] => (2, usize::from(short)),
        [_, 0x81, length @ 0x80..=0xff, ..] => (3, usize::from(length)),
        [_, 0x82, high @ 1..=0xff, low, ..] => (4, usize::from(high) << 8 | usize::from(low)),
        _ => return None,
    };
    let (whole, rest) = all.split_at_checked(header + length)?;
    *input = rest;
    Some(Element { tag: whole[0], content: &whole[header..], whole })
}

/// Splits the next element off `input`, which has to have this tag.
pub(super) fn expect<'a>(input: &mut &'a [u8], tag: u8) -> Option<Element<'a>> {
    next(input).filter(|element| element.tag == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_have_one_form() {
        let split = |mut input: &[u8]| next(&mut input).map(|element| element.content.len());
        assert_eq!(split(&[4, 1, 9]), Some(1));
        assert_eq!(split(&[4, 0x81, 1, 9]), None);
        assert_eq!(split(&[4, 0x82, 0, 1, 9]), None);
        assert_eq!(split(&[4, 2, 9]), None);
        assert_eq!(split(&[4]), None);
        assert_eq!(split(&[]), None);
    }

    proptest! {
        #[test]
        fn elements_are_what_they_were_cut_from(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut rest = bytes.as_slice();
            let mut cut = Vec::new();
            while let Some(element) = next(&mut rest) {
                prop_assert!(element.whole.ends_with(element.content));
                cut.extend_from_slice(element.whole);
            }
            cut.extend_from_slice(rest);
            prop_assert_eq!(cut, bytes);
        }
    }
}
