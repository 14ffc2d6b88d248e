//! The challenge as both sides see it, and the worker's answer.

use cocoon_primitives::{Digest, Timestamp, WalletAddress};

use super::bind::{Bind, Keys, gpu_nonce, report_data};
use super::message::UnverifiedEvidence;
use super::proof;
use super::{VERSION, Workload};
use crate::cbor::{CborError, Decoder, Encoder};
use crate::evidence::{Device, Evidence};
use crate::receipt::ReceiptKey;
use crate::sha256;

/// What a gateway asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    pub(super) challenge_id: [u8; 16],
    pub(super) nonce: [u8; 32],
    pub(super) gw_spki_sha256: Digest,
    pub(super) policy_digest: Digest,
    pub(super) expires: Timestamp,
}

/// What a worker says about itself, for its evidence to cover.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// The exporter of this connection, RFC 9266.
    pub exporter: &'a [u8; 32],
    /// The worker's TLS key as SubjectPublicKeyInfo in DER.
    pub tls_spki: &'a [u8],
    /// Signs the binding: the worker holds the key that it names.
    pub receipt_key: &'a ReceiptKey,
    /// The X25519 key that requests are sealed to.
    pub hpke_key: [u8; 32],
    pub payee: WalletAddress,
    pub workload: &'a Workload,
}

impl Claim<'_> {
    fn keys(&self) -> Vec<u8> {
        let keys = Keys {
            tls_spki: self.tls_spki.to_vec(),
            receipt_key: self.receipt_key.public(),
            payee: self.payee,
            hpke_key: self.hpke_key,
        };
        keys.encode()
    }
}

/// An answer that waits for evidence over its report data.
#[derive(Debug)]
pub struct Prepared {
    challenge_id: [u8; 16],
    bind: Vec<u8>,
    keys: Vec<u8>,
    dev: Vec<u8>,
    wl: Vec<u8>,
    receipt_key_proof: [u8; 64],
}

impl Challenge {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.map(6);
        out.unsigned(1).unsigned(VERSION);
        out.unsigned(2).bytes(&self.challenge_id);
        out.unsigned(3).bytes(&self.nonce);
        out.unsigned(4).bytes(self.gw_spki_sha256.as_bytes());
        out.unsigned(5).bytes(self.policy_digest.as_bytes());
        out.unsigned(6).unsigned(self.expires.as_millis());
        out.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Decoder::new(bytes);
        reader.map(6)?;
        if reader.key(1)?.unsigned()? != VERSION {
            return Err(CborError::Range);
        }
        let challenge = Self {
            challenge_id: reader.key(2)?.bytes_exact()?,
            nonce: reader.key(3)?.bytes_exact()?,
            gw_spki_sha256: Digest::from_bytes(reader.key(4)?.bytes_exact()?),
            policy_digest: Digest::from_bytes(reader.key(5)?.bytes_exact()?),
            expires: Timestamp::from_millis(reader.key(6)?.unsigned()?),
        };
        reader.finish()?;
        Ok(challenge)
    }

    /// The key that the gateway says it has: a worker compares it with the one that it pinned.
    pub fn gw_spki_sha256(&self) -> Digest {
        self.gw_spki_sha256
    }

    /// The policy that this worker will be judged by.
    pub fn policy_digest(&self) -> Digest {
        self.policy_digest
    }

    /// The nonce that the worker's devices must answer, before the binding is made.
    pub fn gpu_nonce(&self, claim: &Claim<'_>) -> [u8; 32] {
        gpu_nonce(&self.nonce, &sha256(&[&claim.keys()]))
    }

    /// Binds a claim and the evidence of its devices to this challenge.
    pub fn prepare(&self, claim: &Claim<'_>, devices: &[Device]) -> Prepared {
        let (keys, dev) = (claim.keys(), Device::encode_list(devices));
        let wl = claim.workload.encode();
        let bind = Bind {
            nonce: self.nonce,
            exporter: *claim.exporter,
            gw_spki_sha256: self.gw_spki_sha256,
            policy_digest: self.policy_digest,
            h_keys: sha256(&[&keys]),
            h_dev: sha256(&[&dev]),
            h_wl: sha256(&[&wl]),
        };
        let bind = bind.encode();
        let receipt_key_proof = proof::sign(claim.receipt_key, &bind);
        Prepared { challenge_id: self.challenge_id, bind, keys, dev, wl, receipt_key_proof }
    }
}

impl Prepared {
    /// What the evidence must be over.
    pub fn report_data(&self) -> [u8; 64] {
        report_data(&self.bind)
    }

    /// The evidence message.
    pub fn finish(self, evidence: Evidence) -> Vec<u8> {
        let Self { challenge_id, bind, keys, dev, wl, receipt_key_proof } = self;
        UnverifiedEvidence { challenge_id, evidence, bind, keys, dev, wl, receipt_key_proof }
            .encode()
    }
}
