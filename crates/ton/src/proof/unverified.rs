//! The body of a sign-in as it arrives: bounded, and believed in nothing.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::bounded::BoundedText;
use crate::proof::ProofError;
use crate::state_init::BOC_BASE64_CHARS_MAX;

/// The body of `POST /v1/auth/ton-proof`. Unknown fields are ignored, as wallets add some.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnverifiedProof {
    /// The sign-in attempt that the nonce was issued for.
    pub attempt: BoundedText<128>,
    /// Raw form.
    pub address: BoundedText<72>,
    pub network: BoundedText<16>,
    /// Hex; only compared, never used to verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<BoundedText<64>>,
    /// A bag of cells in base64.
    pub wallet_state_init: BoundedText<BOC_BASE64_CHARS_MAX>,
    pub proof: SignedProof,
}

/// What the wallet signed, and its signature.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignedProof {
    /// Unix seconds. The SDK sends a number, the specification says a decimal string.
    #[serde(deserialize_with = "seconds")]
    pub timestamp: u64,
    pub domain: SignedDomain,
    pub payload: BoundedText<128>,
    /// Base64.
    pub signature: BoundedText<88>,
}

/// The domain that the wallet showed to its user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignedDomain {
    #[serde(rename = "lengthBytes")]
    pub length_bytes: u32,
    pub value: BoundedText<126>,
}

impl UnverifiedProof {
    /// The longest body that is read.
    pub const BODY_BYTES_MAX: usize = 8192;

    pub fn from_json(body: &[u8]) -> Result<Self, ProofError> {
        if body.len() > Self::BODY_BYTES_MAX {
            return Err(ProofError::Malformed(None));
        }
        serde_json::from_slice(body).map_err(|error| ProofError::Malformed(Some(error)))
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct SecondsVisitor;

    impl Visitor<'_> for SecondsVisitor {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Unix seconds as a number or as decimal text")
        }

        fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<u64, E> {
            Ok(seconds)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            let is_decimal = text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
            let parsed = if is_decimal { text.parse().ok() } else { None };
            parsed.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_any(SecondsVisitor)
}
