//! The gateway's side: one challenge, one verdict.

use std::time::Duration;

use cocoon_primitives::{Digest, LeaseId, Timestamp};

use super::challenge::Challenge;
use super::fault::{BindingFault, Refusal};
use super::message::UnverifiedEvidence;
use crate::appraisal::{self, Appraised};
use crate::lease::Lease;
use crate::policy::{Admission, Policy};
use crate::sha256;

/// How long a worker has to answer.
const CHALLENGE_LIFE: Duration = Duration::from_secs(60);

/// A challenge that was sent and not answered. It is not `Clone`: its verification takes it.
#[derive(Debug)]
pub struct OpenChallenge {
    challenge: Challenge,
}

/// What came back, and over which connection.
#[derive(Debug, Clone)]
pub struct Presented<'a> {
    /// The evidence message as received.
    pub evidence: &'a [u8],
    /// The exporter of this connection, RFC 9266.
    pub exporter: &'a [u8; 32],
    /// The peer's TLS key as SubjectPublicKeyInfo in DER.
    pub peer_spki: &'a [u8],
    /// The id that a lease would get: 16 random bytes.
    pub lease_id: LeaseId,
}

/// A worker whose evidence verified and whom the policy admits. There is no other way to make one.
#[derive(Debug)]
pub struct Attested {
    lease: Lease,
    appraised: Appraised,
}

impl Attested {
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// What the evidence proved: a changed policy judges it again.
    pub fn appraised(&self) -> &Appraised {
        &self.appraised
    }

    pub fn into_parts(self) -> (Lease, Appraised) {
        (self.lease, self.appraised)
    }
}

impl OpenChallenge {
    /// A challenge from 48 random bytes: id and nonce.
    pub fn issue(
        random: &[u8; 48],
        gw_spki_sha256: Digest,
        policy: &Policy,
        now: Timestamp,
    ) -> Self {
        let (id, nonce) = random.split_at(16);
        let id = id.try_into().expect("split at 16");
        let nonce = nonce.try_into().expect("32 of 48 are left");
        Self::issue_for(nonce, id, gw_spki_sha256, policy, now)
    }

    /// A challenge over a nonce that others chose, and an id of 16 random bytes.
    pub fn issue_for(
        nonce: [u8; 32],
        challenge_id: [u8; 16],
        gw_spki_sha256: Digest,
        policy: &Policy,
        now: Timestamp,
    ) -> Self {
        let policy_digest = policy.digest();
        let expires = now.saturating_add(CHALLENGE_LIFE);
        Self {
            challenge: Challenge { challenge_id, nonce, gw_spki_sha256, policy_digest, expires },
        }
    }

    /// What the worker gets.
    pub fn message(&self) -> Vec<u8> {
        self.challenge.encode()
    }

    /// The verdict. Pure, fail-closed, and final for this challenge.
    pub fn verify(
        self,
        presented: &Presented<'_>,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Attested, Refusal> {
        let message = UnverifiedEvidence::decode(presented.evidence)?;
        if message.challenge_id != self.challenge.challenge_id {
            return Err(Refusal::UnknownChallenge);
        }
        if now >= self.challenge.expires {
            return Err(Refusal::Expired);
        }
        if policy.digest() != self.challenge.policy_digest {
            return Err(Refusal::PolicyChanged);
        }
        let bound = appraisal::unbind(&message)?;
        let challenge = &self.challenge;
        let checks = [
            (bound.bind.nonce == challenge.nonce, BindingFault::Nonce),
            (bound.bind.exporter == *presented.exporter, BindingFault::Exporter),
            (bound.bind.gw_spki_sha256 == challenge.gw_spki_sha256, BindingFault::GatewayKey),
            (bound.bind.policy_digest == challenge.policy_digest, BindingFault::Policy),
        ];
        if let Some((_, fault)) = checks.into_iter().find(|(holds, _)| !holds) {
            return Err(Refusal::Binding(fault));
        }
        if bound.keys.tls_spki != presented.peer_spki {
            return Err(Refusal::TlsKey);
        }
        let digest = evidence_digest(presented.evidence);
        let appraised = appraisal::judge(&message, bound, digest, policy, now)?;
        let admission = policy.admit(&appraised, now)?;
        let lease = grant(presented.lease_id, &appraised, admission, policy, now);
        Ok(Attested { lease, appraised })
    }
}

fn grant(
    lease_id: LeaseId,
    appraised: &Appraised,
    admission: Admission,
    policy: &Policy,
    now: Timestamp,
) -> Lease {
    Lease {
        lease_id,
        worker_id: appraised.worker_id,
        receipt_key: appraised.receipt_key,
        tls_spki_sha256: appraised.tls_spki_sha256,
        payee: appraised.payee,
        models: appraised.workload.models.clone(),
        assurance: appraised.assurance,
        evidence_digest: appraised.evidence_digest,
        policy_digest: policy.digest(),
        issued: now,
        expires: now.saturating_add(policy.lease_life()).min(admission.until),
        hpke_key: appraised.hpke_key,
        image: admission.image,
    }
}

/// The digest by which leases and receipts name an evidence message.
pub fn evidence_digest(message: &[u8]) -> Digest {
    Digest::from_bytes(sha256(&[b"cocoon/evidence/v1\0", message]))
}
