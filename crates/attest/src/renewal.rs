//! Prolonging a lease: light, by the receipt key over the connection, or full, by new evidence.
//!
//! A renewed lease keeps its id, its evidence digest and its models; only its end moves. What a
//! receipt states about its lease therefore stays true for the whole life of a connection.

use cocoon_primitives::{LeaseId, Timestamp};
use ed25519_dalek::{Signature, VerifyingKey};

use crate::enrol::Attested;
use crate::lease::Lease;
use crate::policy::Policy;
use crate::receipt::ReceiptKey;
use crate::sha256;

/// Why a lease was not prolonged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RenewalFault {
    #[error("the lease has ended")]
    Expired,
    #[error("the policy changed since the lease was granted")]
    Policy,
    #[error("the signature does not verify")]
    Signature,
    #[error("the new evidence is of another worker or workload")]
    Changed,
}

/// A lease with a later end. Comes only from a renewal that verified.
#[derive(Debug)]
pub struct Renewed {
    lease: Lease,
}

impl Renewed {
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    pub fn into_lease(self) -> Lease {
        self.lease
    }
}

/// The gateway's question for a light renewal; verification consumes it.
#[derive(Debug)]
pub struct LightChallenge {
    nonce: [u8; 32],
}

impl LightChallenge {
    /// A challenge from 32 random bytes.
    pub fn issue(random: [u8; 32]) -> Self {
        Self { nonce: random }
    }

    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// Checks the worker's answer on the connection whose exporter is given.
    pub fn verify(
        self,
        lease: &Lease,
        exporter: &[u8; 32],
        signature: &[u8; 64],
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Renewed, RenewalFault> {
        let message = message(&self.nonce, exporter, lease.lease_id);
        let key =
            VerifyingKey::from_bytes(&lease.receipt_key).map_err(|_| RenewalFault::Signature)?;
        key.verify_strict(&message, &Signature::from_bytes(signature))
            .map_err(|_| RenewalFault::Signature)?;
        prolong(lease, policy, now)
    }
}

/// The worker's answer to a light renewal.
pub fn answer(
    key: &ReceiptKey,
    nonce: &[u8; 32],
    exporter: &[u8; 32],
    lease_id: LeaseId,
) -> [u8; 64] {
    key.sign(&message(nonce, exporter, lease_id))
}

/// Prolongs `lease` by evidence that verified anew on the same connection.
pub fn full(
    lease: &Lease,
    attested: Attested,
    policy: &Policy,
    now: Timestamp,
) -> Result<Renewed, RenewalFault> {
    let new = attested.into_lease();
    let same = new.worker_id == lease.worker_id
        && new.receipt_key == lease.receipt_key
        && new.tls_spki_sha256 == lease.tls_spki_sha256
        && new.payee == lease.payee
        && new.models == lease.models
        && new.assurance == lease.assurance;
    if same { prolong(lease, policy, now) } else { Err(RenewalFault::Changed) }
}

fn prolong(lease: &Lease, policy: &Policy, now: Timestamp) -> Result<Renewed, RenewalFault> {
    if !lease.is_live(now) {
        return Err(RenewalFault::Expired);
    }
    if lease.policy_digest != policy.digest() {
        return Err(RenewalFault::Policy);
    }
    let expires = now.saturating_add(policy.lease_life());
    Ok(Renewed { lease: Lease { expires, ..lease.clone() } })
}

fn message(nonce: &[u8; 32], exporter: &[u8; 32], lease_id: LeaseId) -> [u8; 32] {
    sha256(&[b"cocoon/renew/v1\0", nonce, exporter, lease_id.as_bytes()])
}
