//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::config::ConfigError;

/// The exit status for a configuration that is not valid.
pub const EXIT_CONFIG: u8 = 64;

/// Serves a model to a gateway that it dials.
#[derive(Debug, Parser)]
#[command(name = "cocoon-worker", version, after_long_help = CONFIGURATION)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// The settings that are not those of an engine.
const CONFIGURATION: &str = "\
The configuration, in TOML, which in production belongs into the measured image:
  mode                  \"production\", or \"development\"
  data_dir              where models and unacknowledged receipts are kept
  gateway               host:port of the gateway's uplink
  gateway_spki_sha256   the gateway's key, 64 hex digits
  payee                 who earns, as 0:<64 hex digits>
  [engine], [[engine]]  one engine, or several: kind = \"mistralrs\", \"openai-upstream\", \"scripted\"
  [evidence]
    kind                \"tdx\", \"snp\", or, for development builds, \"software\"
    gpus                GPUs that the models run on (0)
    tdx_collateral      a file with what Intel publishes about this platform, JSON; read each time
    snp_vcek            a file with this chip's certificate, DER (what the host brings)
    snp_crl             a file with AMD's revocation list, DER; read each time
    tsm_reports         /sys/kernel/config/tsm/report; in production no other, as with the next two
    tdx_measurements    /sys/devices/virtual/misc/tdx_guest/measurements
    pci_devices         /sys/bus/pci/devices
    software_tee        the folder of `cocoon-worker soft-tee init`
    tee, image          which processor (\"tdx\") and which image software plays
  [limits], [admin] listen, [telemetry] otlp_endpoint, json";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load the engine, dial the gateway and serve.
    Serve(ConfigFile),
    /// Check a configuration and exit.
    CheckConfig(ConfigFile),
    /// Print what a policy has to say about the models of a configuration.
    ///
    /// Reads every file of every model, and downloads a model of the hub first, as `serve` does. Of
    /// the configuration only data_dir and the engines are read: the rest may come later.
    Manifest(ManifestArguments),
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

/// What to print about the models.
#[derive(Debug, Args)]
pub struct ManifestArguments {
    #[command(flatten)]
    pub config: ConfigFile,
    /// A JSON array in place of rows for a policy file.
    #[arg(long)]
    pub json: bool,
}

/// The software TEE.
#[cfg(feature = "soft-tee")]
#[derive(Debug, Subcommand)]
pub enum SoftTee {
    /// Make seed.key in a folder, and policy.rows.toml: what a policy has to say to admit workers
    /// with that seed. Keys that exist are kept. The rows are printed too.
    Init {
        dir: PathBuf,
        /// GPUs of each worker.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=32))]
        gpus: u32,
        /// Make a key for SEV-SNP too.
        #[arg(long)]
        snp: bool,
    },
}

/// Says on the standard error output what is wrong with a file.
pub fn explained<T>(loaded: Result<T, ConfigError>, path: &Path) -> Option<T> {
    let explain = |error: &ConfigError| {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        eprintln!("cocoon-worker: {}: {error}{}", path.display(), cause.unwrap_or_default());
    };
    loaded.inspect_err(explain).ok()
}
