//! The arguments, and nothing else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::command::{attest, chat, keys, login, policy, proxy, receipt, usage, wallet};

const AFTER_HELP: &str = "\
Exit codes:
  0  done; for `receipt verify`, `receipt audit` and `attest`: it is accepted
  1  wrong usage, unusable input, or a file that cannot be read or written
  2  refused: by the gateway, or by verification
  3  the gateway cannot be reached, or the connection broke

Credentials: keys are managed with the session of `cocoon login`; everything else uses --api-key
where it is given and the session otherwise. Roots of trust for https come from the system;
SSL_CERT_FILE names others.";

/// Sign in with a TON wallet, chat, and check what you paid for.
#[derive(Debug, Parser)]
#[command(name = "cocoon", version, after_help = AFTER_HELP, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The gateway's API; `/v1` is added where the URL has no path [default: that of the last
    /// login, else http://127.0.0.1:8080/v1]
    #[arg(long, global = true, alias = "gateway", env = "OPENAI_BASE_URL", value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// An API key of the gateway
    #[arg(long, global = true, env = "OPENAI_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Where wallet.json and profile.json are [default: ~/.config/cocoon]
    #[arg(long, global = true, env = "COCOON_HOME", value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// The wallet's file, instead of the one in --home
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) wallet: Option<PathBuf>,
    /// The session's file, instead of the one in --home
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make or show a development wallet
    #[command(subcommand)]
    Wallet(wallet::WalletCommand),
    /// Sign in with the wallet and store the session
    Login(login::LoginArgs),
    /// Ask a model
    Chat(chat::ChatArgs),
    /// List the models that are served, with their prices
    Models,
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Show the balance
    Balance,
    /// List finished requests and what they cost
    Usage(usage::UsageArgs),
    /// Fetch and verify receipts
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
    /// Judge evidence: from files, or a gateway's
    #[command(subcommand)]
    Attest(attest::AttestCommand),
    /// Make, sign and check the policy of a gateway or of your own
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Serve OpenAI's API on this machine, sealed to attested workers
    Proxy(proxy::ProxyArgs),
}
