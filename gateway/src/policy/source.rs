//! Where the policy is, and what makes a file the policy.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cocoon_attest::policy::{Mode, POLICY_BYTES_MAX, Policy, PolicyError, SignedPolicy};
use cocoon_primitives::Timestamp;

use super::InForce;

/// How far ahead a production policy may end: what a lost key or a withheld revocation can do has
/// an end by then.
const PRODUCTION_LIFE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);
/// For clocks that differ.
const CLOCKS: Duration = Duration::from_secs(3600);

/// As configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySource {
    /// The signatures are beside it, under the same name with `.sig` at its end.
    pub path: PathBuf,
    pub trust: PolicyTrust,
    /// The policy has to be of this mode.
    pub mode: Mode,
}

/// Whose word a policy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyTrust {
    /// Whoever can write the file; development only.
    Unsigned,
    /// This many of these Ed25519 keys.
    Signed { keys: Vec<[u8; 32]>, threshold: usize },
}

/// One reason why a file is not the policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyProblem {
    #[error("failed to read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is over {POLICY_BYTES_MAX} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("{0}")]
    Policy(PolicyError),
    #[error("its mode is not the gateway's")]
    Mode,
    #[error("it ends more than 14 days from now, which production does not take")]
    EndsLate,
    #[error("it allows software evidence, which this build does not verify")]
    SoftwareNotBuilt,
    #[error("{} is not what a gateway wrote; no policy is safe from a rollback", path.display())]
    SeenMalformed { path: PathBuf },
    #[error("failed to write {}: {source}", path.display())]
    SeenWrite { path: PathBuf, source: io::Error },
}

/// The bytes of both files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    text: Vec<u8>,
    signatures: Vec<u8>,
}

impl PolicySource {
    /// Every mistake in the policy, for a configuration that is being checked. Blocks on the disk.
    pub fn check(&self) -> Vec<PolicyProblem> {
        match self.read() {
            Ok(files) => self.judge(&files).err().unwrap_or_default(),
            Err(fault) => vec![fault],
        }
    }

    pub(super) fn read(&self) -> Result<Files, PolicyProblem> {
        let text = read(&self.path)?;
        let signatures = match self.trust {
            PolicyTrust::Unsigned => Vec::new(),
            PolicyTrust::Signed { .. } => read(&self.signature_path())?,
        };
        Ok(Files { text, signatures })
    }

    /// `policy.toml.sig` beside `policy.toml`.
    fn signature_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".sig");
        path.into()
    }

    /// Whether a policy that is good ends soon enough to be put in force now.
    pub(super) fn check_end(&self, policy: &Policy, now: Timestamp) -> Result<(), PolicyProblem> {
        let latest = now.saturating_add(PRODUCTION_LIFE_MAX + CLOCKS);
        if self.mode == Mode::Production && policy.not_after() > latest {
            return Err(PolicyProblem::EndsLate);
        }
        Ok(())
    }

    pub(super) fn judge(&self, files: &Files) -> Result<InForce, Vec<PolicyProblem>> {
        let Files { text, signatures } = files;
        let policy = match &self.trust {
            PolicyTrust::Unsigned => Policy::parse(text),
            PolicyTrust::Signed { keys, threshold } => {
                SignedPolicy::verify(text, signatures, keys, *threshold)
            }
        };
        let policy = policy.map_err(|errors| {
            errors.into_iter().map(PolicyProblem::Policy).collect::<Vec<PolicyProblem>>()
        })?;
        let mut faults = Vec::new();
        if policy.mode() != self.mode {
            faults.push(PolicyProblem::Mode);
        }
        // Another crate of the same build may have turned the verifier on; this program's own
        // feature is what counts.
        if !cfg!(feature = "soft-tee") && policy.allows_software() {
            faults.push(PolicyProblem::SoftwareNotBuilt);
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(InForce { policy, text: text.clone(), signatures: signatures.clone() })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PolicyProblem> {
    let failed = |source| PolicyProblem::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(POLICY_BYTES_MAX).expect("the bound fits in 64 bits") + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > POLICY_BYTES_MAX {
        return Err(PolicyProblem::TooLong { path: path.to_owned() });
    }
    Ok(bytes)
}
