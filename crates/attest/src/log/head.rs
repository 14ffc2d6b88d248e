//! What a gateway vouches for: so many leaves, this root.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_primitives::Timestamp;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::sha256;

const DOMAIN: &[u8] = b"cocoon/log/v1\0";

/// A signed tree head. Unverified until [`SignedHead::verify`] says so.
///
/// In JSON `{size, root, timestamp, key, signature}`: root and key are hex, the time is in
/// milliseconds, the signature base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HeadFile", into = "HeadFile")]
pub struct SignedHead {
    pub size: u64,
    pub root: [u8; 32],
    pub at: Timestamp,
    pub key: [u8; 32],
    pub signature: [u8; 64],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadFile {
    size: u64,
    root: String,
    timestamp: u64,
    key: String,
    signature: String,
}

impl SignedHead {
    /// Signs that the log had this root at this size and time.
    pub fn sign(key: &SigningKey, size: u64, root: [u8; 32], at: Timestamp) -> Self {
        let signature = key.sign(&message(size, &root, at)).to_bytes();
        Self { size, root, at, key: key.verifying_key().to_bytes(), signature }
    }

    /// True where `key`, which the caller trusts, signed this head.
    #[must_use]
    pub fn verify(&self, key: &[u8; 32]) -> bool {
        self.key == *key
            && VerifyingKey::from_bytes(key).is_ok_and(|key| {
                let message = message(self.size, &self.root, self.at);
                key.verify_strict(&message, &Signature::from_bytes(&self.signature)).is_ok()
            })
    }
}

/// SHA-256("cocoon/log/v1\0" ‖ u64be size ‖ root ‖ u64be ms).
fn message(size: u64, root: &[u8; 32], at: Timestamp) -> [u8; 32] {
    sha256(&[DOMAIN, &size.to_be_bytes(), root, &at.as_millis().to_be_bytes()])
}

impl From<SignedHead> for HeadFile {
    fn from(head: SignedHead) -> Self {
        Self {
            size: head.size,
            root: hex::encode(head.root),
            timestamp: head.at.as_millis(),
            key: hex::encode(head.key),
            signature: STANDARD.encode(head.signature),
        }
    }
}

/// A field that is not so many bytes of hex or base64.
#[derive(Debug, thiserror::Error)]
#[error("the field {0} is not valid")]
struct FieldError(&'static str);

impl TryFrom<HeadFile> for SignedHead {
    type Error = FieldError;

    fn try_from(file: HeadFile) -> Result<Self, FieldError> {
        let hex = |field, text: &str| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(text, &mut bytes).map_err(|_| FieldError(field))?;
            Ok(bytes)
        };
        let signature = STANDARD.decode(&file.signature).ok();
        let signature = signature.and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            size: file.size,
            root: hex("root", &file.root)?,
            at: Timestamp::from_millis(file.timestamp),
            key: hex("key", &file.key)?,
            signature: signature.ok_or(FieldError("signature"))?,
        })
    }
}
