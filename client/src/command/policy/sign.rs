//! `cocoon policy sign`.

use std::path::{Path, PathBuf};

use clap::Args;
use cocoon_attest::policy::{Policy, PolicyKey, SignatureFile};
use zeroize::Zeroizing;

use super::{read_policy, refused, signatures_beside};
use crate::context::Context;
use crate::error::CliError;
use crate::{output, private_file};

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The policy, in TOML
    policy: PathBuf,
    /// The key's file, from `cocoon policy new-key`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Keep the other signatures that POLICY.sig holds
    #[arg(long)]
    add: bool,
}

/// Signs only what holds together: a policy with mistakes is refused.
pub(super) fn run(context: &Context, args: &SignArgs) -> Result<(), CliError> {
    let file = read_policy(&args.policy)?;
    let policy = Policy::parse(&file).map_err(|errors| refused(&errors))?;
    let key = read_key(&args.key)?;
    let path = signatures_beside(&args.policy);
    let mut signatures = if args.add { read_signatures(&path)? } else { SignatureFile::default() };
    signatures.set(key.public(), key.sign(&file));
    write(&path, &signatures.to_json())?;
    let (digest, count) = (policy.digest(), signatures.keys().count());
    if context.as_json {
        return output::json(&serde_json::json!({
            "signatures": path.display().to_string(),
            "key": hex::encode(key.public()),
            "digest": digest,
            "count": count,
        }));
    }
    output::line(&format!("signed   {digest} (version {})", policy.version()))?;
    output::line(&format!("written  {} ({count} in all)", path.display()))
}

fn read_key(path: &Path) -> Result<PolicyKey, CliError> {
    let text = Zeroizing::new(private_file::read(path)?);
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), seed.as_mut_slice()).map_err(|_| CliError::Content {
        path: path.into(),
        reason: "it does not hold 64 hex digits".into(),
    })?;
    Ok(PolicyKey::from_seed(&seed))
}

fn read_signatures(path: &Path) -> Result<SignatureFile, CliError> {
    match std::fs::read(path) {
        Ok(bytes) => SignatureFile::parse(&bytes).map_err(|error| refused(&[error])),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(SignatureFile::default()),
        Err(source) => Err(CliError::File { action: "read", path: path.into(), source }),
    }
}

/// As a whole or not at all: a gateway may be reading.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    std::fs::write(&next, text)
        .and_then(|()| std::fs::rename(&next, path))
        .map_err(|source| CliError::File { action: "write", path: path.into(), source })
}
