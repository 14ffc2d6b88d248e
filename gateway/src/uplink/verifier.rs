//! Challenges and verdicts: evidence is judged off the runtime's threads, a few at a time.

use std::sync::Arc;

use cocoon_attest::enrol::{Attested, OpenChallenge, Presented, Refusal};
use cocoon_primitives::{Clock, Digest, LeaseId};
use tokio::sync::Semaphore;

use super::UplinkParts;
use crate::policy::{InForce, PolicyStore};
use crate::transparency::Transparency;

/// Verdicts at once. One costs milliseconds of a processor; what waits is bounded by the
/// handshakes and the connections.
const JUDGEMENTS_MAX: usize = 4;

/// The connection that evidence has to be bound to.
#[derive(Debug, Clone)]
pub(super) struct Channel {
    /// The exporter of this connection, RFC 9266.
    pub(super) exporter: [u8; 32],
    /// The peer's TLS key as SubjectPublicKeyInfo in DER.
    pub(super) peer_spki: Arc<[u8]>,
}

/// Evidence that holds, and what it was judged by.
pub(super) struct Judged {
    pub(super) attested: Attested,
    /// The message, to be kept.
    pub(super) evidence: Vec<u8>,
    pub(super) in_force: Arc<InForce>,
}

/// What evidence is judged with.
pub(super) struct Verifier {
    pub(super) spki_sha256: Digest,
    pub(super) policy: Arc<PolicyStore>,
    pub(super) transparency: Arc<Transparency>,
    pub(super) clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
}

impl Verifier {
    pub(super) fn new(spki_sha256: Digest, parts: &UplinkParts) -> Self {
        Self {
            spki_sha256,
            policy: Arc::clone(&parts.policy),
            transparency: Arc::clone(&parts.transparency),
            clock: Arc::clone(&parts.clock),
            places: Arc::new(Semaphore::new(JUDGEMENTS_MAX)),
        }
    }

    /// A challenge under the policy in force.
    pub(super) fn challenge(&self) -> OpenChallenge {
        let in_force = self.policy.in_force();
        OpenChallenge::issue(&random(), self.spki_sha256, &in_force.policy, self.clock.now())
    }

    /// A challenge over a nonce that somebody else chose.
    pub(super) fn challenge_for(&self, nonce: [u8; 32]) -> OpenChallenge {
        let in_force = self.policy.in_force();
        OpenChallenge::issue_for(
            nonce,
            random(),
            self.spki_sha256,
            &in_force.policy,
            self.clock.now(),
        )
    }

    /// The verdict under the policy in force now.
    pub(super) async fn judge(
        &self,
        open: OpenChallenge,
        evidence: Vec<u8>,
        channel: &Channel,
    ) -> Result<Judged, Refusal> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let (in_force, now, channel) = (self.policy.in_force(), self.clock.now(), channel.clone());
        let verdict = tokio::task::spawn_blocking(move || {
            let _place = place;
            let lease_id = LeaseId::from_bytes(random());
            let presented = Presented {
                evidence: &evidence,
                exporter: &channel.exporter,
                peer_spki: &channel.peer_spki,
                lease_id,
            };
            let attested = open.verify(&presented, &in_force.policy, now)?;
            Ok(Judged { attested, evidence, in_force })
        });
        verdict.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
