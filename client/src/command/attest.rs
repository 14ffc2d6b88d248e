//! `cocoon attest`: judge a vendor's evidence without a network, or a gateway's workers over it.

pub(crate) mod input;
mod report;
mod rules;
mod verify;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
pub(crate) enum AttestCommand {
    /// Check a quote or a report against its vendor's roots, and a policy, offline
    Verify(verify::VerifyArgs),
    /// Have a gateway's workers prove themselves to your own policy, over a nonce of yours
    Report(report::ReportArgs),
}

pub(crate) async fn run(context: &Context, command: AttestCommand) -> Result<(), CliError> {
    match command {
        AttestCommand::Verify(args) => verify::run(context, &args),
        AttestCommand::Report(args) => report::run(context, &args).await,
    }
}
