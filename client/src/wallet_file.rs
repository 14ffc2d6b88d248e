//! The development wallet's file: a seed, and which wallet it makes.

use std::path::Path;

use cocoon_ton::{Network, Wallet, WalletVersion};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::private_file;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WalletFile {
    /// Hex of 32 bytes.
    seed: Zeroizing<String>,
    version: String,
    network: Network,
}

/// Makes a W5R1 wallet from fresh random bytes. An existing file is never replaced: its key may
/// be the only one to somebody's balance.
pub(crate) fn create(path: &Path, network: Network) -> Result<Wallet, CliError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|error| CliError::Argument {
        what: "the system's source of random bytes",
        reason: error.to_string(),
    })?;
    let version = WalletVersion::V5R1;
    let file = WalletFile {
        seed: Zeroizing::new(hex::encode(seed.as_slice())),
        version: version.to_string(),
        network,
    };
    let text = Zeroizing::new(serde_json::to_string_pretty(&file).expect("our own type is JSON"));
    private_file::create(path, &text)?;
    Ok(Wallet::from_seed(&seed, version, network))
}

pub(crate) fn read(path: &Path) -> Result<Wallet, CliError> {
    let unusable = |reason: &str| CliError::Content { path: path.into(), reason: reason.into() };
    let text = Zeroizing::new(private_file::read(path)?);
    let file: WalletFile = serde_json::from_str(&text)
        .map_err(|_| unusable("it is not a wallet of `cocoon wallet create`"))?;
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(file.seed.as_bytes(), seed.as_mut_slice())
        .map_err(|_| unusable("its seed is not 64 hex digits"))?;
    let version: WalletVersion =
        file.version.parse().map_err(|_| unusable("its version is unknown"))?;
    Ok(Wallet::from_seed(&seed, version, file.network))
}
