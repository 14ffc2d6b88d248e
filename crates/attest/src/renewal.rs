//! Prolonging a lease: light, by the receipt key over the connection, or full, by new evidence.
//!
//! A renewed lease keeps its id, its evidence and policy digests and its models; only its end moves.
//! What a receipt states about its lease therefore stays true for the whole life of a connection.
//! After a change of the policy a light renewal is refused until evidence was brought under the new
//! one: [`full`] gives back what it proved, and the next light renewals rest on that.

use cocoon_primitives::{LeaseId, Timestamp};
use ed25519_dalek::{Signature, VerifyingKey};

use crate::appraisal::Appraised;
use crate::enrol::{Attested, Refusal};
use crate::lease::Lease;
use crate::policy::Policy;
use crate::receipt::ReceiptKey;
use crate::sha256;

/// Why a lease was not prolonged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenewalFault {
    #[error("the lease has ended")]
    Expired,
    #[error("the policy changed since the evidence was brought")]
    Policy,
    #[error("the signature does not verify")]
    Signature,
    #[error("the new evidence is of another worker, machine, image or workload")]
    Changed,
    #[error("the policy no longer admits the worker")]
    Refused(#[source] Refusal),
}

impl RenewalFault {
    /// A stable code for metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Expired => "lease_expired",
            Self::Policy => "renewal_policy_changed",
            Self::Signature => "renewal_signature",
            Self::Changed => "renewal_changed",
            Self::Refused(refusal) => refusal.code(),
        }
    }
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

/// What a light renewal prolongs, and on which connection.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    pub lease: &'a Lease,
    /// What the last full evidence of this connection proved.
    pub appraised: &'a Appraised,
    /// The exporter of this connection, RFC 9266.
    pub exporter: &'a [u8; 32],
}

impl LightChallenge {
    /// A challenge from 32 random bytes.
    pub fn issue(random: [u8; 32]) -> Self {
        Self { nonce: random }
    }

    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// Checks the worker's answer, and that the policy still admits what the worker proved.
    pub fn verify(
        self,
        held: &Held<'_>,
        signature: &[u8; 64],
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Renewed, RenewalFault> {
        let Held { lease, appraised, exporter } = *held;
        let message = message(&self.nonce, exporter, lease.lease_id);
        let key =
            VerifyingKey::from_bytes(&lease.receipt_key).map_err(|_| RenewalFault::Signature)?;
        key.verify_strict(&message, &Signature::from_bytes(signature))
            .map_err(|_| RenewalFault::Signature)?;
        if !lease.is_live(now) {
            return Err(RenewalFault::Expired);
        }
        if appraised.policy_digest != policy.digest() {
            return Err(RenewalFault::Policy);
        }
        if appraised.worker_id != lease.worker_id {
            return Err(RenewalFault::Changed);
        }
        let admission = policy.admit(appraised, now).map_err(RenewalFault::Refused)?;
        let expires = now.saturating_add(policy.lease_life()).min(admission.until);
        Ok(Renewed { lease: Lease { expires, ..lease.clone() } })
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

/// Prolongs `lease` by evidence that verified anew on the same connection. `held` is what the evidence
/// before it proved: the worker, its image, its machine and its devices are the same, or it is another.
pub fn full(
    lease: &Lease,
    held: &Appraised,
    attested: Attested,
    now: Timestamp,
) -> Result<(Renewed, Appraised), RenewalFault> {
    let (new, appraised) = attested.into_parts();
    let same = new.worker_id == lease.worker_id
        && new.receipt_key == lease.receipt_key
        && new.hpke_key == lease.hpke_key
        && new.tls_spki_sha256 == lease.tls_spki_sha256
        && new.payee == lease.payee
        && new.models == lease.models
        && new.image == lease.image
        && new.assurance == lease.assurance
        && appraised.is_same_worker(held);
    if !same {
        return Err(RenewalFault::Changed);
    }
    if !lease.is_live(now) {
        return Err(RenewalFault::Expired);
    }
    Ok((Renewed { lease: Lease { expires: new.expires, ..lease.clone() } }, appraised))
}

fn message(nonce: &[u8; 32], exporter: &[u8; 32], lease_id: LeaseId) -> [u8; 32] {
    sha256(&[b"cocoon/renew/v1\0", nonce, exporter, lease_id.as_bytes()])
}
