//! The decision: from an unverified proof to a wallet, or to a reason.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_primitives::{Timestamp, WalletAddress};
use ed25519_dalek::{Signature, VerifyingKey};

use crate::network::Network;
use crate::proof::{ProofError, UnverifiedProof, proof_digest};
use crate::state_init::{StateInit, StateInitError};
use crate::version::WalletVersion;

/// What a service accepts.
#[derive(Debug, Clone)]
pub struct ProofPolicy {
    /// Hosts, with a port where it is not the default one, compared byte by byte.
    pub domains: Vec<String>,
    /// The only network whose wallets sign in. The proof does not sign it, so the ledger must
    /// take it from here and never from the client.
    pub network: Network,
    pub workchains: Vec<i8>,
    /// How old a proof may be.
    pub max_age: Duration,
    /// How far its timestamp may lie ahead of our clock.
    pub max_future: Duration,
}

/// A wallet whose key signed our nonce. Only [`verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedWallet {
    address: WalletAddress,
    public_key: [u8; 32],
    version: WalletVersion,
    payload: String,
}

impl VerifiedWallet {
    pub fn address(&self) -> WalletAddress {
        self.address
    }

    /// The Ed25519 key that the wallet's state init names.
    pub fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    pub fn version(&self) -> WalletVersion {
        self.version
    }

    /// The payload that was signed. It is up to the caller that this is a nonce of its own.
    pub fn payload(&self) -> &str {
        &self.payload
    }
}

/// Checks everything about a proof but its nonce, cheapest first; the signature comes last.
///
/// The key comes from the state init, the state init is bound to the address by its hash, and
/// the `publicKey` field is only compared: a key that the client merely sends proves nothing.
pub fn verify(
    proof: &UnverifiedProof,
    policy: &ProofPolicy,
    now: Timestamp,
) -> Result<VerifiedWallet, ProofError> {
    let signed = &proof.proof;
    if proof.network.as_str() != policy.network.as_str() {
        return Err(ProofError::WrongNetwork);
    }
    let domain = signed.domain.value.as_str();
    let has_true_length = usize::try_from(signed.domain.length_bytes) == Ok(domain.len());
    if !has_true_length || !policy.domains.iter().any(|ours| ours == domain) {
        return Err(ProofError::WrongDomain);
    }
    let signed_at = Timestamp::from_seconds(signed.timestamp);
    if signed_at > now.saturating_add(policy.max_future) {
        return Err(ProofError::InFuture);
    }
    if signed_at.saturating_add(policy.max_age) < now {
        return Err(ProofError::Expired);
    }
    let address: WalletAddress =
        proof.address.as_str().parse().map_err(|_| ProofError::Malformed(None))?;
    if !policy.workchains.contains(&address.workchain()) {
        return Err(ProofError::Workchain);
    }
    let state_init =
        StateInit::from_base64(proof.wallet_state_init.as_str()).map_err(|error| match error {
            StateInitError::UnknownCode { code_hash } => ProofError::UnknownWallet { code_hash },
            StateInitError::Malformed | StateInitError::Data => ProofError::StateInit,
        })?;
    if &state_init.hash != address.hash() {
        return Err(ProofError::AddressMismatch);
    }
    if let Some(claimed) = &proof.public_key {
        let mut key = [0; 32];
        hex::decode_to_slice(claimed.as_str(), &mut key).map_err(|_| ProofError::KeyMismatch)?;
        if key != state_init.public_key {
            return Err(ProofError::KeyMismatch);
        }
    }
    let payload = signed.payload.as_str();
    let digest = proof_digest(&address, domain, signed.timestamp, payload);
    check_signature(&state_init.public_key, &digest, signed.signature.as_str())?;
    Ok(VerifiedWallet {
        address,
        public_key: state_init.public_key,
        version: state_init.version,
        payload: payload.to_owned(),
    })
}

/// `verify_strict` refuses small-order keys and points, with which one signature fits many
/// messages.
fn check_signature(key: &[u8; 32], digest: &[u8], base64: &str) -> Result<(), ProofError> {
    let bytes = STANDARD.decode(base64).map_err(|_| ProofError::Signature)?;
    let signature = Signature::from_slice(&bytes).map_err(|_| ProofError::Signature)?;
    let key = VerifyingKey::from_bytes(key).map_err(|_| ProofError::Signature)?;
    key.verify_strict(digest, &signature).map_err(|_| ProofError::Signature)
}
