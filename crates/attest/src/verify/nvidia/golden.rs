//! What a device's measurements should be.
//!
//! A [`Golden`] is one text in JSON, made from the vendor's reference manifests when they were verified: for
//! each index, as NVIDIA counts them from 0, the values that are allowed. The report's block has the
//! index plus one.
//! Invariants: an index that is not named may have any value, one that is named has one of its values; a
//! list that names nothing matches nothing.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::claims::{Claims, Status};

pub const GOLDEN_BYTES_MAX: usize = 256 * 1024;
const ALTERNATIVES_MAX: usize = 64;
/// A digest of SHA-512 is the longest.
const VALUE_BYTES_MAX: usize = 64;

/// Not to be compared where the first video decoder is off (NVIDIA's open verifier).
const OF_NVDEC0: u8 = 35;

/// Allowed values by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Golden(BTreeMap<u8, Vec<String>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it is not a JSON object with measurements by index")]
    Json,
    #[error("it names no measurement, or one without a value")]
    Empty,
    #[error("a value is not one to 64 bytes in hex, or there are too many of them")]
    Value,
}

/// `{"measurements": {"0": ["00…", …], …}}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    measurements: BTreeMap<u8, Vec<String>>,
}

impl Golden {
    pub fn parse(json: &[u8]) -> Result<Self, Malformed> {
        if json.len() > GOLDEN_BYTES_MAX {
            return Err(Malformed::Json);
        }
        let file: File = serde_json::from_slice(json).map_err(|_| Malformed::Json)?;
        Self::new(file.measurements)
    }

    /// Values in hex, in either case.
    pub fn new(measurements: BTreeMap<u8, Vec<String>>) -> Result<Self, Malformed> {
        if measurements.is_empty() || measurements.values().any(Vec::is_empty) {
            return Err(Malformed::Empty);
        }
        let mut golden = measurements;
        for values in golden.values_mut() {
            if values.len() > ALTERNATIVES_MAX {
                return Err(Malformed::Value);
            }
            for value in values {
                let bytes = value.len() / 2;
                let fits = (1..=VALUE_BYTES_MAX).contains(&bytes);
                if !fits || hex::decode(value.as_bytes()).is_err() {
                    return Err(Malformed::Value);
                }
                value.make_ascii_lowercase();
            }
        }
        Ok(Self(golden))
    }
}

/// The indices at which a device measured something else, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} measurements are not as they should be, the first at index {}", .0.len(), .0[0])]
pub struct Mismatch(Vec<u8>);

impl Mismatch {
    /// At least one, ascending.
    pub fn indices(&self) -> &[u8] {
        &self.0
    }
}

/// How many measurements of the device have an allowed value, where none has another.
pub fn compare(golden: &Golden, device: &Claims) -> Result<usize, Mismatch> {
    let skipped = |index| index == OF_NVDEC0 && device.nvdec0 == Some(Status::Disabled);
    let compared: Vec<_> = golden.0.iter().filter(|(index, _)| !skipped(**index)).collect();
    let matches = |index: u8, allowed: &[String]| {
        device.measurements.get(usize::from(index)).is_some_and(|value| allowed.contains(value))
    };
    let other: Vec<u8> = compared
        .iter()
        .filter(|(index, allowed)| !matches(**index, allowed))
        .map(|(index, _)| **index)
        .collect();
    match (other.is_empty(), compared.len()) {
        // Nothing but the skipped one was named.
        (true, 0) => Err(Mismatch(golden.0.keys().copied().collect())),
        (true, count) => Ok(count),
        (false, _) => Err(Mismatch(other)),
    }
}

#[cfg(test)]
mod tests;
