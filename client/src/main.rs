//! `cocoon`: the command line of a Cocoon gateway.
//!
//! Shape: [`cli`] reads the arguments, [`context`] resolves them (flag, then environment, then
//! the stored profile), one file in [`command`] per subcommand does the work and prints.
//! Invariants: secrets live only in files of mode 0600; nothing that a server sent reaches a
//! terminal with control characters in it; the exit code tells a script who has to act.

mod api;
mod cli;
mod command;
mod context;
mod error;
mod output;
mod private_file;
mod profile;
mod time;
mod trust;
mod wallet_file;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;

/// clap's own code for wrong usage is 2, which here means refused.
const EXIT_USAGE: u8 = 1;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing installed a provider before main");
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_help = !error.use_stderr();
            // A closed terminal is the only way to fail here, and then nobody is left to tell.
            let _ = error.print();
            return if is_help { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) };
        }
    };
    let as_json = cli.global.json;
    match command::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error, as_json);
            ExitCode::from(error.exit_code())
        }
    }
}
