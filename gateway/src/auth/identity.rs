//! The gateway's own keys: 32-byte seeds in files that only their owner may read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jsonwebtoken::EncodingKey;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// RFC 8410: what stands before the seed of an Ed25519 key in PKCS #8.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Why a key file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("failed to access {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} does not hold 64 hex digits", path.display())]
    Malformed { path: PathBuf },
}

/// A secret seed. Never printed, wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretSeed([u8; 32]);

impl SecretSeed {
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the seed in `path`; makes one, with mode 0600, where there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::Io { path: path.to_owned(), source };
        match fs::read_to_string(path) {
            Ok(text) => Self::from_hex(&Zeroizing::new(text))
                .ok_or_else(|| IdentityError::Malformed { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let seed = Self(super::random());
                seed.write_new(path).map_err(failed)?;
                Ok(seed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The key that signs JWTs with EdDSA.
    pub fn jwt_key(&self) -> EncodingKey {
        let mut pkcs8 = Zeroizing::new([0; 48]);
        pkcs8[..16].copy_from_slice(&PKCS8_PREFIX);
        pkcs8[16..].copy_from_slice(&self.0);
        EncodingKey::from_ed_der(pkcs8.as_slice())
    }

    fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Written aside and renamed, so that a crash leaves no half of a key.
    fn write_new(&self, path: &Path) -> io::Result<()> {
        let aside = path.with_extension("key.new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(Zeroizing::new(hex::encode(self.0) + "\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub fn signing_key(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&self.0)
    }

    /// Another secret for another purpose, which says nothing about this one.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        Sha256::new().chain_update(purpose).chain_update([0]).chain_update(self.0).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_seed_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session.key");
        let made = SecretSeed::load_or_create(&path).unwrap();
        let read = SecretSeed::load_or_create(&path).unwrap();
        assert_eq!(made.as_bytes(), read.as_bytes());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_key_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session.key");
        fs::write(&path, "half").unwrap();
        let refused = SecretSeed::load_or_create(&path);
        assert!(matches!(refused, Err(IdentityError::Malformed { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "half");
    }
}
