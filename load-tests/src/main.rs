//! `cocoon-load`: load for an OpenAI-compatible server, and a run of Cocoon's own parts under faults.
//!
//! `run` is an open loop against any URL. `chaos` starts a gateway and workers, kills them while requests run, and
//! then compares what clients saw with what the ledger says. Both are bounded in count and time, and send only to the
//! address they are given or to loopback. `costs` measures cryptography alone; it needs the feature `soft-tee`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod call;
mod chaos;
#[cfg(feature = "soft-tee")]
mod costs;
mod open_loop;
mod plan;
mod record;
mod run;

#[derive(Parser)]
#[command(name = "cocoon-load", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send chat completions at a rate that does not depend on the answers; print percentiles as JSON
    Run(run::Options),
    /// Start a gateway and two workers, kill them under load, and check that the ledger is exact
    Chaos(chaos::Options),
    /// Measure what attestation and sealing cost on this machine; print a table
    #[cfg(feature = "soft-tee")]
    Costs(costs::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.command {
            Command::Run(options) => run::run(options).await,
            Command::Chaos(options) => chaos::run(options).await,
            #[cfg(feature = "soft-tee")]
            Command::Costs(options) => costs::run(&options),
        }
    })
}
