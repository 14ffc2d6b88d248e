//! Lengths in few steps: what a body or a frame is padded to.

use zeroize::Zeroizing;

use crate::suite::TAG_BYTES;

/// Bytes in a sealed body at most.
pub const SEALED_BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes in a body at most, before it is sealed: the widest bucket that still fits.
pub const BODY_BYTES_MAX: usize = SEALED_BODY_BYTES_MAX - 512 * 1024 - LENGTH_BYTES;
/// The narrowest step.
pub(crate) const STEP_BYTES: usize = 256;
/// Before the text there is its length.
pub(crate) const LENGTH_BYTES: usize = 4;

/// `bytes` rounded up to its bucket. A number of n bits keeps its highest log₂ n bits, as in
/// Padmé, and no bucket is narrower than [`STEP_BYTES`]: at most an eighth is lost above 4 KiB.
pub(crate) fn bucket(bytes: usize) -> usize {
    let exponent = bytes.max(1).ilog2();
    let kept = exponent.max(1).ilog2() + 1;
    let step = STEP_BYTES.max(1 << exponent.saturating_sub(kept));
    bytes.max(1).next_multiple_of(step)
}

/// `u32be length ‖ text ‖ zeros`, in one bucket. `None` where the text is over its bound.
pub(crate) fn pad(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if text.len() > BODY_BYTES_MAX {
        return None;
    }
    let length = u32::try_from(text.len()).ok()?;
    let whole = bucket(LENGTH_BYTES + text.len());
    let mut out = Zeroizing::new(Vec::with_capacity(whole + TAG_BYTES));
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text);
    out.resize(whole, 0);
    Some(out)
}

/// Takes the padding off. `None` where it is not what [`pad`] writes.
pub(crate) fn unpad(mut padded: Zeroizing<Vec<u8>>) -> Option<Zeroizing<Vec<u8>>> {
    let length = u32::from_be_bytes(*padded.first_chunk::<LENGTH_BYTES>()?);
    let length = usize::try_from(length).ok().filter(|length| *length <= BODY_BYTES_MAX)?;
    let end = LENGTH_BYTES + length;
    let is_zero = padded.get(end..)?.iter().all(|byte| *byte == 0);
    if !is_zero || padded.len() != bucket(end) {
        return None;
    }
    padded.copy_within(LENGTH_BYTES..end, 0);
    padded.truncate(length);
    Some(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_few_and_never_much_wider() {
        let table = [
            (0, 256),
            (1, 256),
            (256, 256),
            (257, 512),
            (4096, 4096),
            (4097, 4352),
            (8193, 8704),
            (1 << 20, 1 << 20),
            ((1 << 20) + 1, (1 << 20) + (1 << 15)),
        ];
        for (bytes, expected) in table {
            assert_eq!(bucket(bytes), expected, "{bytes}");
        }
        for bytes in (4096..BODY_BYTES_MAX).step_by(9973) {
            assert!(bucket(bytes) - bytes <= bytes / 8, "{bytes}");
        }
    }

    #[test]
    fn the_longest_body_still_fits() {
        let padded = pad(&vec![1; BODY_BYTES_MAX]).unwrap();
        assert!(padded.len() + TAG_BYTES <= SEALED_BODY_BYTES_MAX);
        assert_eq!(unpad(padded).unwrap().len(), BODY_BYTES_MAX);
        assert!(pad(&vec![1; BODY_BYTES_MAX + 1]).is_none());
    }

    #[test]
    fn padding_has_one_form() {
        let padded = pad(b"text").unwrap();
        assert_eq!(padded.len(), 256);
        let mutated = |change: fn(&mut Vec<u8>)| {
            let mut padded = padded.clone();
            change(&mut padded);
            unpad(padded)
        };
        assert_eq!(mutated(|_| {}).unwrap().as_slice(), b"text");
        assert!(mutated(|padded| padded[255] = 1).is_none());
        assert!(mutated(|padded| padded[0] = 1).is_none());
        assert!(mutated(|padded| padded.truncate(255)).is_none());
        assert!(mutated(|padded| padded.resize(512, 0)).is_none());
        assert!(mutated(Vec::clear).is_none());
    }
}
