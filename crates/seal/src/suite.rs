//! The suite of RFC 9180: base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; and
//! the same AEAD alone, for bodies and frames.

use std::convert::Infallible;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use cocoon_primitives::Digest;
use hpke::aead::{AeadCtxR, AeadCtxS, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem as KemTrait, X25519HkdfSha256};
use hpke::{Deserializable as _, OpModeR, OpModeS, Serializable as _};
use rand_core::{TryCryptoRng, TryRng};
use zeroize::{Zeroize as _, Zeroizing};

pub(crate) type Kem = X25519HkdfSha256;
type Kdf = HkdfSha256;
type Aead = AesGcm256;
pub(crate) type PrivateKey = <Kem as KemTrait>::PrivateKey;
type PublicKey = <Kem as KemTrait>::PublicKey;
type EncappedKey = <Kem as KemTrait>::EncappedKey;

/// Bytes that authentication adds.
pub(crate) const TAG_BYTES: usize = 16;
pub(crate) const NONCE_BYTES: usize = 12;
const INFO: &[u8] = b"cocoon-e2ee/1 request";
const EXPORT_ANSWER: &[u8] = b"cocoon-e2ee/1 response";
const EXPORT_PARAMS: &[u8] = b"cocoon-e2ee/1 params";

/// 32 secret bytes.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// What both sides take from one exchange of keys.
pub(crate) struct Exports {
    pub(crate) answer: Secret,
    pub(crate) params_salt: [u8; 32],
}

/// What a sender has after one recipient.
pub(crate) struct Sent {
    pub(crate) enc: [u8; 32],
    pub(crate) wrapped: [u8; 48],
    pub(crate) exports: Exports,
}

/// Wraps `cek` for one public key; `None` where that is no key.
pub(crate) fn send(
    public: &[u8; 32],
    evidence: &Digest,
    aad: &[u8],
    cek: &[u8; 32],
    ephemeral: &[u8; 32],
) -> Option<Sent> {
    let public = PublicKey::from_bytes(public).ok()?;
    let mut rng = GivenBytes::new(ephemeral);
    let setup = hpke::setup_sender_with_rng::<Aead, Kdf, Kem>;
    let (enc, mut context) = setup(&OpModeS::Base, &public, &info(evidence), &mut rng).ok()?;
    let wrapped = context.seal(cek, aad).ok()?.try_into().ok()?;
    let exports = sender_exports(&context)?;
    Some(Sent { enc: enc.to_bytes().into(), wrapped, exports })
}

/// Unwraps a key; `None` where anything does not fit.
pub(crate) fn receive(
    key: &PrivateKey,
    evidence: &Digest,
    aad: &[u8],
    enc: &[u8; 32],
    wrapped: &[u8; 48],
) -> Option<(Secret, Exports)> {
    let enc = EncappedKey::from_bytes(enc).ok()?;
    let setup = hpke::setup_receiver::<Aead, Kdf, Kem>;
    let mut context = setup(&OpModeR::Base, key, &enc, &info(evidence)).ok()?;
    let opened = Zeroizing::new(context.open(wrapped, aad).ok()?);
    let mut cek = Secret::default();
    cek.copy_from_slice(opened.get(..32).filter(|_| opened.len() == 32)?);
    let exports = receiver_exports(&context)?;
    Some((cek, exports))
}

fn sender_exports(context: &AeadCtxS<Aead, Kdf, Kem>) -> Option<Exports> {
    let (mut answer, mut params_salt) = (Secret::default(), [0; 32]);
    context.export(EXPORT_ANSWER, answer.as_mut()).ok()?;
    context.export(EXPORT_PARAMS, &mut params_salt).ok()?;
    Some(Exports { answer, params_salt })
}

fn receiver_exports(context: &AeadCtxR<Aead, Kdf, Kem>) -> Option<Exports> {
    let (mut answer, mut params_salt) = (Secret::default(), [0; 32]);
    context.export(EXPORT_ANSWER, answer.as_mut()).ok()?;
    context.export(EXPORT_PARAMS, &mut params_salt).ok()?;
    Some(Exports { answer, params_salt })
}

fn info(evidence: &Digest) -> Vec<u8> {
    [INFO, evidence.as_bytes().as_slice()].concat()
}

/// AES-256-GCM under one key.
pub(crate) struct Cipher(Aes256Gcm);

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    /// Turns `out[from..]` into its ciphertext and appends the tag. False where it is too long for
    /// the cipher, which no bound here allows.
    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        out: &mut Vec<u8>,
        from: usize,
    ) -> bool {
        let Some(text) = out.get_mut(from..) else { return false };
        let sealed = self.0.encrypt_inout_detached(nonce.into(), aad, text.into());
        sealed.is_ok_and(|tag| {
            out.extend_from_slice(&tag);
            true
        })
    }

    /// The plaintext, or `None` where anything was changed.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let (text, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
        let mut text = Zeroizing::new(text.to_vec());
        let opened = self.0.decrypt_inout_detached(
            nonce.into(),
            aad,
            text.as_mut_slice().into(),
            tag.into(),
        );
        opened.ok().map(|()| text)
    }
}

/// Hands out the bytes that the caller gave, once: from them the suite derives its ephemeral key.
struct GivenBytes {
    left: [u8; 32],
    used: usize,
}

impl GivenBytes {
    const fn new(bytes: &[u8; 32]) -> Self {
        Self { left: *bytes, used: 0 }
    }
}

impl TryRng for GivenBytes {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut word = [0; 4];
        self.try_fill_bytes(&mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut word = [0; 8];
        self.try_fill_bytes(&mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    /// The suite asks for 32 bytes once.
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let left = self.left.get(self.used..).unwrap_or_default();
        assert!(out.len() <= left.len(), "the suite draws 32 bytes for one ephemeral key");
        out.copy_from_slice(&left[..out.len()]);
        self.used += out.len();
        Ok(())
    }
}

impl TryCryptoRng for GivenBytes {}

impl Drop for GivenBytes {
    fn drop(&mut self) {
        self.left.zeroize();
    }
}
