//! What an API key looks like: `sk-cocoon-v1-<32 base62 characters><6 of checksum>`.
//!
//! The prefix and the checksum let secret scanners recognise a leaked key, and let the gateway
//! tell a mistyped key from an unknown one without looking anything up. The key's id is made
//! from the secret's first four characters and four bytes of its digest: the id can show the
//! recognisable part in a listing although the secret itself is not kept, and 28 characters, or
//! 134 bits after what the id tells, stay unknown.

use std::fmt;

use cocoon_primitives::KeyId;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

const PREFIX: &str = "sk-cocoon-v1-";
const RANDOM_CHARS: usize = 32;
const CHECK_CHARS: usize = 6;
const SHOWN_CHARS: usize = 4;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key's secret: in memory from its making to the one answer that shows it. Not printed.
pub struct KeySecret(Zeroizing<String>);

impl KeySecret {
    /// Characters of every key.
    pub const CHARS: usize = PREFIX.len() + RANDOM_CHARS + CHECK_CHARS;

    /// A fresh secret.
    pub fn generate() -> Self {
        let mut text = Zeroizing::new(String::with_capacity(Self::CHARS));
        text.push_str(PREFIX);
        while text.len() < PREFIX.len() + RANDOM_CHARS {
            // Bytes above the last multiple of 62 would favour the first letters.
            let bytes = Zeroizing::new(super::random::<RANDOM_CHARS>());
            let fair = bytes.iter().filter(|byte| **byte < 248);
            let room = PREFIX.len() + RANDOM_CHARS - text.len();
            for byte in fair.take(room) {
                text.push(char::from(BASE62[usize::from(byte % 62)]));
            }
        }
        let check = checksum(&text);
        text.push_str(&check);
        Self(text)
    }

    /// Reads what a client sent; `None` where it is not a key, or not typed as it was given out.
    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_prefix(PREFIX)?;
        if text.len() != Self::CHARS || !body.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let (signed, check) = text.split_at(PREFIX.len() + RANDOM_CHARS);
        (checksum(signed) == check).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The secret itself, for the one answer that shows it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored and looked up.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    pub fn key_id(&self) -> KeyId {
        let mut id = [0; KeyId::BYTES];
        let shown = &self.0.as_bytes()[PREFIX.len()..PREFIX.len() + SHOWN_CHARS];
        id[..SHOWN_CHARS].copy_from_slice(shown);
        id[SHOWN_CHARS..].copy_from_slice(&self.sha256()[..KeyId::BYTES - SHOWN_CHARS]);
        KeyId::from_bytes(id)
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(…)")
    }
}

/// The part of a key that its owner recognises, from the key's id.
pub fn masked(id: KeyId) -> String {
    let shown = id.as_bytes()[..SHOWN_CHARS].iter().map(|byte| char::from(*byte));
    let shown: String = shown.map(|c| if c.is_ascii_alphanumeric() { c } else { '?' }).collect();
    format!("{PREFIX}{shown}…")
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = ['0'; CHECK_CHARS];
    for digit in digits.iter_mut().rev() {
        let index = usize::try_from(rest % 62).expect("less than 62");
        *digit = char::from(BASE62[index]);
        rest /= 62;
    }
    digits.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_shows_only_its_head() {
        let secret = KeySecret::generate();
        let read = KeySecret::parse(secret.reveal()).unwrap();
        assert_eq!(read.sha256(), secret.sha256());
        assert_eq!(read.key_id(), secret.key_id());
        let masked = masked(secret.key_id());
        let head = masked.strip_suffix('…').unwrap();
        assert!(secret.reveal().starts_with(head));
        assert_eq!(head.len(), PREFIX.len() + SHOWN_CHARS);
        assert_eq!(format!("{secret:?}"), "KeySecret(…)");
    }

    #[test]
    fn two_keys_differ() {
        assert_ne!(KeySecret::generate().sha256(), KeySecret::generate().sha256());
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let good = KeySecret::generate().reveal().to_owned();
        let last = if good.ends_with('0') { "1" } else { "0" };
        let mistyped = format!("{}{last}", &good[..good.len() - 1]);
        for text in ["", "sk-", PREFIX, &good[1..], &mistyped, &format!("{good}0"), "sk-proj-x"] {
            assert!(KeySecret::parse(text).is_none(), "{text:?} was read as a key");
        }
    }
}
