//! What a gateway accepts: a reviewable file, signed, and the judgement by it.
//!
//! Shape: [`SignedPolicy::verify`] holds the file's bytes to its signatures and gives a [`Policy`];
//! [`Policy::parse`] reads one that nobody signed, for tools and tests. [`Policy::admit`] judges what
//! [`crate::appraisal`] proved, without cryptography, so a reload judges every live lease again.
//! Invariants: an unknown key is an error and all mistakes in values are reported at once; an empty
//! list admits nothing; a policy ends by itself; a production policy knows vendors' roots alone and none
//! of the switches that begin with `insecure`; a version is never followed by a lower one.

mod admit;
mod check;
mod error;
mod fault;
mod key;
mod raw;
mod rules;
mod seen;
mod signed;

use std::time::Duration;

use cocoon_primitives::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

pub use admit::Admission;
pub use error::PolicyError;
pub use fault::{
    GpuFault, ImageFault, MachineFault, ModelFault, PolicyFault, Revoked, SnpFault, TcbPart,
    TdxFault,
};
pub use key::PolicyKey;
pub use rules::{
    GpuRow, HardwareId, ImageRow, MachineRow, Measured, ModelRow, Registers, Revocations, SnpRules,
    SoftwareRoots, TdxRules,
};
pub use seen::Seen;
pub use signed::{SignatureFile, SignedPolicy, signed_hash};

use rules::Rules;

/// Bytes in a policy file at most.
pub const POLICY_BYTES_MAX: usize = 1024 * 1024;

/// How much a deployment may relax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Software evidence may be allowed.
    Development,
    /// Software evidence is refused, at start and at enrolment.
    Production,
}

/// What happens to answers that stream on a lease which a changed policy ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRevocation {
    /// They run to their end.
    Finish,
    /// They are cut at once.
    Cut,
}

/// A policy that was read and holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Rules,
    digest: Digest,
}

impl Policy {
    /// Reads a policy without asking who signed it. Every mistake is reported.
    pub fn parse(file: &[u8]) -> Result<Self, Vec<PolicyError>> {
        let rules = check::read(file)?;
        Ok(Self { rules, digest: Digest::from_bytes(signed_hash(file)) })
    }

    /// SHA-256("cocoon/policy/v1\0" ‖ file): also what is signed.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn version(&self) -> u64 {
        self.rules.version
    }

    pub fn mode(&self) -> Mode {
        self.rules.mode
    }

    /// From this moment on it admits nobody.
    pub fn not_after(&self) -> Timestamp {
        self.rules.not_after
    }

    /// How long a lease lives.
    pub fn lease_life(&self) -> Duration {
        self.rules.lease_life
    }

    /// How often a worker must bring all its evidence again.
    pub fn full_renewal(&self) -> Duration {
        self.rules.full_renewal
    }

    pub fn on_revocation(&self) -> OnRevocation {
        self.rules.on_revocation
    }

    /// The roots of software's evidence, where the policy allows it.
    pub fn software(&self) -> Option<&SoftwareRoots> {
        self.rules.software.as_ref()
    }

    pub fn allows_software(&self) -> bool {
        self.rules.software.is_some()
    }

    pub fn tdx(&self) -> Option<&TdxRules> {
        self.rules.tdx.as_ref()
    }

    pub fn snp(&self) -> Option<&SnpRules> {
        self.rules.snp.as_ref()
    }

    pub fn images(&self) -> &[ImageRow] {
        &self.rules.images
    }

    pub fn gpus(&self) -> &[GpuRow] {
        &self.rules.gpus
    }

    pub fn models(&self) -> &[ModelRow] {
        &self.rules.models
    }

    pub fn machines(&self) -> &[MachineRow] {
        &self.rules.machines
    }

    pub fn revoked(&self) -> &Revocations {
        &self.rules.revoked
    }

    /// The development switches that are on.
    pub fn insecure(&self) -> Vec<&'static str> {
        let switches = [
            (self.allows_software(), "software.insecure_allow"),
            (self.rules.any_model, "insecure_any_model"),
            (self.rules.any_machine, "insecure_any_machine"),
        ];
        switches.into_iter().filter_map(|(is_on, name)| is_on.then_some(name)).collect()
    }

    pub fn seen(&self) -> Seen {
        Seen { version: self.version(), digest: self.digest }
    }

    /// Whether it may follow what was in force last: a higher version, or the very same file.
    pub fn supersedes(&self, last_seen: Option<Seen>) -> Result<(), PolicyError> {
        match last_seen {
            Some(seen) if self.version() < seen.version => {
                Err(PolicyError::Rollback { seen: seen.version, version: self.version() })
            }
            Some(seen) if self.version() == seen.version && self.digest != seen.digest => {
                Err(PolicyError::SameVersion { version: self.version() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
