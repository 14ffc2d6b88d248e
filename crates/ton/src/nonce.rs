//! The text that a wallet is asked to sign: single use, short-lived, bound to one attempt.
//!
//! Shape: `base64url(random16 ‖ expires_at_seconds u64 BE ‖ tag16)`, where the tag is the first
//! half of HMAC-SHA256 over a fixed prefix, the first 24 bytes and the attempt. Nothing is stored
//! when a nonce is issued, so asking for many of them fills no table; a store remembers only
//! the ids of nonces that were used, until they expire.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cocoon_primitives::Timestamp;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

const DOMAIN: &[u8] = b"cocoon/ton-proof-nonce/v1";
const RANDOM_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const BODY_BYTES: usize = RANDOM_BYTES + 8;
const NONCE_BYTES: usize = BODY_BYTES + TAG_BYTES;

/// Issues and checks nonces. The functions keep no state.
#[derive(Debug)]
pub struct NoncePayload;

/// A nonce that we issued for this attempt and that has not expired. Whether it was used before
/// only the store can say, by `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce {
    pub id: [u8; 16],
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    #[error("payload was not issued for this sign-in attempt")]
    Foreign,
    #[error("payload has expired")]
    Expired,
}

impl NoncePayload {
    /// Characters in a payload.
    pub const CHARS: usize = 54;

    /// `random` must be fresh for each call; `expires_at` is rounded down to a second.
    pub fn issue(key: &[u8; 32], random: [u8; 16], attempt: &str, expires_at: Timestamp) -> String {
        let mut bytes = [0; NONCE_BYTES];
        bytes[..RANDOM_BYTES].copy_from_slice(&random);
        bytes[RANDOM_BYTES..BODY_BYTES].copy_from_slice(&expires_at.as_seconds().to_be_bytes());
        let tag = mac(key, &bytes[..BODY_BYTES], attempt).finalize().into_bytes();
        bytes[BODY_BYTES..].copy_from_slice(&tag[..TAG_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The tag is compared in constant time, before the expiry is looked at.
    pub fn check(
        key: &[u8; 32],
        payload: &str,
        attempt: &str,
        now: Timestamp,
    ) -> Result<Nonce, NonceError> {
        if payload.len() != Self::CHARS {
            return Err(NonceError::Foreign);
        }
        let bytes: [u8; NONCE_BYTES] = URL_SAFE_NO_PAD
            .decode(payload)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(NonceError::Foreign)?;
        mac(key, &bytes[..BODY_BYTES], attempt)
            .verify_truncated_left(&bytes[BODY_BYTES..])
            .map_err(|_| NonceError::Foreign)?;
        let (mut id, mut seconds) = ([0; 16], [0; 8]);
        id.copy_from_slice(&bytes[..RANDOM_BYTES]);
        seconds.copy_from_slice(&bytes[RANDOM_BYTES..BODY_BYTES]);
        let expires_at = Timestamp::from_seconds(u64::from_be_bytes(seconds));
        if now >= expires_at {
            return Err(NonceError::Expired);
        }
        Ok(Nonce { id, expires_at })
    }
}

/// The body has a fixed length, so body and attempt cannot be confused with each other.
fn mac(key: &[u8; 32], body: &[u8], attempt: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(DOMAIN);
    mac.update(body);
    mac.update(attempt.as_bytes());
    mac
}
