//! The two maps that tie evidence to one connection and one set of keys.

use cocoon_primitives::{Digest, WalletAddress};
use sha2::{Digest as _, Sha512};

use super::VERSION;
use crate::cbor::{CborError, Decoder, Encoder};
use crate::sha256;

const SPKI_BYTES_MAX: usize = 1024;

/// What evidence is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) nonce: [u8; 32],
    pub(crate) exporter: [u8; 32],
    pub(crate) gw_spki_sha256: Digest,
    pub(crate) policy_digest: Digest,
    pub(crate) h_keys: [u8; 32],
    pub(crate) h_dev: [u8; 32],
    pub(crate) h_wl: [u8; 32],
}

impl Bind {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.map(8);
        out.unsigned(1).unsigned(VERSION);
        out.unsigned(2).bytes(&self.nonce);
        out.unsigned(3).bytes(&self.exporter);
        out.unsigned(4).bytes(self.gw_spki_sha256.as_bytes());
        out.unsigned(5).bytes(self.policy_digest.as_bytes());
        out.unsigned(6).bytes(&self.h_keys);
        out.unsigned(7).bytes(&self.h_dev);
        out.unsigned(8).bytes(&self.h_wl);
        out.into_bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Decoder::new(bytes);
        reader.map(8)?;
        if reader.key(1)?.unsigned()? != VERSION {
            return Err(CborError::Range);
        }
        let bind = Self {
            nonce: reader.key(2)?.bytes_exact()?,
            exporter: reader.key(3)?.bytes_exact()?,
            gw_spki_sha256: Digest::from_bytes(reader.key(4)?.bytes_exact()?),
            policy_digest: Digest::from_bytes(reader.key(5)?.bytes_exact()?),
            h_keys: reader.key(6)?.bytes_exact()?,
            h_dev: reader.key(7)?.bytes_exact()?,
            h_wl: reader.key(8)?.bytes_exact()?,
        };
        reader.finish()?;
        Ok(bind)
    }
}

/// SHA-512("cocoon/enrol/v1\0" ‖ bind): all 64 bytes of report data.
pub(crate) fn report_data(bind: &[u8]) -> [u8; 64] {
    let mut hash = Sha512::new();
    hash.update(b"cocoon/enrol/v1\0");
    hash.update(bind);
    hash.finalize().into()
}

/// The keys that the evidence speaks for, and where their work is paid to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The TLS key as SubjectPublicKeyInfo in DER.
    pub(crate) tls_spki: Vec<u8>,
    pub(crate) receipt_key: [u8; 32],
    pub(crate) payee: WalletAddress,
    /// The X25519 key that requests are sealed to.
    pub(crate) hpke_key: [u8; 32],
}

impl Keys {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.map(4);
        out.unsigned(1).bytes(&self.tls_spki);
        out.unsigned(2).bytes(&self.receipt_key);
        out.unsigned(3).bytes(&self.payee.to_bytes());
        out.unsigned(4).bytes(&self.hpke_key);
        out.into_bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Decoder::new(bytes);
        reader.map(4)?;
        let keys = Self {
            tls_spki: reader.key(1)?.bytes(SPKI_BYTES_MAX)?.to_vec(),
            receipt_key: reader.key(2)?.bytes_exact()?,
            payee: WalletAddress::from_bytes(&reader.key(3)?.bytes_exact()?),
            hpke_key: reader.key(4)?.bytes_exact()?,
        };
        reader.finish()?;
        Ok(keys)
    }
}

/// The nonce that devices answer: it depends on the challenge and on the worker's keys.
pub(crate) fn gpu_nonce(nonce: &[u8; 32], h_keys: &[u8; 32]) -> [u8; 32] {
    sha256(&[b"cocoon/gpu-nonce/v1", nonce, h_keys])
}
