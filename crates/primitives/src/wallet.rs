//! A wallet's raw address.

use std::fmt;
use std::str::FromStr;

use crate::text::{ParseError, text_form};

/// A TON address in raw form: workchain and account hash, printed `0:<64 hex digits>`.
///
/// A value of this type says nothing about who controls it: that is `cocoon_ton::VerifiedWallet`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WalletAddress {
    workchain: i8,
    hash: [u8; 32],
}

impl WalletAddress {
    pub const fn new(workchain: i8, hash: [u8; 32]) -> Self {
        Self { workchain, hash }
    }

    pub const fn workchain(&self) -> i8 {
        self.workchain
    }

    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Workchain byte and hash: 33 bytes, the form that databases and digests use.
    pub fn to_bytes(&self) -> [u8; 33] {
        let mut bytes = [0; 33];
        bytes[0] = self.workchain.to_be_bytes()[0];
        bytes[1..].copy_from_slice(&self.hash);
        bytes
    }

    pub fn from_bytes(bytes: &[u8; 33]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(&bytes[1..]);
        Self { workchain: i8::from_be_bytes([bytes[0]]), hash }
    }
}

impl fmt::Display for WalletAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.workchain, hex::encode(self.hash))
    }
}

impl fmt::Debug for WalletAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WalletAddress {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = ParseError { what: "wallet address" };
        let (workchain, digits) = text.split_once(':').ok_or(error.clone())?;
        let workchain = workchain.parse().map_err(|_| error.clone())?;
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).map_err(|_| error)?;
        Ok(Self { workchain, hash })
    }
}

text_form!(WalletAddress, "wallet address");
