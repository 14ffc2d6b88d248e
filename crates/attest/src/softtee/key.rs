//! Keys and what they sign, all of it from one seed.
//!
//! Invariants: the same seed and message give the same bytes, always. ECDSA takes its nonces from
//! key and message (RFC 6979); the salt of RSA is a digest of both too. None of it is meant to be
//! secret for long: whoever knows the seed can say anything.

use p256::ecdsa::signature::Signer as _;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rsa::pss::SigningKey as PssKey;
use rsa::rand_core::{CryptoRng, RngCore};
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use rsa::traits::PublicKeyParts as _;
use sha2::{Digest as _, Sha384};

use super::der;

/// Bits of the RSA key. AMD's have 4,096, which take minutes to make in a build for tests.
const RSA_BITS: usize = 2048;
const RSA_BITS_MAX: usize = 8192;
/// AMD's salt is as long as the hash.
const SALT_BYTES: u8 = 48;
/// A key of 8,192 bits, the longest that verifiers take, has fewer.
const PKCS8_BYTES_MAX: usize = 8 * 1024;

/// SHA-384 in a domain of the software TEE's own.
pub(super) fn digest(parts: &[&[u8]]) -> [u8; 48] {
    let mut hash = Sha384::new();
    hash.update(b"cocoon/soft-tee/v1\0");
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

pub(super) enum Key {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    Rsa(Box<RsaKey>),
}

pub(super) struct RsaKey {
    key: PssKey<Sha384>,
    public: rsa::RsaPublicKey,
    /// Salts come from this and the message.
    salt_seed: [u8; 48],
}

/// Why bytes are no key that signs for SEV-SNP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnpKeyError {
    #[error("not an RSA key in PKCS #8")]
    NotRsa,
    #[error("the key does not have {RSA_BITS} to {RSA_BITS_MAX} bits")]
    Size,
}

impl Key {
    pub(super) fn p256(seed: &[u8; 32], name: &str) -> Self {
        let key = first(seed, name, |bytes| {
            p256::ecdsa::SigningKey::from_slice(bytes.first_chunk::<32>()?).ok()
        });
        Self::P256(key)
    }

    pub(super) fn p384(seed: &[u8; 32], name: &str) -> Self {
        Self::P384(first(seed, name, |bytes| p384::ecdsa::SigningKey::from_slice(bytes).ok()))
    }

    pub(super) fn rsa(pkcs8: &[u8]) -> Result<Self, SnpKeyError> {
        if pkcs8.len() > PKCS8_BYTES_MAX {
            return Err(SnpKeyError::NotRsa);
        }
        let key = rsa::RsaPrivateKey::from_pkcs8_der(pkcs8).map_err(|_| SnpKeyError::NotRsa)?;
        if !(RSA_BITS..=RSA_BITS_MAX).contains(&key.n().bits()) {
            return Err(SnpKeyError::Size);
        }
        let public = key.to_public_key();
        let key = PssKey::new_with_salt_len(key, usize::from(SALT_BYTES));
        let salt_seed = digest(&[b"snp/salt", pkcs8]);
        Ok(Self::Rsa(Box::new(RsaKey { key, public, salt_seed })))
    }

    /// SubjectPublicKeyInfo.
    pub(super) fn spki(&self) -> Vec<u8> {
        let curve =
            |dotted| der::sequence(&[&der::object("1.2.840.10045.2.1"), &der::object(dotted)]);
        let algorithm = match self {
            Self::P256(_) => curve("1.2.840.10045.3.1.7"),
            Self::P384(_) => curve("1.3.132.0.34"),
            Self::Rsa(_) => der::sequence(&[&der::object("1.2.840.113549.1.1.1"), &der::NULL]),
        };
        der::sequence(&[&algorithm, &der::bits(&self.public())])
    }

    /// The public key, as a certificate's string of bits has it: an uncompressed point, or RSA's two
    /// numbers.
    pub(super) fn public(&self) -> Vec<u8> {
        match self {
            Self::P256(key) => key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            Self::P384(key) => key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            Self::Rsa(key) => der::sequence(&[
                &der::integer(&key.public.n().to_bytes_be()),
                &der::integer(&key.public.e().to_bytes_be()),
            ]),
        }
    }

    /// The AlgorithmIdentifier of its signatures.
    pub(super) fn algorithm(&self) -> Vec<u8> {
        match self {
            Self::P256(_) => der::sequence(&[&der::object("1.2.840.10045.4.3.2")]),
            Self::P384(_) => der::sequence(&[&der::object("1.2.840.10045.4.3.3")]),
            Self::Rsa(_) => {
                let hash = der::sequence(&[&der::object("2.16.840.1.101.3.4.2.2"), &der::NULL]);
                let mask = der::sequence(&[&der::object("1.2.840.113549.1.1.8"), &hash]);
                let salt = der::integer(&[SALT_BYTES]);
                der::sequence(&[
                    &der::object("1.2.840.113549.1.1.10"),
                    &der::sequence(&[
                        &der::context(0, &[&hash]),
                        &der::context(1, &[&mask]),
                        &der::context(2, &[&salt]),
                    ]),
                ])
            }
        }
    }

    /// A signature in the form that certificates have it.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(_) | Self::P384(_) => {
                let raw = self.sign_raw(message);
                let (r, s) = raw.split_at(raw.len() / 2);
                der::sequence(&[&der::integer(r), &der::integer(s)])
            }
            Self::Rsa(key) => {
                let seed = digest(&[b"snp/salt", &key.salt_seed, message]);
                key.key.sign_with_rng(&mut Stream::new(&seed), message).to_vec()
            }
        }
    }

    /// `r ‖ s`, as quotes and reports have it; RSA's as it is.
    pub(super) fn sign_raw(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            Self::Rsa(_) => self.sign(message),
        }
    }
}

/// The first of the seed's strings under `name` that is a key; nearly always the first at all.
fn first<K>(seed: &[u8; 32], name: &str, read: impl Fn(&[u8]) -> Option<K>) -> K {
    (0_u8..=u8::MAX)
        .find_map(|attempt| read(&digest(&[b"key", seed, name.as_bytes(), &[attempt]])))
        .expect("one of 256 random numbers is below the order")
}

/// An RSA key for SEV-SNP, in PKCS #8: the same for the same seed.
pub fn snp_key(seed: &[u8; 32]) -> Vec<u8> {
    let mut stream = Stream::new(&digest(&[b"snp/key", seed]));
    let key = rsa::RsaPrivateKey::new(&mut stream, RSA_BITS).expect("the size is one that exists");
    key.to_pkcs8_der().expect("a key that was just made can be written").as_bytes().to_vec()
}

/// Bytes that follow from a seed: SHA-384 over seed and counter.
struct Stream {
    seed: [u8; 48],
    counter: u64,
    block: [u8; 48],
    used: usize,
}

impl Stream {
    fn new(seed: &[u8; 48]) -> Self {
        Self { seed: *seed, counter: 0, block: [0; 48], used: 48 }
    }

    fn byte(&mut self) -> u8 {
        if self.used == self.block.len() {
            self.block = digest(&[b"stream", &self.seed, &self.counter.to_be_bytes()]);
            self.counter += 1;
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }
}

impl RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.byte());
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Stream {}
