//! What a gateway accepts, and the digest by which a worker sees what it is judged by.
//!
//! The development form: one vendor-less kind of evidence and a list of models. Shape:
//! [`PolicyFile`] is what a person writes, [`Policy`] what was validated. Empty means nothing:
//! an empty model list admits no model.

use std::time::Duration;

use cocoon_primitives::{Digest, ModelName};
use serde::{Deserialize, Serialize};

use crate::cbor::Encoder;
use crate::sha256;

/// The longest life of a lease.
const LEASE_SECONDS_MAX: u64 = 600;
const ROOTS_MAX: usize = 16;
const MODELS_MAX: usize = 1024;

/// How much a deployment may relax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Software evidence may be allowed.
    Development,
    /// Software evidence is refused, at start and at enrolment.
    Production,
}

/// The policy as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    pub mode: Mode,
    #[serde(default)]
    pub insecure_allow_software_tee: bool,
    /// Ed25519 public keys, hex.
    #[serde(default)]
    pub software_roots: Vec<Digest>,
    pub models: ModelRule,
    pub lease_seconds: u64,
}

/// Which models a worker may serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ModelRule {
    /// `"*"`.
    Any(AnyModel),
    Listed(Vec<ModelPin>),
}

impl ModelRule {
    pub const ANY: Self = Self::Any(AnyModel::Any);
}

/// The text `"*"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnyModel {
    #[serde(rename = "*")]
    Any,
}

/// A model and the digest of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPin {
    pub name: ModelName,
    pub manifest_digest: Digest,
}

/// A policy that cannot stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error(
        "mode = \"production\" refuses software evidence: remove insecure_allow_software_tee and software_roots"
    )]
    SoftwareInProduction,
    #[error("this build has no software evidence (cargo feature soft-tee)")]
    SoftwareNotBuilt,
    #[error("software evidence is allowed but software_roots names no key, or the other way round")]
    SoftwareRoots,
    #[error("software_roots holds more than {ROOTS_MAX} keys")]
    TooManyRoots,
    #[error("models lists no model, or more than {MODELS_MAX}")]
    Models,
    #[error("lease_seconds must be 1 to {LEASE_SECONDS_MAX}")]
    LeaseSeconds,
}

/// A validated policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    file: PolicyFile,
    digest: Digest,
}

impl PolicyFile {
    /// Checks every rule and reports all that fail.
    pub fn validate(self) -> Result<Policy, Vec<PolicyError>> {
        let mut errors = Vec::new();
        let has_roots = !self.software_roots.is_empty();
        if self.insecure_allow_software_tee || has_roots {
            if self.mode == Mode::Production {
                errors.push(PolicyError::SoftwareInProduction);
            }
            if !cfg!(feature = "soft-tee") {
                errors.push(PolicyError::SoftwareNotBuilt);
            }
            if self.insecure_allow_software_tee != has_roots {
                errors.push(PolicyError::SoftwareRoots);
            }
        }
        if self.software_roots.len() > ROOTS_MAX {
            errors.push(PolicyError::TooManyRoots);
        }
        if let ModelRule::Listed(pins) = &self.models
            && (pins.is_empty() || pins.len() > MODELS_MAX)
        {
            errors.push(PolicyError::Models);
        }
        if !(1..=LEASE_SECONDS_MAX).contains(&self.lease_seconds) {
            errors.push(PolicyError::LeaseSeconds);
        }
        if errors.is_empty() {
            let digest = self.digest();
            Ok(Policy { file: self, digest })
        } else {
            Err(errors)
        }
    }

    fn digest(&self) -> Digest {
        let mut out = Encoder::new();
        out.map(5);
        out.unsigned(1).unsigned(match self.mode {
            Mode::Development => 0,
            Mode::Production => 1,
        });
        out.unsigned(2).unsigned(u64::from(self.insecure_allow_software_tee));
        out.unsigned(3).array(self.software_roots.len());
        for root in &self.software_roots {
            out.bytes(root.as_bytes());
        }
        out.unsigned(4);
        match &self.models {
            ModelRule::Any(AnyModel::Any) => {
                out.text("*");
            }
            ModelRule::Listed(pins) => {
                out.array(pins.len());
                for pin in pins {
                    out.array(2).text(pin.name.as_str()).bytes(pin.manifest_digest.as_bytes());
                }
            }
        }
        out.unsigned(5).unsigned(self.lease_seconds);
        Digest::from_bytes(sha256(&[b"cocoon/policy/v1\0", &out.into_bytes()]))
    }
}

impl Policy {
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn mode(&self) -> Mode {
        self.file.mode
    }

    pub fn allows_software(&self) -> bool {
        self.file.insecure_allow_software_tee
    }

    /// How long a lease lives.
    pub fn lease_life(&self) -> Duration {
        Duration::from_secs(self.file.lease_seconds)
    }

    #[cfg(feature = "soft-tee")]
    pub(crate) fn trusts_root(&self, root: &[u8; 32]) -> bool {
        self.file.software_roots.iter().any(|known| known.as_bytes() == root)
    }

    pub(crate) fn admits_model(&self, name: &ModelName, manifest_digest: &Digest) -> bool {
        match &self.file.models {
            ModelRule::Any(AnyModel::Any) => true,
            ModelRule::Listed(pins) => {
                pins.iter().any(|pin| pin.name == *name && pin.manifest_digest == *manifest_digest)
            }
        }
    }
}
