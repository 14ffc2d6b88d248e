//! Evidence that a key of our own signs: the same path as a processor's quote, and no protection.
//!
//! For development. It proves that whoever enrols holds the root key, nothing about a machine.

use std::fmt;
use std::time::Duration;

use cocoon_primitives::Timestamp;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use subtle::ConstantTimeEq as _;

use super::EvidenceFault;
use crate::cbor::{CborError, Decoder, Encoder};
use crate::policy::Policy;
use crate::sha256;

/// What every software quote says about itself.
pub const LABEL: &str = "SOFTWARE-TEE DEV ONLY - NOT HARDWARE";

/// How far a quote's time may be from the gateway's.
const SKEW: Duration = Duration::from_secs(300);

/// The Ed25519 key that stands in for a processor's maker.
pub struct SoftwareRoot {
    key: SigningKey,
}

impl SoftwareRoot {
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(seed) }
    }

    pub fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// A quote over `report_data`.
    pub fn quote(&self, report_data: [u8; 64], now: Timestamp) -> Vec<u8> {
        let mut quote = SoftwareQuote {
            root_key: self.public(),
            report_data,
            issued_at: now,
            signature: [0; 64],
        };
        quote.signature = self.key.sign(&quote.signed_hash()).to_bytes();
        quote.encode()
    }
}

impl fmt::Debug for SoftwareRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareRoot({})", hex::encode(self.public()))
    }
}

#[derive(Debug)]
struct SoftwareQuote {
    root_key: [u8; 32],
    report_data: [u8; 64],
    issued_at: Timestamp,
    signature: [u8; 64],
}

impl SoftwareQuote {
    fn write_body(&self, out: &mut Encoder) {
        out.unsigned(1).text(LABEL);
        out.unsigned(2).bytes(&self.root_key);
        out.unsigned(3).bytes(&self.report_data);
        out.unsigned(4).unsigned(self.issued_at.as_millis());
    }

    fn signed_hash(&self) -> [u8; 32] {
        let mut out = Encoder::new();
        self.write_body(out.map(4));
        sha256(&[b"cocoon/soft-quote/v1\0", &out.into_bytes()])
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        self.write_body(out.map(5));
        out.unsigned(5).bytes(&self.signature);
        out.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, EvidenceFault> {
        let malformed = EvidenceFault::Malformed;
        let mut reader = Decoder::new(bytes);
        reader.map(5).map_err(malformed)?;
        if reader.key(1).and_then(|reader| reader.text(64)).map_err(malformed)? != LABEL {
            return Err(EvidenceFault::Label);
        }
        let mut rest = || -> Result<Self, CborError> {
            Ok(Self {
                root_key: reader.key(2)?.bytes_exact()?,
                report_data: reader.key(3)?.bytes_exact()?,
                issued_at: Timestamp::from_millis(reader.key(4)?.unsigned()?),
                signature: reader.key(5)?.bytes_exact()?,
            })
        };
        let quote = rest().map_err(malformed)?;
        reader.finish().map_err(malformed)?;
        Ok(quote)
    }
}

pub(super) fn verify(
    bytes: &[u8],
    report_data: &[u8; 64],
    policy: &Policy,
    now: Timestamp,
) -> Result<(), EvidenceFault> {
    let quote = SoftwareQuote::decode(bytes)?;
    if !policy.trusts_root(&quote.root_key) {
        return Err(EvidenceFault::UnknownRoot);
    }
    let key = VerifyingKey::from_bytes(&quote.root_key).map_err(|_| EvidenceFault::UnknownRoot)?;
    key.verify_strict(&quote.signed_hash(), &Signature::from_bytes(&quote.signature))
        .map_err(|_| EvidenceFault::Signature)?;
    if !bool::from(quote.report_data.ct_eq(report_data)) {
        return Err(EvidenceFault::ReportData);
    }
    if now.since(quote.issued_at) > SKEW || quote.issued_at.since(now) > SKEW {
        return Err(EvidenceFault::Time);
    }
    Ok(())
}
