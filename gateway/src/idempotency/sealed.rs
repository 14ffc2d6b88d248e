//! The form in which an answer is kept: status, headers and body, sealed.
//!
//! `12 bytes nonce · ChaCha20-Poly1305 (RFC 8439) of (u32 length of the head · head as JSON · body)
//! · 16 bytes tag`, with lookup id and request id as associated data: an answer cannot be moved to
//! another key or request. A key seals one answer, or a few where requests that charged nothing
//! freed it, so a random nonce is plenty.

use bytes::{Buf, Bytes};
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce, Tag};
use cocoon_primitives::RequestId;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::derived::Derived;

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;

/// An answer as its client got it. Headers of the exchange itself, such as its id and its limits,
/// are not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordedAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl RecordedAnswer {
    /// Seals an answer whose body is elsewhere.
    pub(super) fn seal(
        (status, headers): (StatusCode, &HeaderMap),
        body: &[u8],
        derived: &Derived,
        request_id: RequestId,
    ) -> Vec<u8> {
        let head = Head { status: status.as_u16(), headers: kept(headers) };
        let head = serde_json::to_vec(&head).expect("a head is numbers and text");
        let length = u32::try_from(head.len()).expect("a head of ours is short");
        let nonce: [u8; NONCE_BYTES] = crate::auth::random();
        let plain = LENGTH_BYTES + head.len() + body.len();
        let mut sealed = Vec::with_capacity(NONCE_BYTES + plain + TAG_BYTES);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&length.to_be_bytes());
        sealed.extend_from_slice(&head);
        sealed.extend_from_slice(body);
        let cipher = ChaCha20Poly1305::new(derived.answer_key().into());
        let tag = cipher
            .encrypt_in_place_detached(
                &Nonce::from(nonce),
                &associated(derived, request_id),
                &mut sealed[NONCE_BYTES..],
            )
            .expect("an answer is shorter than the cipher's 256 GiB");
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// `None` where it was not sealed for this key and request, or has changed since.
    pub(super) fn open(
        mut sealed: Vec<u8>,
        derived: &Derived,
        request_id: RequestId,
    ) -> Option<Self> {
        let (rest, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>()?;
        let (nonce, text) = rest.split_first_chunk_mut::<NONCE_BYTES>()?;
        let text_end = NONCE_BYTES + text.len();
        ChaCha20Poly1305::new(derived.answer_key().into())
            .decrypt_in_place_detached(
                &Nonce::from(*nonce),
                &associated(derived, request_id),
                text,
                &Tag::from(*tag),
            )
            .ok()?;
        sealed.truncate(text_end);
        let mut plain = Bytes::from(sealed);
        plain.advance(NONCE_BYTES);
        Self::decode(plain)
    }

    fn decode(mut plain: Bytes) -> Option<Self> {
        let length = plain.try_get_u32().ok()?;
        let length = usize::try_from(length).ok().filter(|length| *length <= plain.len())?;
        let head: Head = serde_json::from_slice(&plain.split_to(length)).ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in head.headers {
            let name = HeaderName::try_from(name).ok()?;
            headers.append(name, HeaderValue::try_from(value).ok()?);
        }
        Some(Self { status: StatusCode::from_u16(head.status).ok()?, headers, body: plain })
    }
}

/// What describes the answer itself.
fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let is_kept = |name: &HeaderName| {
        [header::CONTENT_TYPE, header::CACHE_CONTROL].contains(name)
            || name == "x-accel-buffering"
            || name.as_str().starts_with("cocoon-")
    };
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        value.to_str().ok().map(|value| (name.to_string(), value.to_owned()))
    };
    headers.iter().filter(|(name, _)| is_kept(name)).filter_map(text).collect()
}

fn associated(derived: &Derived, request_id: RequestId) -> [u8; 48] {
    let mut data = [0; 48];
    data[..32].copy_from_slice(derived.lookup());
    data[32..].copy_from_slice(request_id.as_bytes());
    data
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::key::IdempotencyKey;
    use super::*;

    const REQUEST: RequestId = RequestId::from_bytes([3; 16]);

    fn derived(key: &'static str) -> Derived {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("idempotency-key"),
            HeaderValue::from_static(key),
        )]);
        let key = IdempotencyKey::read(&headers).expect("valid").expect("there");
        Derived::new(b"secret", &key)
    }

    fn sealed(body: &[u8]) -> Vec<u8> {
        let headers = HeaderMap::from_iter(
            [
                ("content-type", "application/json"),
                ("cocoon-receipt-id", "req_03"),
                ("x-request-id", "req_99"),
                ("x-ratelimit-remaining-requests", "7"),
            ]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
        );
        RecordedAnswer::seal((StatusCode::OK, &headers), body, &derived("a"), REQUEST)
    }

    #[test]
    fn an_answer_reads_back_without_the_headers_of_its_exchange() {
        let sealed = sealed(b"{\"id\":1}");
        assert!(!sealed.windows(4).any(|part| part == b"\"id\""), "the body is readable");
        let open = RecordedAnswer::open(sealed, &derived("a"), REQUEST).expect("it opens");
        assert_eq!((open.status, &open.body[..]), (StatusCode::OK, &b"{\"id\":1}"[..]));
        let mut names: Vec<_> = open.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["cocoon-receipt-id", "content-type"]);
    }

    #[test]
    fn an_answer_opens_for_its_key_and_request_alone() {
        let other = RequestId::from_bytes([4; 16]);
        assert!(RecordedAnswer::open(sealed(b"x"), &derived("b"), REQUEST).is_none());
        assert!(RecordedAnswer::open(sealed(b"x"), &derived("a"), other).is_none());
        for index in 0..sealed(b"x").len() {
            let mut changed = sealed(b"x");
            changed[index] ^= 1;
            assert!(RecordedAnswer::open(changed, &derived("a"), REQUEST).is_none(), "{index}");
        }
    }

    #[test]
    fn two_seals_of_one_answer_differ() {
        assert_ne!(sealed(b"same"), sealed(b"same"));
    }

    proptest! {
        #[test]
        fn any_body_reads_back(body in prop::collection::vec(any::<u8>(), 0..2000)) {
            let open = RecordedAnswer::open(sealed(&body), &derived("a"), REQUEST);
            prop_assert_eq!(open.map(|answer| answer.body.to_vec()), Some(body));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(RecordedAnswer::decode(Bytes::from(bytes.clone())));
            prop_assert!(RecordedAnswer::open(bytes, &derived("a"), REQUEST).is_none());
        }
    }
}
