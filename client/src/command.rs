//! One module per subcommand.

pub(crate) mod attest;
pub(crate) mod balance;
pub(crate) mod chat;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod models;
pub(crate) mod policy;
pub(crate) mod proxy;
pub(crate) mod receipt;
pub(crate) mod usage;
pub(crate) mod wallet;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::error::CliError;

pub(crate) async fn run(cli: Cli) -> Result<(), CliError> {
    let context = Context::new(cli.global)?;
    match cli.command {
        Command::Wallet(command) => wallet::run(&context, &command),
        Command::Login(args) => login::run(&context, args).await,
        Command::Chat(args) => chat::run(&context, args).await,
        Command::Models => models::run(&context).await,
        Command::Keys(command) => keys::run(&context, command).await,
        Command::Balance => balance::run(&context).await,
        Command::Usage(args) => usage::run(&context, args).await,
        Command::Receipt(command) => receipt::run(&context, command).await,
        Command::Attest(command) => attest::run(&context, command).await,
        Command::Policy(command) => policy::run(&context, &command),
        Command::Proxy(args) => proxy::run(&context, args).await,
    }
}
