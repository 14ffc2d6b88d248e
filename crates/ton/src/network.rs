//! The two networks that a wallet may say it is on.

use std::fmt;
use std::str::FromStr;

use cocoon_primitives::ParseError;
use serde::{Deserialize, Serialize};

/// A TON network by its global id. Other networks sign with a domain prefix and are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Network {
    #[serde(rename = "-239")]
    Mainnet,
    #[serde(rename = "-3")]
    Testnet,
}

impl Network {
    /// The global id as text, the form that TON Connect uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mainnet => "-239",
            Self::Testnet => "-3",
        }
    }

    /// The id that a first W5 wallet of this network carries: `global id XOR (1 ‖ workchain 0 ‖
    /// version 0 ‖ subwallet 0)`, so that one key has different addresses on the two networks.
    pub(crate) const fn w5_wallet_id(self) -> u32 {
        match self {
            Self::Mainnet => 0x7FFF_FF11,
            Self::Testnet => 0x7FFF_FFFD,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Network {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "-239" => Ok(Self::Mainnet),
            "-3" => Ok(Self::Testnet),
            _ => {
                Err(ParseError { what: "network: expected \"-239\" (mainnet) or \"-3\" (testnet)" })
            }
        }
    }
}
