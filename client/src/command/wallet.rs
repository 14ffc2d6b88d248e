//! `cocoon wallet`: a development wallet in a file.

use clap::{Subcommand, ValueEnum};
use cocoon_primitives::WalletAddress;
use cocoon_ton::{AddressForm, Network, Wallet, format_address};
use serde::Serialize;

use crate::context::Context;
use crate::error::CliError;
use crate::{output, wallet_file};

#[derive(Debug, Subcommand)]
pub(crate) enum WalletCommand {
    /// Make a W5 wallet; never replaces a file
    Create {
        /// Whose addresses it has; W5 addresses differ between the networks
        #[arg(long, value_enum, default_value_t = NetworkName::Testnet)]
        network: NetworkName,
    },
    /// Show the wallet's address
    Show,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum NetworkName {
    Mainnet,
    Testnet,
}

#[derive(Serialize)]
struct WalletReport {
    address: WalletAddress,
    friendly: String,
    public_key: String,
    version: &'static str,
    network: Network,
    file: String,
}

pub(crate) fn run(context: &Context, command: &WalletCommand) -> Result<(), CliError> {
    let path = &context.wallet_path;
    let wallet = match command {
        WalletCommand::Create { network } => {
            let network = match network {
                NetworkName::Mainnet => Network::Mainnet,
                NetworkName::Testnet => Network::Testnet,
            };
            wallet_file::create(path, network)?
        }
        WalletCommand::Show => wallet_file::read(path)?,
    };
    let report = WalletReport::of(&wallet, path.display().to_string());
    if context.as_json {
        return output::json(&report);
    }
    output::table(
        &[],
        [
            ["address", &report.address.to_string()],
            ["for people", &report.friendly],
            ["public key", &report.public_key],
            ["version", report.version],
            ["network", report.network.as_str()],
            ["file", &report.file],
        ],
    )?;
    output::note("A development wallet: its key lies in that file. Keep no real money in it.")
}

impl WalletReport {
    fn of(wallet: &Wallet, file: String) -> Self {
        let form = AddressForm { network: wallet.network(), bounceable: false };
        Self {
            address: wallet.address(),
            friendly: format_address(&wallet.address(), form),
            public_key: hex::encode(wallet.public_key()),
            version: wallet.version().as_str(),
            network: wallet.network(),
            file,
        }
    }
}
