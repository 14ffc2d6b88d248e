//! Padding of streamed events: who watches the line must not read token lengths off it.
//!
//! Every event is padded to one of few lengths: that of an event with an empty delta, plus whole
//! buckets. The bucket is wider than nearly every token, and a random bit adds one more, so a
//! length says next to nothing about the text. The characters are random too, else a compressing
//! proxy would undo the work. Randomness comes from the operating system, many bytes at a time.

/// Bytes in one step of an event's length.
pub(super) const BUCKET_BYTES: usize = 32;
/// Random bytes fetched at once.
const POOL_BYTES: usize = 512;
/// What a padded event has besides its padding.
const PADDING_KEY: &[u8] = b",\"obfuscation\":\"";
/// 64 characters that JSON does not escape: a byte's low six bits choose one.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[derive(Debug)]
pub(super) struct Padding {
    /// Bytes of an event with an empty delta and no padding.
    base_bytes: usize,
    pool: [u8; POOL_BYTES],
    left: usize,
}

impl Padding {
    pub(super) fn new(base_bytes: usize) -> Self {
        Self { base_bytes, pool: [0; POOL_BYTES], left: 0 }
    }

    /// For events whose JSON has `empty_bytes` bytes with an empty delta.
    pub(super) fn of_events(empty_bytes: usize) -> Self {
        Self::new(empty_bytes + PADDING_KEY.len() + 1)
    }

    /// Puts `obfuscation` behind the last key of an event's JSON object.
    pub(super) fn close_event(&mut self, json: &mut Vec<u8>) {
        json.pop();
        json.extend_from_slice(PADDING_KEY);
        self.append(json.len() + 2, json);
        json.extend_from_slice(b"\"}");
    }

    /// Appends the padding for an event that has `event_bytes` bytes without it.
    pub(super) fn append(&mut self, event_bytes: usize, out: &mut Vec<u8>) {
        let extra_buckets = usize::from(self.random_byte() & 1);
        for _ in 0..padding_bytes(self.base_bytes, event_bytes, extra_buckets) {
            let place = usize::from(self.random_byte() & 63);
            out.push(ALPHABET[place]);
        }
    }

    fn random_byte(&mut self) -> u8 {
        if self.left == 0 {
            // Without randomness the padding still hides lengths, only its text is dull.
            if getrandom::fill(&mut self.pool).is_err() {
                self.pool.fill(0);
            }
            self.left = POOL_BYTES;
        }
        self.left -= 1;
        self.pool[self.left]
    }
}

/// The bytes that bring an event to a whole number of buckets above the base, at least one.
fn padding_bytes(base_bytes: usize, event_bytes: usize, extra_buckets: usize) -> usize {
    let above = event_bytes.saturating_sub(base_bytes);
    let buckets = above.div_ceil(BUCKET_BYTES).max(1) + extra_buckets;
    base_bytes + buckets * BUCKET_BYTES - event_bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn events_land_on_buckets(base in 0_usize..400, event in 0_usize..4000, extra in 0_usize..2) {
            let padded = event + padding_bytes(base, event, extra);
            prop_assert!(padded > base);
            prop_assert_eq!((padded - base) % BUCKET_BYTES, 0);
        }
    }

    #[test]
    fn short_tokens_are_all_alike() {
        let lengths: Vec<_> =
            (0..=32).map(|token| token + padding_bytes(100, 100 + token, 0)).collect();
        assert!(lengths.iter().all(|length| *length == BUCKET_BYTES), "{lengths:?}");
    }

    #[test]
    fn padding_needs_no_escape() {
        let mut out = Vec::new();
        Padding::new(0).append(5, &mut out);
        assert!(!out.is_empty() && out.iter().all(|byte| ALPHABET.contains(byte)));
    }
}
