//! A worker's key for sealed requests.

use std::fmt;

use hpke::Serializable as _;
use hpke::kem::Kem as _;

use crate::suite::{Kem, PrivateKey};

/// The pair, of which only the public half is ever shown.
pub struct KeyPair {
    private: PrivateKey,
    public: [u8; 32],
}

impl KeyPair {
    /// From 32 random bytes, by the suite's `DeriveKeyPair`.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let (private, public) = Kem::derive_keypair(seed);
        Self { private, public: public.to_bytes().into() }
    }

    pub const fn public(&self) -> [u8; 32] {
        self.public
    }

    pub(crate) const fn private(&self) -> &PrivateKey {
        &self.private
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({}, …)", hex::encode(self.public))
    }
}
