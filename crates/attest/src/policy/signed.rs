//! Who signed a policy.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::{Policy, PolicyError};
use crate::sha256;

/// Bytes in a signature file at most.
const SIGNATURES_BYTES_MAX: usize = 16 * 1024;
const SIGNATURES_MAX: usize = 32;
const DETAIL_CHARS_MAX: usize = 200;

/// SHA-256("cocoon/policy/v1\0" ‖ file): what is signed, and the policy's digest.
pub fn signed_hash(file: &[u8]) -> [u8; 32] {
    sha256(&[b"cocoon/policy/v1\0", file])
}

/// Reads policies that somebody vouches for.
#[derive(Debug)]
pub struct SignedPolicy;

impl SignedPolicy {
    /// The policy, where at least `threshold` of `keys` signed its bytes. A signature of another key
    /// counts for nothing and harms nothing; one that does not match counts for nothing either.
    pub fn verify(
        file: &[u8],
        signatures: &[u8],
        keys: &[[u8; 32]],
        threshold: usize,
    ) -> Result<Policy, Vec<PolicyError>> {
        let mut distinct = keys.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        if threshold == 0 || threshold > distinct.len() {
            return Err(vec![PolicyError::Threshold]);
        }
        let signatures = SignatureFile::parse(signatures).map_err(|error| vec![error])?;
        let valid = distinct.iter().filter(|key| signatures.is_signed_by(file, key)).count();
        if valid < threshold {
            return Err(vec![PolicyError::Signatures { valid, threshold }]);
        }
        Policy::parse(file)
    }
}

/// The signatures beside a policy file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignatureFile {
    entries: Vec<([u8; 32], [u8; 64])>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    signatures: Vec<RawSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    /// Ed25519, hex.
    key: String,
    /// Base64 of 64 bytes.
    signature: String,
}

impl SignatureFile {
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        let unreadable = |why: &str| PolicyError::SignatureFile(why.to_owned());
        if bytes.len() > SIGNATURES_BYTES_MAX {
            return Err(unreadable("it is too large"));
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| {
            unreadable(&error.to_string().chars().take(DETAIL_CHARS_MAX).collect::<String>())
        })?;
        if raw.signatures.len() > SIGNATURES_MAX {
            return Err(unreadable("it holds too many signatures"));
        }
        let mut file = Self::default();
        for entry in raw.signatures {
            let mut key = [0; 32];
            hex::decode_to_slice(&entry.key, &mut key)
                .map_err(|_| unreadable("a key is not 64 hex digits"))?;
            let signature = STANDARD.decode(&entry.signature).ok();
            let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
            let signature = signature.ok_or_else(|| unreadable("a signature is not 64 bytes"))?;
            if file.entries.iter().any(|(known, _)| *known == key) {
                return Err(unreadable("a key is there twice"));
            }
            file.entries.push((key, signature));
        }
        Ok(file)
    }

    /// Adds or replaces the signature of one key.
    pub fn set(&mut self, key: [u8; 32], signature: [u8; 64]) {
        self.entries.retain(|(known, _)| *known != key);
        self.entries.push((key, signature));
        self.entries.sort_unstable_by_key(|(known, _)| *known);
    }

    /// The keys that are named, whether or not their signatures match.
    pub fn keys(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// Strict: a key of small order signs nothing.
    pub fn is_signed_by(&self, file: &[u8], key: &[u8; 32]) -> bool {
        let entry = self.entries.iter().find(|(known, _)| known == key);
        let verifying = VerifyingKey::from_bytes(key).ok();
        entry.zip(verifying).is_some_and(|((_, signature), verifying)| {
            verifying.verify_strict(&signed_hash(file), &Signature::from_bytes(signature)).is_ok()
        })
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let entry = |(key, signature): &([u8; 32], [u8; 64])| RawSignature {
            key: hex::encode(key),
            signature: STANDARD.encode(signature),
        };
        let raw = Raw { signatures: self.entries.iter().map(entry).collect() };
        let mut text = serde_json::to_string_pretty(&raw).expect("texts serialise");
        text.push('\n');
        text
    }
}
