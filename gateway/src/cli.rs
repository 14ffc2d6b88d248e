//! The command line of `cocoon-gateway`.
//!
//! Exit codes: 0 done, 1 failed, 2 the ledger has a problem, 64 the command line or the
//! configuration is not usable.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod credit;
mod ledger;

pub use credit::credit;
pub use ledger::check_ledger;

/// The configuration or the command line is not usable (sysexits.h: EX_USAGE).
pub const EXIT_CONFIG: u8 = 64;
/// The ledger does not add up.
pub const EXIT_LEDGER: u8 = 2;

/// OpenAI-compatible inference on attested workers, paid by TON wallets.
#[derive(Debug, Parser)]
#[command(name = "cocoon-gateway", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGINT or SIGTERM; a second signal stops at once.
    ///
    /// When all sockets are bound, their addresses are in `endpoints.json` in the data directory.
    /// On a signal nothing new is taken, streams under way finish for up to 30 seconds, and
    /// everything is settled before the program ends.
    Serve(ConfigFile),
    /// Check a configuration, report everything that is wrong with it, and bind no socket.
    CheckConfig(ConfigFile),
    /// Give a wallet credit out of nothing. For development only.
    ///
    /// The credit stands for a deposit that nobody made, so this is refused where
    /// `mode = "production"`. The gateway may be running: both share its store.
    Credit(CreditArgs),
    /// Read the ledger.
    #[command(subcommand)]
    Ledger(LedgerCommand),
}

#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Audit the whole ledger: all accounts add up to zero, and every request, key and account
    /// agrees with the transfers. Exits with 2 where something does not.
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The gateway's configuration file.
    #[arg(long = "config", value_name = "FILE", default_value = "gateway.toml")]
    pub path: PathBuf,
}

#[derive(Debug, Args)]
pub struct CreditArgs {
    /// The wallet's address, raw (0:…) or user-friendly (UQ…, EQ…, 0Q…, kQ…).
    pub wallet: String,
    /// Decimal GRAM, as in 10 or 0.5.
    #[arg(value_name = "AMOUNT_GRAM")]
    pub amount: String,
    #[command(flatten)]
    pub config: ConfigFile,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
