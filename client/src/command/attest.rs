//! `cocoon attest`: judge a vendor's evidence without a network.

mod input;
mod verify;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
pub(crate) enum AttestCommand {
    /// Check a quote or a report against its vendor's roots, offline
    Verify(verify::VerifyArgs),
}

pub(crate) fn run(context: &Context, command: &AttestCommand) -> Result<(), CliError> {
    match command {
        AttestCommand::Verify(args) => verify::run(context, args),
    }
}
