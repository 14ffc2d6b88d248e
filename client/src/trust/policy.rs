//! The user's own policy: which machines, images, GPUs and models may see a request.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use cocoon_attest::policy::{Policy, PolicyError, Seen, SignedPolicy};
use sha2::{Digest as _, Sha256};

use crate::command::attest::input;
use crate::error::CliError;
use crate::{output, private_file};

const FILE_BYTES_MAX: u64 = 1 << 20;
const SIGNATURES_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    /// Your policy: what is trusted with your requests
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// Its signatures [default: FILE.sig beside it, where a key is given]
    #[arg(long, value_name = "FILE", requires = "policy_keys")]
    pub(crate) policy_signatures: Option<PathBuf>,
    /// A key that must have signed it, in hex; repeat for more. Without one the file is trusted as
    /// it lies there
    #[arg(long = "policy-key", value_name = "HEX")]
    pub(crate) policy_keys: Vec<String>,
    /// How many of the keys must have signed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) policy_threshold: usize,
}

impl PolicyArgs {
    /// Reads the policy. One that has to be signed must also follow the last one that was seen
    /// under these keys, which is kept in `home`.
    pub(crate) fn load(&self, home: &Path) -> Result<Policy, CliError> {
        let file = input::read(&self.policy, FILE_BYTES_MAX)?;
        if self.policy_keys.is_empty() {
            return Policy::parse(&file).map_err(|errors| unusable(&self.policy, &errors));
        }
        let mut keys: Vec<[u8; 32]> =
            self.policy_keys.iter().map(|text| key_of(text)).collect::<Result<_, _>>()?;
        let path = self.policy_signatures.clone().unwrap_or_else(|| beside(&self.policy));
        let signatures = input::read(&path, SIGNATURES_BYTES_MAX)?;
        let policy = SignedPolicy::verify(&file, &signatures, &keys, self.policy_threshold)
            .map_err(|errors| unusable(&self.policy, &errors))?;
        keys.sort_unstable();
        let name = hex::encode(&Sha256::digest(keys.concat())[..16]);
        let seen_path = home.join("policies").join(format!("{name}.json"));
        let seen = seen(&seen_path)?;
        policy.supersedes(seen).map_err(|error| unusable(&self.policy, &[error]))?;
        if seen != Some(policy.seen()) {
            let text = serde_json::to_string(&policy.seen()).expect("our own type is JSON");
            private_file::replace(&seen_path, &text)?;
        }
        Ok(policy)
    }
}

/// The last policy that was seen, where there is one.
fn seen(path: &Path) -> Result<Option<Seen>, CliError> {
    let text = match private_file::read(path) {
        Err(CliError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other?,
    };
    serde_json::from_str(&text).map(Some).map_err(|_| CliError::Content {
        path: path.into(),
        reason: "it does not say which policy was seen last".into(),
    })
}

/// A policy that nobody has to have signed.
pub(crate) fn unsigned(path: &Path) -> Result<Policy, CliError> {
    let file = input::read(path, FILE_BYTES_MAX)?;
    Policy::parse(&file).map_err(|errors| unusable(path, &errors))
}

fn beside(policy: &Path) -> PathBuf {
    let mut path = policy.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

fn key_of(text: &str) -> Result<[u8; 32], CliError> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key).map_err(|_| CliError::Argument {
        what: "--policy-key",
        reason: "expected 64 hex digits".into(),
    })?;
    Ok(key)
}

fn unusable(path: &Path, errors: &[PolicyError]) -> CliError {
    let reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
    CliError::Content { path: path.into(), reason: output::plain(&reasons.join("; ")) }
}
