//! Changes to seeds, at places and in ways that a seed of random numbers decides.

/// Random numbers of splitmix64.
pub struct Random(u64);

/// Bytes that decoders look at more closely than at others.
const NOTABLE: [u8; 16] =
    [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'}', b'[', b']', b':', b',', b'\n', b'-', b'0', b'e'];

impl Random {
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Anything below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a length fits");
        usize::try_from(self.next() % limit).expect("it is below a length")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    /// `seed` with one to eight changes, some of them parts of `other`.
    pub fn changed(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(8) {
            self.change(&mut bytes, other);
        }
        bytes.truncate(crate::INPUT_BYTES_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        let end = (at + 1 + self.below(16)).min(bytes.len());
        match self.below(8) {
            0 => bytes.insert(at, self.byte()),
            1 if at < end => drop(bytes.drain(at..end)),
            2 => bytes.truncate(at),
            3 if !other.is_empty() => {
                let from = self.below(other.len());
                let until = (from + 1 + self.below(64)).min(other.len());
                bytes.splice(at..at, other[from..until].iter().copied());
            }
            4 if at < end => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            5 if at < bytes.len() => bytes[at] = NOTABLE[self.below(NOTABLE.len())],
            6 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            _ if at < bytes.len() => bytes[at] = self.byte(),
            _ => bytes.push(self.byte()),
        }
    }
}
