//! The gateway's side: one challenge, one verdict.

use std::time::Duration;

use cocoon_primitives::{Assurance, Digest, LeaseId, Timestamp};

use super::bind::{Bind, Keys, report_data};
use super::challenge::Challenge;
use super::fault::{BindingFault, Refusal};
use super::message::{UnverifiedEvidence, no_devices};
use super::proof;
use super::workload::Workload;
use crate::evidence;
use crate::lease::Lease;
use crate::policy::Policy;
use crate::receipt::worker_id;
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

/// A worker whose evidence verified. There is no other way to make one.
#[derive(Debug)]
pub struct Attested {
    lease: Lease,
}

impl Attested {
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    pub fn into_lease(self) -> Lease {
        self.lease
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
        let challenge = Challenge {
            challenge_id: id.try_into().expect("split at 16"),
            nonce: nonce.try_into().expect("32 of 48 are left"),
            gw_spki_sha256,
            policy_digest: policy.digest(),
            expires: now.saturating_add(CHALLENGE_LIFE),
        };
        Self { challenge }
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
        self.check_binding(&message, presented.exporter).map_err(Refusal::Binding)?;
        let keys = Keys::decode(&message.keys)?;
        if keys.tls_spki != presented.peer_spki {
            return Err(Refusal::TlsKey);
        }
        if !proof::holds(&keys.receipt_key, &message.bind, &message.receipt_key_proof) {
            return Err(Refusal::ReceiptKey);
        }
        let workload = Workload::decode(&message.wl)?;
        if message.dev != no_devices() {
            return Err(Refusal::Devices);
        }
        let report_data = report_data(&message.bind);
        let assurance = evidence::appraise(&message.evidence, &report_data, policy, now)
            .map_err(Refusal::Evidence)?;
        let listed =
            |model: &super::WorkloadModel| policy.admits_model(&model.name, &model.manifest_digest);
        if !workload.models.iter().all(listed) {
            return Err(Refusal::Model);
        }
        let lease = grant(presented, &keys, workload, assurance, policy, now);
        Ok(Attested { lease })
    }

    fn check_binding(
        &self,
        message: &UnverifiedEvidence,
        exporter: &[u8; 32],
    ) -> Result<(), BindingFault> {
        // A bind that does not parse carries no nonce of ours.
        let bind = Bind::decode(&message.bind).map_err(|_| BindingFault::Nonce)?;
        let challenge = &self.challenge;
        let checks = [
            (bind.nonce == challenge.nonce, BindingFault::Nonce),
            (bind.exporter == *exporter, BindingFault::Exporter),
            (bind.gw_spki_sha256 == challenge.gw_spki_sha256, BindingFault::GatewayKey),
            (bind.policy_digest == challenge.policy_digest, BindingFault::Policy),
            (bind.h_keys == sha256(&[&message.keys]), BindingFault::Keys),
            (bind.h_dev == sha256(&[&message.dev]), BindingFault::Devices),
            (bind.h_wl == sha256(&[&message.wl]), BindingFault::Workload),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, fault)) => Err(fault),
            None => Ok(()),
        }
    }
}

fn grant(
    presented: &Presented<'_>,
    keys: &Keys,
    workload: Workload,
    assurance: Assurance,
    policy: &Policy,
    now: Timestamp,
) -> Lease {
    Lease {
        lease_id: presented.lease_id,
        worker_id: worker_id(&keys.receipt_key),
        receipt_key: keys.receipt_key,
        tls_spki_sha256: Digest::from_bytes(sha256(&[&keys.tls_spki])),
        payee: keys.payee,
        models: workload.models,
        assurance,
        evidence_digest: evidence_digest(presented.evidence),
        policy_digest: policy.digest(),
        issued: now,
        expires: now.saturating_add(policy.lease_life()),
    }
}

/// The digest by which leases and receipts name an evidence message.
pub fn evidence_digest(message: &[u8]) -> Digest {
    Digest::from_bytes(sha256(&[b"cocoon/evidence/v1\0", message]))
}
