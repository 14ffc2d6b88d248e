//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The exit status for a configuration that is not valid.
pub const EXIT_CONFIG: u8 = 64;

/// Serves a model to a gateway that it dials.
#[derive(Debug, Parser)]
#[command(name = "cocoon-worker", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load the engine, dial the gateway and serve.
    Serve(ConfigFile),
    /// Check a configuration and exit.
    CheckConfig(ConfigFile),
    /// Keys of the development substitute for a trusted environment: no protection at all.
    #[cfg(feature = "soft-tee")]
    #[command(subcommand)]
    SoftTee(SoftTee),
}

/// Which file to read.
#[derive(Debug, Args)]
pub struct ConfigFile {
    #[arg(long = "config", value_name = "FILE")]
    pub path: PathBuf,
}

/// The software root.
#[cfg(feature = "soft-tee")]
#[derive(Debug, Subcommand)]
pub enum SoftTee {
    /// Make root.key and root.pub in a folder; existing ones are kept.
    Init { dir: PathBuf },
}
