//! What follows from an API key's secret and an idempotency key: where the answer is, what it is
//! sealed with, and what compares requests.
//!
//! HKDF-SHA256 (RFC 5869) with the secret as input. The store has the secret's plain SHA-256, so
//! that would not do; from the secret itself, 134 unknown bits, nothing leads back. Guessing a
//! prompt against `request_mac` needs the secret too.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::key::IdempotencyKey;

const SALT: &[u8] = b"cocoon/idempotency/v1";
const LOOKUP: &[u8] = b"cocoon/idempotency/v1/lookup\0";
const ANSWER: &[u8] = b"cocoon/idempotency/v1/answer\0";
const REQUEST: &[u8] = b"cocoon/idempotency/v1/request\0";

/// Three independent values of 32 bytes. Only the first is ever stored.
#[derive(Clone)]
pub(super) struct Derived {
    lookup: [u8; 32],
    answer_key: Zeroizing<[u8; 32]>,
    request_key: Zeroizing<[u8; 32]>,
}

impl Derived {
    pub(super) fn new(secret: &[u8], key: &IdempotencyKey) -> Self {
        let root = Hkdf::<Sha256>::new(Some(SALT), secret);
        let derive = |purpose: &[u8]| {
            let mut derived = Zeroizing::new([0; 32]);
            root.expand_multi_info(&[purpose, key.as_bytes()], &mut *derived)
                .expect("32 bytes are less than the 8160 that HKDF gives");
            derived
        };
        Self { lookup: *derive(LOOKUP), answer_key: derive(ANSWER), request_key: derive(REQUEST) }
    }

    /// Under which the store finds it.
    pub(super) fn lookup(&self) -> &[u8; 32] {
        &self.lookup
    }

    /// What the answer is sealed with.
    pub(super) fn answer_key(&self) -> &[u8; 32] {
        &self.answer_key
    }

    /// Tells requests apart: the same endpoint and the same bytes are the same request.
    pub(super) fn request_mac(&self, endpoint: &str, body: &[u8]) -> [u8; 32] {
        let mac = Hmac::<Sha256>::new_from_slice(&*self.request_key);
        let mac = mac.expect("HMAC takes keys of any length");
        let mac = mac.chain_update(endpoint).chain_update([0]).chain_update(body);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Derived(…)")
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn derived(secret: &str, key: &'static str) -> Derived {
        let value = HeaderValue::from_static(key);
        let headers =
            HeaderMap::from_iter([(http::HeaderName::from_static("idempotency-key"), value)]);
        let key = IdempotencyKey::read(&headers).expect("valid").expect("there");
        Derived::new(secret.as_bytes(), &key)
    }

    /// The expectations were computed apart from this code, from the definitions of HKDF and HMAC.
    #[test]
    fn derivation_is_what_it_was() {
        let derived = derived("sk-cocoon-v1-test-secret", "order-1");
        assert_eq!(
            hex::encode(derived.lookup()),
            "ed58a040502939d408d71a7c631b6394a8ee3d928810d9ca65642d8b8aff07e4"
        );
        assert_eq!(
            hex::encode(derived.answer_key()),
            "165846ddc75fb97adba66040d81f73a1735613575868309c99ca931a75eb6bd2"
        );
        assert_eq!(
            hex::encode(*derived.request_key),
            "b5506a441a6519983f30ee9eab29ccb9f4a8a37063c9aa91332a9711c79e665d"
        );
        let mac = derived.request_mac("/v1/chat/completions", b"{\"model\":\"m\"}");
        assert_eq!(
            hex::encode(mac),
            "d3c4567ed070973eeaac3ba39755cfd135f8066f166cc11451568eebae2fcd61"
        );
        assert_eq!(format!("{derived:?}"), "Derived(…)");
    }

    #[test]
    fn every_input_changes_it() {
        let one = derived("secret", "a");
        for other in [derived("secret", "b"), derived("other", "a")] {
            assert_ne!(one.lookup(), other.lookup());
            assert_ne!(one.answer_key(), other.answer_key());
            assert_ne!(one.request_mac("/e", b"x"), other.request_mac("/e", b"x"));
        }
        let mac = one.request_mac("/e", b"x");
        assert_ne!(mac, one.request_mac("/e", b"y"));
        assert_ne!(mac, one.request_mac("/f", b"x"));
        // The border between endpoint and body cannot be moved.
        assert_ne!(one.request_mac("/e", b"xy"), one.request_mac("/ex", b"y"));
        assert_eq!(mac, derived("secret", "\"a\"").request_mac("/e", b"x"));
    }
}
