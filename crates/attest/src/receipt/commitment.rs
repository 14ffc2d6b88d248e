//! Salted commitments: they bind without letting a reader of receipts confirm a guess.

use cocoon_primitives::{RequestId, WalletAddress};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::sha256;

/// The running commitment to a response: `h₀ = SHA-256("cocoon/resp")`,
/// `hᵢ = SHA-256(hᵢ₋₁ ‖ u32be length ‖ payloadᵢ)`, and at the end `HMAC(salt, hₙ)`.
///
/// The salt enters last, so that whoever forwards the payloads can follow along before the
/// receipt tells the salt, and compare at the end without having kept them.
#[derive(Debug, Clone)]
pub struct Commitment {
    chain: [u8; 32],
    frames: u32,
}

impl Default for Commitment {
    fn default() -> Self {
        Self::new()
    }
}

impl Commitment {
    pub fn new() -> Self {
        Self { chain: sha256(&[b"cocoon/resp"]), frames: 0 }
    }

    /// Adds the payload of the next data frame.
    ///
    /// # Panics
    /// If the payload is 4 GiB or longer; frames are bounded far below.
    pub fn push(&mut self, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a frame's payload is under 4 GiB");
        self.chain = sha256(&[&self.chain, &length.to_be_bytes(), payload]);
        self.frames = self.frames.saturating_add(1);
    }

    /// What a receipt with this salt states.
    pub fn digest(&self, salt: &[u8; 32]) -> [u8; 32] {
        hmac(salt, &[&self.chain])
    }

    pub fn frames(&self) -> u32 {
        self.frames
    }
}

/// `HMAC(salt, body)` over the body as received.
pub fn request_commitment(salt: &[u8; 32], body: &[u8]) -> [u8; 32] {
    hmac(salt, &[body])
}

/// `HMAC(salt, "cocoon/params" ‖ parameters)` over a stable text of the sampling parameters.
pub fn params_commitment(salt: &[u8; 32], parameters: &[u8]) -> [u8; 32] {
    hmac(salt, &[b"cocoon/params", parameters])
}

/// Hides who pays: opened only to the payer or an auditor. `opened_at` is 0 and `authorisation`
/// absent for an account without a channel; `blind` is 32 random bytes.
pub fn pay_commitment(
    account: &WalletAddress,
    opened_at: u64,
    request_id: RequestId,
    authorisation: Option<[u8; 32]>,
    blind: &[u8; 32],
) -> [u8; 32] {
    let authorisation = authorisation.unwrap_or_else(|| sha256(&[b"none"]));
    sha256(&[
        b"cocoon/pay/v1",
        &account.to_bytes(),
        &opened_at.to_be_bytes(),
        request_id.as_bytes(),
        &authorisation,
        blind,
    ])
}

fn hmac(salt: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
