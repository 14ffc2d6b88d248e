//! The few forms of deterministic CBOR that the authenticated head is made of.

const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;

/// Writes items one after the other; whoever opens an array writes as many as it says.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn array(&mut self, items: u64) -> &mut Self {
        self.head(ARRAY, items)
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.string(TEXT, text.as_bytes())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.string(BYTES, bytes)
    }

    pub(crate) fn unsigned(&mut self, value: u64) -> &mut Self {
        self.head(UNSIGNED, value)
    }

    pub(crate) fn boolean(&mut self, value: bool) -> &mut Self {
        self.0.push(if value { 0xf5 } else { 0xf4 });
        self
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn string(&mut self, major: u8, bytes: &[u8]) -> &mut Self {
        self.head(major, u64::try_from(bytes.len()).expect("a length fits in 64 bits"));
        self.0.extend_from_slice(bytes);
        self
    }

    /// The shortest form, which is the only one.
    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let major = major << 5;
        if let Ok(byte) = u8::try_from(value) {
            match byte {
                0..=23 => self.0.push(major | byte),
                _ => self.0.extend_from_slice(&[major | 24, byte]),
            }
        } else if let Ok(short) = u16::try_from(value) {
            self.0.push(major | 25);
            self.0.extend_from_slice(&short.to_be_bytes());
        } else if let Ok(word) = u32::try_from(value) {
            self.0.push(major | 26);
            self.0.extend_from_slice(&word.to_be_bytes());
        } else {
            self.0.push(major | 27);
            self.0.extend_from_slice(&value.to_be_bytes());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_its_shortest_form() {
        let mut out = Encoder::new();
        out.array(10).unsigned(23).unsigned(24).unsigned(255).unsigned(256).unsigned(65_536);
        out.unsigned(1 << 32).text("é").bytes(&[1, 2]).boolean(false).boolean(true);
        let expected = "8a17181818ff1901001a000100001b000000010000000062c3a9420102f4f5";
        assert_eq!(hex::encode(out.into_bytes()), expected);
    }
}
