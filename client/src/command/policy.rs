//! `cocoon policy`: make the key that signs policies, sign one, and check one.

mod check;
mod sign;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cocoon_attest::policy::{POLICY_BYTES_MAX, PolicyError, PolicyKey};

use super::attest::input;
use crate::context::Context;
use crate::error::CliError;
use crate::{output, private_file};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Make a key that signs policies
    NewKey(NewKeyArgs),
    /// Sign a policy, beside it in POLICY.sig
    Sign(sign::SignArgs),
    /// Read a policy, check its signatures, and show what it admits
    Check(check::CheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NewKeyArgs {
    /// Where the secret goes; an existing file is never replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(context: &Context, command: &PolicyCommand) -> Result<(), CliError> {
    match command {
        PolicyCommand::NewKey(args) => new_key(context, args),
        PolicyCommand::Sign(args) => sign::run(context, args),
        PolicyCommand::Check(args) => check::run(context, args),
    }
}

fn new_key(context: &Context, args: &NewKeyArgs) -> Result<(), CliError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system gives random bytes");
    private_file::create(&args.out, &format!("{}\n", hex::encode(seed)))?;
    let key = hex::encode(PolicyKey::from_seed(&seed).public());
    if context.as_json {
        output::json(&serde_json::json!({ "key": key }))
    } else {
        output::line(&format!("public key  {key}"))
    }
}

fn read_policy(path: &Path) -> Result<Vec<u8>, CliError> {
    let bytes_max = u64::try_from(POLICY_BYTES_MAX).expect("a bound fits in 64 bits");
    input::read(path, bytes_max)
}

/// Where the signatures of a policy are unless they are said to be elsewhere.
fn signatures_beside(policy: &Path) -> PathBuf {
    let mut path = policy.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// All mistakes as one refusal, under the first one's code.
fn refused(errors: &[PolicyError]) -> CliError {
    let reasons: Vec<String> = errors.iter().map(PolicyError::to_string).collect();
    CliError::Policy {
        code: errors.first().map_or("policy_refused", PolicyError::code),
        reason: output::plain(&reasons.join("\n  ")),
    }
}
