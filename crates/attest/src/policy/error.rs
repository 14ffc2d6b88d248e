//! Why a policy cannot stand.

use super::POLICY_BYTES_MAX;

/// One mistake in a policy file, or in what vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("the file has more than {POLICY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the file is not readable: {0}")]
    Shape(String),
    #[error("{field}: {problem}")]
    Field { field: String, problem: String },
    #[error("mode = \"production\" refuses {0}: remove it")]
    InsecureInProduction(&'static str),
    #[error("this build has no software evidence (cargo feature soft-tee): remove [software]")]
    SoftwareNotBuilt,
    #[error("the signature file is not readable: {0}")]
    SignatureFile(String),
    #[error("{valid} of the known keys signed the file, {threshold} are needed")]
    Signatures { valid: usize, threshold: usize },
    #[error("at least one key must be known, and the threshold must be 1 to their number")]
    Threshold,
    #[error("the policy has ended")]
    Expired,
    #[error("version {version} is older than version {seen}, which was in force")]
    Rollback { seen: u64, version: u64 },
    #[error("version {version} was in force with other contents: raise the version")]
    SameVersion { version: u64 },
}

impl PolicyError {
    /// A stable code for logs and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "policy_too_large",
            Self::Shape(_) => "policy_shape",
            Self::Field { .. } => "policy_field",
            Self::InsecureInProduction(_) => "policy_insecure_in_production",
            Self::SoftwareNotBuilt => "policy_software_not_built",
            Self::SignatureFile(_) => "policy_signature_file",
            Self::Signatures { .. } => "policy_signatures",
            Self::Threshold => "policy_threshold",
            Self::Expired => "policy_expired",
            Self::Rollback { .. } => "policy_rollback",
            Self::SameVersion { .. } => "policy_same_version",
        }
    }
}
