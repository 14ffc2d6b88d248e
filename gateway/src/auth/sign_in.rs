//! A wallet signs in: nonce, proof, session.
//!
//! The order is fixed by TON Connect's attacks: everything is checked purely first, then the
//! nonce is used up in one transaction, and only then does the caller hear of success. A second
//! proof over the same nonce fails even when both arrive at once.

use std::sync::Arc;
use std::time::Duration;

use cocoon_primitives::{Clock, Timestamp};
use cocoon_store::{Store, StoreError};
use cocoon_ton::{NonceError, NoncePayload, ProofError, ProofPolicy, UnverifiedProof};

use super::{Session, Sessions};

/// How long a wallet's holder has to sign.
const NONCE_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// How far a proof's own time may lie behind and ahead of ours.
const PROOF_AGE_MAX: Duration = Duration::from_secs(300);
const PROOF_FUTURE_MAX: Duration = Duration::from_secs(60);

/// What a wallet is asked to sign.
#[derive(Debug)]
pub struct Challenge {
    pub payload: String,
    /// Binds the payload to one sign-in: the client sends it back with the proof.
    pub attempt: String,
    pub expires_at: Timestamp,
}

/// Why a sign-in failed.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    #[error("the proof is refused")]
    Proof(#[from] ProofError),
    #[error("the payload is refused")]
    Nonce(#[from] NonceError),
    #[error("the payload was used before")]
    Replayed,
    #[error("failed to record the sign-in")]
    Store(#[from] StoreError),
}

/// Issues challenges and opens sessions.
pub struct SignIn {
    nonce_key: [u8; 32],
    policy: ProofPolicy,
    sessions: Arc<Sessions>,
    store: Store,
}

impl SignIn {
    /// `domains` and `network` are the configuration's: the client chooses neither.
    pub fn new(
        nonce_key: [u8; 32],
        domains: Vec<String>,
        network: cocoon_ton::Network,
        sessions: Arc<Sessions>,
        store: Store,
    ) -> Self {
        let policy = ProofPolicy {
            domains,
            network,
            workchains: vec![0],
            max_age: PROOF_AGE_MAX,
            max_future: PROOF_FUTURE_MAX,
        };
        Self { nonce_key, policy, sessions, store }
    }

    /// Nothing is stored: whoever asks for a million challenges costs a million hashes.
    pub fn challenge(&self, now: Timestamp) -> Challenge {
        let attempt = hex::encode(super::random::<16>());
        let lifetime_end = now.saturating_add(NONCE_LIFETIME);
        let expires_at = Timestamp::from_seconds(lifetime_end.as_seconds());
        let payload = NoncePayload::issue(&self.nonce_key, super::random(), &attempt, expires_at);
        Challenge { payload, attempt, expires_at }
    }

    /// Checks a proof and opens its wallet's session. Two round trips to the store.
    pub async fn finish(
        &self,
        proof: &UnverifiedProof,
        clock: &dyn Clock,
    ) -> Result<Session, SignInError> {
        let now = clock.now();
        let payload = proof.proof.payload.as_str();
        let nonce = NoncePayload::check(&self.nonce_key, payload, proof.attempt.as_str(), now)?;
        let wallet = cocoon_ton::verify(proof, &self.policy, now)?;
        if !self.store.consume_nonce(nonce.id, nonce.expires_at, now).await? {
            return Err(SignInError::Replayed);
        }
        self.store.ensure_wallet(wallet.address(), wallet.public_key(), now).await?;
        Ok(self.sessions.open(wallet.address(), now))
    }
}
