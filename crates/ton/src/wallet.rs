//! A wallet made from a seed: what a wallet application does at sign-in, for our own client and
//! for tests.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_primitives::{Timestamp, WalletAddress};
use ed25519_dalek::{Signer as _, SigningKey};
use ton_core::cell::BoC;

use crate::bounded::BoundedText;
use crate::network::Network;
use crate::proof::{SignedDomain, SignedProof, UnverifiedProof, proof_digest};
use crate::state_init;
use crate::version::WalletVersion;

/// The subwallet id of v3 and v4 wallets in workchain 0: the first four bytes of the hash of the
/// network's first block, a convention of all wallet applications.
const SUBWALLET_ID: u32 = 698_983_191;

/// A key with the wallet contract that it controls, in workchain 0. The seed is erased on drop.
pub struct Wallet {
    key: SigningKey,
    version: WalletVersion,
    network: Network,
    address: WalletAddress,
    state_init: String,
}

impl Wallet {
    pub fn from_seed(seed: &[u8; 32], version: WalletVersion, network: Network) -> Self {
        let key = SigningKey::from_bytes(seed);
        let wallet_id = match version {
            WalletVersion::V5R1 => network.w5_wallet_id(),
            _ => SUBWALLET_ID,
        };
        let root = state_init::build(version, wallet_id, key.verifying_key().as_bytes())
            .expect("the parts of a wallet fit in their cells");
        let hash = *root.hash().expect("an ordinary tree has a hash").as_slice_sized();
        let boc = BoC::new(root).to_bytes(false).expect("a tree of 22 cells has a bag of cells");
        Self {
            key,
            version,
            network,
            address: WalletAddress::new(0, hash),
            state_init: STANDARD.encode(boc),
        }
    }

    pub fn address(&self) -> WalletAddress {
        self.address
    }

    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    pub fn version(&self) -> WalletVersion {
        self.version
    }

    pub fn network(&self) -> Network {
        self.network
    }

    /// The state init as a bag of cells in base64.
    pub fn state_init(&self) -> &str {
        &self.state_init
    }

    /// The whole body of a sign-in: this wallet's answer to `payload`, for `domain`.
    ///
    /// `None` where an argument is longer than the protocol allows.
    pub fn sign_proof(
        &self,
        attempt: &str,
        domain: &str,
        timestamp: Timestamp,
        payload: &str,
    ) -> Option<UnverifiedProof> {
        let seconds = timestamp.as_seconds();
        let digest = proof_digest(&self.address, domain, seconds, payload);
        let signature = self.key.sign(&digest).to_bytes();
        Some(UnverifiedProof {
            attempt: bounded(attempt)?,
            address: bounded(&self.address.to_string())?,
            network: bounded(self.network.as_str())?,
            public_key: Some(bounded(&hex::encode(self.public_key()))?),
            wallet_state_init: bounded(&self.state_init)?,
            proof: SignedProof {
                timestamp: seconds,
                domain: SignedDomain {
                    length_bytes: u32::try_from(domain.len()).ok()?,
                    value: bounded(domain)?,
                },
                payload: bounded(payload)?,
                signature: bounded(&STANDARD.encode(signature))?,
            },
        })
    }
}

fn bounded<const BYTES_MAX: usize>(text: &str) -> Option<BoundedText<BYTES_MAX>> {
    BoundedText::new(text.to_owned())
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet")
            .field("address", &self.address)
            .field("version", &self.version)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}
