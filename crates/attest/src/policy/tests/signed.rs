//! Whose signatures count.

use proptest::prelude::*;

use super::*;

fn key(n: u8) -> PolicyKey {
    PolicyKey::from_seed(&[n; 32])
}

fn signed_by(file: &[u8], keys: &[u8]) -> SignatureFile {
    let mut signatures = SignatureFile::default();
    for n in keys {
        signatures.set(key(*n).public(), key(*n).sign(file));
    }
    signatures
}

fn verify(file: &[u8], by: &[u8], known: &[u8], threshold: usize) -> Result<(), &'static str> {
    let keys: Vec<[u8; 32]> = known.iter().map(|n| key(*n).public()).collect();
    let signatures = signed_by(file, by).to_json();
    SignedPolicy::verify(file, signatures.as_bytes(), &keys, threshold)
        .map(drop)
        .map_err(|errors| errors[0].code())
}

#[test]
fn as_many_known_keys_as_asked_for_must_sign() {
    let file = production();
    let file = file.as_bytes();
    assert_eq!(verify(file, &[1], &[1], 1), Ok(()));
    assert_eq!(verify(file, &[1, 3], &[1, 2, 3], 2), Ok(()));
    assert_eq!(verify(file, &[1, 9], &[1, 2, 3], 2), Err("policy_signatures"));
    assert_eq!(verify(file, &[2], &[1], 1), Err("policy_signatures"));
    assert_eq!(verify(file, &[], &[1], 1), Err("policy_signatures"));
    // One key that is named twice is one key.
    assert_eq!(verify(file, &[1], &[1, 1], 2), Err("policy_threshold"));
    assert_eq!(verify(file, &[1], &[1], 0), Err("policy_threshold"));
    assert_eq!(verify(file, &[1], &[], 1), Err("policy_threshold"));
    assert_eq!(verify(b"schema = 2", &[1], &[1], 1), Err("policy_shape"));
}

#[test]
fn a_signature_over_another_file_counts_for_nothing() {
    let file = production();
    let signatures = signed_by(b"another file", &[1]).to_json();
    let verdict =
        SignedPolicy::verify(file.as_bytes(), signatures.as_bytes(), &[key(1).public()], 1);
    assert_eq!(verdict.unwrap_err(), [PolicyError::Signatures { valid: 0, threshold: 1 }]);
    // The digest itself is not what is signed: it has a domain of its own.
    assert_ne!(signed_hash(file.as_bytes()), crate::sha256(&[file.as_bytes()]));
}

#[test]
fn the_file_of_signatures_reads_back_and_nothing_else_does() {
    let signatures = signed_by(b"file", &[1, 2]);
    assert_eq!(SignatureFile::parse(signatures.to_json().as_bytes()), Ok(signatures.clone()));
    let text = signatures.to_json();
    let [first, second] = [1, 2].map(|n| hex::encode(key(n).public()));
    for bad in [
        "[]".to_owned(),
        "{}".to_owned(),
        text.replace("\"key\"", "\"kid\""),
        text.replace(&first, &second),
        text.replace(&first, "00"),
        text.replace("\"signature\": \"", "\"signature\": \"AAAA"),
    ] {
        let error = SignatureFile::parse(bad.as_bytes()).unwrap_err();
        assert_eq!(error.code(), "policy_signature_file", "{bad}");
    }
    let mut again = signatures.clone();
    again.set(key(1).public(), [0; 64]);
    assert_eq!(again.keys().count(), 2);
    assert!(!again.is_signed_by(b"file", &key(1).public()));
}

proptest! {
    #[test]
    fn arbitrary_signature_files_never_panic(bytes: Vec<u8>, text in "\\PC{0,200}") {
        let _ = SignatureFile::parse(&bytes);
        let _ = SignatureFile::parse(text.as_bytes());
    }

    #[test]
    fn a_changed_signature_is_refused(at in 0_usize..64, bit in 0_u8..8) {
        let mut signature = key(1).sign(b"file");
        signature[at] ^= 1 << bit;
        let mut signatures = SignatureFile::default();
        signatures.set(key(1).public(), signature);
        prop_assert!(!signatures.is_signed_by(b"file", &key(1).public()));
    }
}
