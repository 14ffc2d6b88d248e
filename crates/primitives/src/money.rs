//! Integer money and token arithmetic. Nothing here rounds without saying so in its name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::ParseError;

/// An amount in nano-coins: 10⁻⁹ Gram. The whole supply fits in 63 bits.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u64", into = "u64")]
pub struct Nano(u64);

impl TryFrom<u64> for Nano {
    type Error = ParseError;

    fn try_from(nano: u64) -> Result<Self, ParseError> {
        Self::new(nano).ok_or(ParseError { what: "amount in nano-coins" })
    }
}

impl From<Nano> for u64 {
    fn from(amount: Nano) -> Self {
        amount.0
    }
}

impl Nano {
    pub const ZERO: Self = Self(0);
    /// The greatest amount that a signed 64-bit database column holds.
    pub const MAX: Self = Self(i64::MAX.unsigned_abs());
    /// Nano-coins in one Gram.
    pub const PER_GRAM: u64 = 1_000_000_000;

    /// `None` above [`Nano::MAX`].
    pub const fn new(nano: u64) -> Option<Self> {
        if nano <= Self::MAX.0 { Some(Self(nano)) } else { None }
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::new)
    }

    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The difference, or zero where `other` is greater.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This amount as decimal Gram, as in `0.000012345`.
    pub fn to_gram(self) -> String {
        let (whole, fraction) = (self.0 / Self::PER_GRAM, self.0 % Self::PER_GRAM);
        if fraction == 0 {
            return whole.to_string();
        }
        let digits = format!("{fraction:09}");
        format!("{whole}.{}", digits.trim_end_matches('0'))
    }

    /// Reads decimal Gram, as in `1`, `0.5` or `0.000000001`; at most nine decimals.
    pub fn from_gram(text: &str) -> Result<Self, ParseError> {
        let error = ParseError { what: "amount in Gram" };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return Err(error);
        }
        let whole: u64 = whole.parse().map_err(|_| error.clone())?;
        let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| error.clone())?;
        whole
            .checked_mul(Self::PER_GRAM)
            .and_then(|nano| nano.checked_add(fraction))
            .and_then(Self::new)
            .ok_or(error)
    }
}

/// Nano-coins with their unit, as in `1200 nano`.
impl fmt::Display for Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nano", self.0)
    }
}

/// Plain nano-coins, as in `1200`.
impl FromStr for Nano {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = ParseError { what: "amount in nano-coins" };
        text.parse().ok().and_then(Self::new).ok_or(error)
    }
}

/// A number of tokens.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TokenCount(u64);

impl TokenCount {
    pub const ZERO: Self = Self(0);

    pub const fn new(tokens: u64) -> Self {
        Self(tokens)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for TokenCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A price in nano-coins for one million tokens.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TokenPrice(Nano);

impl TokenPrice {
    /// Tokens that one price unit buys.
    pub const TOKENS_PER_UNIT: u64 = 1_000_000;

    pub const fn per_million(nano: Nano) -> Self {
        Self(nano)
    }

    pub const fn nano_per_million(self) -> Nano {
        self.0
    }

    /// The exact product in millionths of a nano-coin; the caller sums products and rounds once.
    pub fn micro_nano(self, tokens: TokenCount) -> u128 {
        u128::from(self.0.get()) * u128::from(tokens.get())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gram_text_rejects_what_is_not_an_amount() {
        for text in ["", ".", "1.", ".5", "-1", "1e3", "1.0000000001", " 1", "99999999999"] {
            assert!(Nano::from_gram(text).is_err(), "{text:?} was read as an amount");
        }
    }

    #[test]
    fn an_amount_above_the_supply_is_not_read() {
        assert!(serde_json::from_str::<Nano>("9223372036854775807").is_ok());
        assert!(serde_json::from_str::<Nano>("9223372036854775808").is_err());
    }

    #[test]
    fn gram_text_of_round_amounts_is_short() {
        assert_eq!(Nano(1_500_000_000).to_gram(), "1.5");
        assert_eq!(Nano(2_000_000_000).to_gram(), "2");
        assert_eq!(Nano(1).to_gram(), "0.000000001");
    }

    proptest! {
        #[test]
        fn gram_text_reads_back(nano in 0..=Nano::MAX.get()) {
            prop_assert_eq!(Nano::from_gram(&Nano(nano).to_gram()), Ok(Nano(nano)));
        }
    }
}
