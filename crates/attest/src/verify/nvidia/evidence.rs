//! The file that NVIDIA's tools collect evidence into: one entry for each device.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{chain, report};

/// A server has eight GPUs and four switches.
pub const DEVICES_MAX: usize = 16;
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One device's report and certificates, decoded and not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub report: Vec<u8>,
    /// In PEM, the signer first.
    pub chain: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("not a list of one to sixteen devices in JSON")]
    Json,
    #[error("a report or a chain is not base64, or it is too large")]
    Base64,
}

/// The names of the file's fields are NVIDIA's; the rest of an entry is repeated in what is signed.
#[derive(Deserialize)]
struct Entry {
    evidence: String,
    certificate: String,
}

/// Reads the devices of an evidence file.
pub fn read(json: &[u8]) -> Result<Vec<Device>, Malformed> {
    if json.len() > FILE_BYTES_MAX {
        return Err(Malformed::Json);
    }
    let entries: Vec<Entry> = serde_json::from_slice(json).map_err(|_| Malformed::Json)?;
    if entries.is_empty() || entries.len() > DEVICES_MAX {
        return Err(Malformed::Json);
    }
    let decode = |text: &str, bytes_max: usize| {
        let bytes = STANDARD.decode(text).map_err(|_| Malformed::Base64)?;
        if bytes.len() > bytes_max { Err(Malformed::Base64) } else { Ok(bytes) }
    };
    let device = |entry: &Entry| {
        Ok(Device {
            report: decode(&entry.evidence, report::REPORT_BYTES_MAX)?,
            chain: decode(&entry.certificate, chain::CHAIN_BYTES_MAX)?,
        })
    };
    entries.iter().map(device).collect()
}
