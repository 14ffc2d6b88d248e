//! Deterministic CBOR (RFC 8949 §4.2): unsigned integers, byte and text strings, arrays, maps.
//!
//! The decoder takes only what the encoder writes: definite lengths, shortest forms, and, where
//! a caller reads a map key by key, keys in their one order. So a value has exactly one encoding.

/// Bytes that are not the expected deterministic CBOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    #[error("the input ends early")]
    Short,
    #[error("bytes follow the value")]
    Trailing,
    #[error("another type was expected")]
    Type,
    #[error("the encoding is not the shortest")]
    NotShortest,
    #[error("a length or number is out of range")]
    Range,
    #[error("a map key is missing or misplaced")]
    Key,
    #[error("a text string is not valid")]
    Text,
}

const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

/// Writes values one after the other; the caller keeps counts and items in step.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub fn unsigned(&mut self, value: u64) -> &mut Self {
        self.head(UNSIGNED, value);
        self
    }

    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, length(value.len()));
        self.out.extend_from_slice(value);
        self
    }

    pub fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, length(value.len()));
        self.out.extend_from_slice(value.as_bytes());
        self
    }

    pub fn array(&mut self, items: usize) -> &mut Self {
        self.head(ARRAY, length(items));
        self
    }

    /// A map of `entries`; keys must follow in ascending order.
    pub fn map(&mut self, entries: usize) -> &mut Self {
        self.head(MAP, length(entries));
        self
    }

    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        let be = value.to_be_bytes();
        match value {
            0..=23 => self.out.push(major | be[7]),
            24..=0xff => self.out.extend_from_slice(&[major | 24, be[7]]),
            0x100..=0xffff => self.tail(major | 25, &be[6..]),
            0x1_0000..=0xffff_ffff => self.tail(major | 26, &be[4..]),
            _ => self.tail(major | 27, &be),
        }
    }

    fn tail(&mut self, initial: u8, value: &[u8]) {
        self.out.push(initial);
        self.out.extend_from_slice(value);
    }
}

fn length(length: usize) -> u64 {
    u64::try_from(length).expect("a length in memory fits in 64 bits")
}

/// Reads values one after the other.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Requires that everything was read.
    pub fn finish(self) -> Result<(), CborError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CborError::Trailing) }
    }

    pub fn unsigned(&mut self) -> Result<u64, CborError> {
        self.head(UNSIGNED)
    }

    pub fn unsigned_32(&mut self) -> Result<u32, CborError> {
        u32::try_from(self.unsigned()?).map_err(|_| CborError::Range)
    }

    /// A byte string of at most `bytes_max`.
    pub fn bytes(&mut self, bytes_max: usize) -> Result<&'a [u8], CborError> {
        let length = self.head(BYTES)?;
        self.take(length, bytes_max)
    }

    /// A byte string of exactly `N`.
    pub fn bytes_exact<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        self.bytes(N)?.try_into().map_err(|_| CborError::Range)
    }

    /// A text string of at most `bytes_max`.
    pub fn text(&mut self, bytes_max: usize) -> Result<&'a str, CborError> {
        let length = self.head(TEXT)?;
        std::str::from_utf8(self.take(length, bytes_max)?).map_err(|_| CborError::Text)
    }

    /// The number of items that follow, at most `items_max`.
    pub fn array(&mut self, items_max: usize) -> Result<usize, CborError> {
        let items = usize::try_from(self.head(ARRAY)?).map_err(|_| CborError::Range)?;
        if items > items_max { Err(CborError::Range) } else { Ok(items) }
    }

    /// A map of exactly `entries`.
    pub fn map(&mut self, entries: u64) -> Result<(), CborError> {
        if self.head(MAP)? == entries { Ok(()) } else { Err(CborError::Key) }
    }

    /// The integer key that must come next.
    pub fn key(&mut self, key: u64) -> Result<&mut Self, CborError> {
        if self.unsigned().map_err(|_| CborError::Key)? == key {
            Ok(self)
        } else {
            Err(CborError::Key)
        }
    }

    fn take(&mut self, length: u64, bytes_max: usize) -> Result<&'a [u8], CborError> {
        let length = usize::try_from(length).map_err(|_| CborError::Range)?;
        if length > bytes_max {
            return Err(CborError::Range);
        }
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CborError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn head(&mut self, major: u8) -> Result<u64, CborError> {
        let (&initial, rest) = self.rest.split_first().ok_or(CborError::Short)?;
        if initial >> 5 != major {
            return Err(CborError::Type);
        }
        let (width, least) = match initial & 0x1f {
            direct @ 0..=23 => {
                self.rest = rest;
                return Ok(u64::from(direct));
            }
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return Err(CborError::Type),
        };
        let (digits, rest) = rest.split_at_checked(width).ok_or(CborError::Short)?;
        let value = digits.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        if value < least {
            return Err(CborError::NotShortest);
        }
        self.rest = rest;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_forms_are_refused() {
        for bytes in [&[0x18, 23][..], &[0x19, 0, 255], &[0x1a, 0, 0, 255, 255], &[0x1f]] {
            assert!(Decoder::new(bytes).unsigned().is_err(), "{bytes:?} was read");
        }
    }

    proptest! {
        #[test]
        fn integers_read_back(value: u64) {
            let mut out = Encoder::new();
            out.unsigned(value);
            let bytes = out.into_bytes();
            let mut reader = Decoder::new(&bytes);
            prop_assert_eq!(reader.unsigned(), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Decoder::new(&bytes).bytes(16);
            let _ = Decoder::new(&bytes).text(16);
            let _ = Decoder::new(&bytes).array(16);
            let _ = Decoder::new(&bytes).bytes_exact::<4>();
        }
    }
}
