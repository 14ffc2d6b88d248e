//! Enrolment: a challenge, the evidence that answers it, and the verdict.
//!
//! Order is in the types. The gateway's [`OpenChallenge`] is consumed by its one verification,
//! whatever the outcome, so a nonce cannot serve twice. An [`Attested`] has no public
//! constructor and is what a fleet admits. The worker turns a [`Challenge`] into a [`Prepared`]
//! answer, whose report data its evidence must be over.
//!
//! Everything is bound: `bind` names the nonce, the TLS exporter of this connection (RFC 9266),
//! the gateway's key, the policy, and the hashes of keys, devices and workload; the evidence
//! covers SHA-512 of `bind`, and the receipt key signs it, so that nobody enrols under a key that
//! another one holds. The parts travel as verbatim byte strings, and a verifier hashes
//! what it received. Source: the attestation design §4.2–4.4.

mod bind;
mod challenge;
mod fault;
mod message;
pub(crate) mod proof;
mod verify;
mod workload;

#[cfg(test)]
#[cfg(feature = "soft-tee")]
mod tests;

pub(crate) use bind::{Bind, Keys, gpu_nonce, report_data};
pub use challenge::{Challenge, Claim, Prepared};
pub use fault::{BindingFault, DeviceFault, EvidenceFault, Refusal, SoftwareFault};
pub(crate) use message::UnverifiedEvidence;
pub use verify::{Attested, OpenChallenge, Presented, evidence_digest};
pub(crate) use workload::TEXT_BYTES_MAX;
pub use workload::{Workload, WorkloadModel};

/// The version of everything here.
const VERSION: u64 = 1;
