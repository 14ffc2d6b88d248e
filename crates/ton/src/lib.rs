//! The TON side of identity: wallets, their addresses, and proof that somebody controls one.
//!
//! Pure: time and random bytes are arguments, there is no IO. A sign-in runs in this order:
//!
//! 1. [`NoncePayload::issue`] makes the text that the wallet is asked to sign.
//! 2. [`UnverifiedProof::from_json`] reads the answer, every field bounded.
//! 3. [`NoncePayload::check`] says that the text is ours, unexpired and of this attempt.
//! 4. [`verify`] decides; only it makes a [`VerifiedWallet`].
//! 5. The caller consumes the nonce in its store, once, before it opens a session.
//!
//! A proof says who holds a key, not which network the money is on: `ton_proof` does not sign
//! the network, so the configuration decides it. Nor does it say that a deployed W5 wallet still
//! accepts signatures (an owner can turn them off on chain); a session opened by a proof
//! therefore never suffices to spend from a channel.

mod address;
mod bounded;
mod network;
mod nonce;
mod proof;
mod state_init;
mod version;
mod wallet;

pub use address::{AddressForm, format_address, parse_address};
pub use bounded::BoundedText;
pub use network::Network;
pub use nonce::{Nonce, NonceError, NoncePayload};
pub use proof::{
    ProofError, ProofPolicy, SignedDomain, SignedProof, UnverifiedProof, VerifiedWallet,
    proof_digest, verify,
};
pub use version::WalletVersion;
pub use wallet::Wallet;
