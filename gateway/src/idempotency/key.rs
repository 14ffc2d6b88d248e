//! The `Idempotency-Key` header.

use std::fmt;

use http::HeaderMap;
use zeroize::Zeroizing;

use super::IdempotencyError;

const HEADER: &str = "idempotency-key";
const BYTES_MAX: usize = 255;
const QUOTE: u8 = b'"';
const ESCAPE: u8 = b'\\';

/// A client's name for one request: 1 to 255 visible ASCII bytes. Not printed.
#[derive(PartialEq, Eq)]
pub(super) struct IdempotencyKey(Zeroizing<Vec<u8>>);

impl IdempotencyKey {
    /// The key of a request; `None` where it has none. Two of them are none of them.
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>, IdempotencyError> {
        let mut values = headers.get_all(HEADER).into_iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => {
                Self::parse(value.as_bytes()).map(Some).ok_or(IdempotencyError::InvalidKey)
            }
            (Some(_), Some(_)) => Err(IdempotencyError::InvalidKey),
        }
    }

    /// A bare string, as most clients send it, or a String of RFC 9651 §3.3.3, as the draft asks
    /// for it: both forms of one string are one key. Parameters are not taken.
    fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let key = match value.strip_prefix(&[QUOTE]) {
            None => Zeroizing::new(value.to_vec()),
            Some(rest) => unquote(rest)?,
        };
        let is_visible = key.iter().all(u8::is_ascii_graphic);
        (is_visible && (1..=BYTES_MAX).contains(&key.len())).then_some(Self(key))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What stands between the quotes, the first of which is gone. RFC 9651 §4.2.5.
fn unquote(quoted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(quoted.len()));
    let mut bytes = quoted.iter().copied();
    loop {
        match bytes.next()? {
            QUOTE => break,
            ESCAPE => text.push(bytes.next().filter(|byte| [QUOTE, ESCAPE].contains(byte))?),
            byte => text.push(byte),
        }
    }
    bytes.next().is_none().then_some(text)
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn parsed(value: &[u8]) -> Option<Vec<u8>> {
        IdempotencyKey::parse(value).map(|key| key.as_bytes().to_vec())
    }

    #[test]
    fn both_forms_of_a_string_are_one_key() {
        let longest = "k".repeat(BYTES_MAX);
        for (value, key) in [
            ("abc", "abc"),
            ("  abc\t", "abc"),
            ("\"abc\"", "abc"),
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("a\"b", "a\"b"),
            ("a\\b", "a\\b"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            ("!", "!"),
            (longest.as_str(), longest.as_str()),
            (&format!("\"{longest}\""), longest.as_str()),
        ] {
            assert_eq!(parsed(value.as_bytes()).as_deref(), Some(key.as_bytes()), "{value}");
        }
    }

    #[test]
    fn what_is_no_visible_string_is_refused() {
        let too_long = "k".repeat(BYTES_MAX + 1);
        for value in [
            "",
            "  ",
            "\"\"",
            "\"",
            "\"abc",
            "\"abc\"x",
            "\"abc\";a=1",
            r#""a\b""#,
            r#""abc\"#,
            "a b",
            "\"a b\"",
            "a\tb",
            "caf\u{e9}",
            too_long.as_str(),
            &format!("\"{too_long}\""),
        ] {
            assert_eq!(parsed(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn a_request_has_one_key_or_none() {
        let headers = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, HeaderValue::from_static(value));
            }
            headers
        };
        assert!(matches!(IdempotencyKey::read(&headers(&[])), Ok(None)));
        let one = IdempotencyKey::read(&headers(&["a"])).expect("it is valid");
        assert_eq!(format!("{one:?}"), "Some(IdempotencyKey(…))");
        for values in [&["a", "a"][..], &[""], &["a", "b", "c"]] {
            let refused = IdempotencyKey::read(&headers(values));
            assert!(matches!(refused, Err(IdempotencyError::InvalidKey)), "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_key_or_are_refused(value in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(key) = parsed(&value) {
                prop_assert!(key.iter().all(u8::is_ascii_graphic));
                prop_assert!((1..=BYTES_MAX).contains(&key.len()));
            }
        }

        #[test]
        fn a_quoted_string_reads_back(key in "[!-~]{1,255}") {
            let mut quoted = String::from("\"");
            for character in key.chars() {
                if ['"', '\\'].contains(&character) {
                    quoted.push('\\');
                }
                quoted.push(character);
            }
            quoted.push('"');
            prop_assert_eq!(parsed(quoted.as_bytes()), Some(key.clone().into_bytes()));
            if !key.starts_with('"') {
                prop_assert_eq!(parsed(key.as_bytes()), Some(key.into_bytes()));
            }
        }
    }
}
