//! The key that signs policies.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};

use super::signed_hash;

/// An Ed25519 key. Its secret is in its seed.
pub struct PolicyKey {
    key: SigningKey,
}

impl PolicyKey {
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(seed) }
    }

    /// What those who check policies know.
    pub fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    pub fn sign(&self, file: &[u8]) -> [u8; 64] {
        self.key.sign(&signed_hash(file)).to_bytes()
    }
}

impl fmt::Debug for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyKey({})", hex::encode(self.public()))
    }
}
