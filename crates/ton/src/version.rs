//! The standard wallets whose state init we can read, known by the hash of their code.

use std::fmt;
use std::str::FromStr;

use cocoon_primitives::ParseError;

/// A standard wallet contract with one key.
///
/// v5 beta (its code is a library cell) and contracts with other rules (multisig, two-factor,
/// vesting, key rotation) are left out: their state init does not tell who controls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WalletVersion {
    V1R1,
    V1R2,
    V1R3,
    V2R1,
    V2R2,
    V3R1,
    V3R2,
    V4R1,
    V4R2,
    V5R1,
}

/// How a version lays out its initial data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataLayout {
    /// `seqno:uint32 key:uint256`
    SeqnoKey,
    /// `seqno:uint32 wallet_id:uint32 key:uint256`
    SeqnoIdKey,
    /// The same and `plugins:(HashmapE …)`
    SeqnoIdKeyPlugins,
    /// `is_signature_allowed:Bool seqno:uint32 wallet_id:uint32 key:uint256 extensions:(HashmapE …)`
    AllowedSeqnoIdKeyExtensions,
}

impl WalletVersion {
    pub const ALL: [Self; 10] = [
        Self::V1R1,
        Self::V1R2,
        Self::V1R3,
        Self::V2R1,
        Self::V2R2,
        Self::V3R1,
        Self::V3R2,
        Self::V4R1,
        Self::V4R2,
        Self::V5R1,
    ];

    /// The representation hash of the version's code cell, in hex.
    const fn code_hash_hex(self) -> &'static str {
        match self {
            Self::V1R1 => "a0cfc2c48aee16a271f2cfc0b7382d81756cecb1017d077faaab3bb602f6868c",
            Self::V1R2 => "d4902fcc9fad74698fa8e353220a68da0dcf72e32bcb2eb9ee04217c17d3062c",
            Self::V1R3 => "587cc789eff1c84f46ec3797e45fc809a14ff5ae24f1e0c7a6a99cc9dc9061ff",
            Self::V2R1 => "5c9a5e68c108e18721a07c42f9956bfb39ad77ec6d624b60c576ec88eee65329",
            Self::V2R2 => "fe9530d3243853083ef2ef0b4c2908c0abf6fa1c31ea243aacaa5bf8c7d753f1",
            Self::V3R1 => "b61041a58a7980b946e8fb9e198e3c904d24799ffa36574ea4251c41a566f581",
            Self::V3R2 => "84dafa449f98a6987789ba232358072bc0f76dc4524002a5d0918b9a75d2d599",
            Self::V4R1 => "64dd54805522c5be8a9db59cea0105ccf0d08786ca79beb8cb79e880a8d7322d",
            Self::V4R2 => "feb5ff6820e2ff0d9483e7e0d62c817d846789fb4ae580c878866d959dabd5c0",
            Self::V5R1 => "20834b7b72b112147e1b2fb457b84e74d1a30f04f737d4f62a668e9552d2b72f",
        }
    }

    pub(crate) fn by_code_hash(hash: &[u8; 32]) -> Option<Self> {
        let hash = hex::encode(hash);
        Self::ALL.into_iter().find(|version| version.code_hash_hex() == hash)
    }

    /// The code cell as a bag of cells in base64; source and hashes in `wallet-code/README.md`.
    pub(crate) const fn code_boc_base64(self) -> &'static str {
        match self {
            Self::V1R1 => include_str!("../wallet-code/v1r1.boc.b64"),
            Self::V1R2 => include_str!("../wallet-code/v1r2.boc.b64"),
            Self::V1R3 => include_str!("../wallet-code/v1r3.boc.b64"),
            Self::V2R1 => include_str!("../wallet-code/v2r1.boc.b64"),
            Self::V2R2 => include_str!("../wallet-code/v2r2.boc.b64"),
            Self::V3R1 => include_str!("../wallet-code/v3r1.boc.b64"),
            Self::V3R2 => include_str!("../wallet-code/v3r2.boc.b64"),
            Self::V4R1 => include_str!("../wallet-code/v4r1.boc.b64"),
            Self::V4R2 => include_str!("../wallet-code/v4r2.boc.b64"),
            Self::V5R1 => include_str!("../wallet-code/v5r1.boc.b64"),
        }
    }

    pub(crate) const fn data_layout(self) -> DataLayout {
        match self {
            Self::V1R1 | Self::V1R2 | Self::V1R3 | Self::V2R1 | Self::V2R2 => DataLayout::SeqnoKey,
            Self::V3R1 | Self::V3R2 => DataLayout::SeqnoIdKey,
            Self::V4R1 | Self::V4R2 => DataLayout::SeqnoIdKeyPlugins,
            Self::V5R1 => DataLayout::AllowedSeqnoIdKeyExtensions,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1R1 => "v1r1",
            Self::V1R2 => "v1r2",
            Self::V1R3 => "v1r3",
            Self::V2R1 => "v2r1",
            Self::V2R2 => "v2r2",
            Self::V3R1 => "v3r1",
            Self::V3R2 => "v3r2",
            Self::V4R1 => "v4r1",
            Self::V4R2 => "v4r2",
            Self::V5R1 => "v5r1",
        }
    }
}

impl fmt::Display for WalletVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for WalletVersion {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or(ParseError { what: "wallet version" })
    }
}
