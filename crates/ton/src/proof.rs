//! `ton_proof`: a wallet's signature over our domain, a moment and a nonce of ours.
//!
//! Two hashes, mixed endianness, fixed by TON Connect (spec "Address proof signature"):
//! `msg = "ton-proof-item-v2/" ‖ workchain i32 BE ‖ hash ‖ domain length u32 LE ‖ domain ‖
//! timestamp u64 LE ‖ payload`, and the signature is over
//! `SHA-256(0xFFFF ‖ "ton-connect" ‖ SHA-256(msg))`.
//!
//! The message is always built from the domain's own length. A verifier that believes the
//! client's `lengthBytes` accepts a proof for one domain as a proof for a prefix of it.

mod unverified;
mod verify;

use cocoon_primitives::WalletAddress;
use sha2::{Digest as _, Sha256};

pub use unverified::{SignedDomain, SignedProof, UnverifiedProof};
pub use verify::{ProofPolicy, VerifiedWallet, verify};

/// Why a proof is refused. Each reason is one that the client may be told.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error("body is not a ton_proof answer")]
    Malformed(#[source] Option<serde_json::Error>),
    #[error("network is not the one that this service uses")]
    WrongNetwork,
    #[error("domain is not one of this service's, or its length is not what lengthBytes says")]
    WrongDomain,
    #[error("proof is too old")]
    Expired,
    #[error("proof is from the future")]
    InFuture,
    #[error("workchain is not accepted")]
    Workchain,
    #[error("walletStateInit is not a wallet's state init")]
    StateInit,
    #[error("wallet code {code_hash} is not accepted")]
    UnknownWallet { code_hash: String },
    #[error("address does not belong to walletStateInit")]
    AddressMismatch,
    #[error("publicKey is not the wallet's key")]
    KeyMismatch,
    #[error("signature does not verify")]
    Signature,
}

/// The 32 bytes that a wallet signs for a proof.
pub fn proof_digest(
    address: &WalletAddress,
    domain: &str,
    timestamp_seconds: u64,
    payload: &str,
) -> [u8; 32] {
    let domain_bytes = u32::try_from(domain.len()).unwrap_or(u32::MAX);
    let message = Sha256::new()
        .chain_update(b"ton-proof-item-v2/")
        .chain_update(i32::from(address.workchain()).to_be_bytes())
        .chain_update(address.hash())
        .chain_update(domain_bytes.to_le_bytes())
        .chain_update(domain)
        .chain_update(timestamp_seconds.to_le_bytes())
        .chain_update(payload)
        .finalize();
    Sha256::new()
        .chain_update([0xFF, 0xFF])
        .chain_update(b"ton-connect")
        .chain_update(message)
        .finalize()
        .into()
}
