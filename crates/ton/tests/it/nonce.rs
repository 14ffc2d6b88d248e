//! Nonces: ours, of this attempt, in time, or refused.

use cocoon_primitives::Timestamp;
use cocoon_ton::{NonceError, NoncePayload};
use proptest::prelude::*;

const KEY: [u8; 32] = [7; 32];
const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
const EXPIRY: Timestamp = Timestamp::from_seconds(1_790_000_300);

fn issued() -> String {
    NoncePayload::issue(&KEY, [9; 16], "attempt-1", EXPIRY)
}

#[test]
fn an_issued_nonce_passes_and_names_itself() {
    let nonce = NoncePayload::check(&KEY, &issued(), "attempt-1", NOW).unwrap();
    assert_eq!((nonce.id, nonce.expires_at), ([9; 16], EXPIRY));
    assert_eq!(issued().len(), NoncePayload::CHARS);
}

#[test]
fn refusals() {
    let refused = |key, payload: &str, attempt, now| {
        NoncePayload::check(key, payload, attempt, now).expect_err("the nonce was accepted")
    };
    assert_eq!(refused(&KEY, &issued(), "attempt-2", NOW), NonceError::Foreign);
    assert_eq!(refused(&[8; 32], &issued(), "attempt-1", NOW), NonceError::Foreign);
    assert_eq!(refused(&KEY, &issued(), "attempt-1", EXPIRY), NonceError::Expired);
    assert_eq!(refused(&KEY, "", "attempt-1", NOW), NonceError::Foreign);
    assert_eq!(refused(&KEY, &format!("{}=", issued()), "attempt-1", NOW), NonceError::Foreign);
}

proptest! {
    #[test]
    fn any_changed_character_is_foreign(at in 0..NoncePayload::CHARS, to in "[A-Za-z0-9_-]") {
        let mut changed = issued();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != issued());
        let answer = NoncePayload::check(&KEY, &changed, "attempt-1", NOW);
        prop_assert_eq!(answer, Err(NonceError::Foreign));
    }

    #[test]
    fn arbitrary_text_is_foreign(payload in any::<String>(), attempt in any::<String>()) {
        let answer = NoncePayload::check(&KEY, &payload, &attempt, NOW);
        prop_assert_eq!(answer, Err(NonceError::Foreign));
    }
}
