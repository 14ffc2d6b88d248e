//! What a worker brings as evidence: unverified bytes with their kind.
//!
//! Each kind has its own name, software's included, so that nobody takes one for the other: a soft
//! kind always decodes, and is refused unless the build and the policy allow it.

use crate::cbor::{CborError, Decoder, Encoder};

/// Bytes in a quote or report at most.
pub const QUOTE_BYTES_MAX: usize = 16 * 1024;
/// Bytes in what a vendor publishes about a platform at most.
pub const ENDORSEMENTS_BYTES_MAX: usize = 256 * 1024;
/// Bytes in an event log at most.
pub const EVENT_LOG_BYTES_MAX: usize = crate::verify::event_log::LOG_BYTES_MAX;
/// Devices in one message at most.
pub const DEVICES_MAX: usize = 32;
/// Bytes in a device's report at most.
pub const REPORT_BYTES_MAX: usize = 16 * 1024;
/// Bytes in a device's certificates at most.
pub const CHAIN_BYTES_MAX: usize = 64 * 1024;

const KIND_BYTES_MAX: usize = 16;
/// Bytes in one certificate or one revocation list at most.
const ENDORSEMENT_BYTES_MAX: usize = 128 * 1024;

/// What made a guest's evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Tdx,
    Snp,
    SoftTdx,
    SoftSnp,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Tdx, Self::Snp, Self::SoftTdx, Self::SoftSnp];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tdx => "tdx",
            Self::Snp => "snp",
            Self::SoftTdx => "soft-tdx",
            Self::SoftSnp => "soft-snp",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether a key of our own stands behind it, and no hardware.
    pub const fn is_software(self) -> bool {
        matches!(self, Self::SoftTdx | Self::SoftSnp)
    }
}

/// A guest's evidence as received: unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    pub kind: Kind,
    /// A TDX quote, or an SEV-SNP report.
    pub quote: Vec<u8>,
    /// What the vendor publishes, stapled by the worker: collateral in JSON for TDX,
    /// [`SnpEndorsements`] for SEV-SNP.
    pub endorsements: Vec<u8>,
    /// [`crate::verify::event_log::EventLog`], encoded.
    pub event_log: Vec<u8>,
}

/// What made a device's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    Nvidia,
    SoftNvidia,
}

impl DeviceKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nvidia => "nvgpu",
            Self::SoftNvidia => "soft-nvgpu",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Nvidia, Self::SoftNvidia].into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether a key of our own stands behind it, and no hardware.
    pub const fn is_software(self) -> bool {
        matches!(self, Self::SoftNvidia)
    }
}

/// A device's evidence as received: unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub kind: DeviceKind,
    pub report: Vec<u8>,
    /// Certificates in PEM, the signer's first.
    pub chain: Vec<u8>,
}

impl Device {
    /// The list of devices as the message carries it.
    pub(crate) fn encode_list(devices: &[Self]) -> Vec<u8> {
        let mut out = Encoder::new();
        out.array(devices.len());
        for device in devices {
            out.array(3).text(device.kind.as_str()).bytes(&device.report).bytes(&device.chain);
        }
        out.into_bytes()
    }

    pub(crate) fn decode_list(bytes: &[u8]) -> Result<Vec<Self>, CborError> {
        let mut reader = Decoder::new(bytes);
        let count = reader.array(DEVICES_MAX)?;
        let devices = (0..count).map(|_| Self::read(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(devices)
    }

    fn read(reader: &mut Decoder<'_>) -> Result<Self, CborError> {
        if reader.array(3)? != 3 {
            return Err(CborError::Range);
        }
        Ok(Self {
            kind: DeviceKind::parse(reader.text(KIND_BYTES_MAX)?).ok_or(CborError::Text)?,
            report: reader.bytes(REPORT_BYTES_MAX)?.to_vec(),
            chain: reader.bytes(CHAIN_BYTES_MAX)?.to_vec(),
        })
    }
}

/// What AMD publishes about one chip, stapled to a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpEndorsements {
    /// The certificate of the chip's key, DER.
    pub vcek: Vec<u8>,
    /// The revocation list, DER; empty where there is none.
    pub crl: Vec<u8>,
}

impl SnpEndorsements {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.map(2);
        out.unsigned(1).bytes(&self.vcek);
        out.unsigned(2).bytes(&self.crl);
        out.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Decoder::new(bytes);
        reader.map(2)?;
        let endorsements = Self {
            vcek: reader.key(1)?.bytes(ENDORSEMENT_BYTES_MAX)?.to_vec(),
            crl: reader.key(2)?.bytes(ENDORSEMENT_BYTES_MAX)?.to_vec(),
        };
        reader.finish()?;
        Ok(endorsements)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_reads_back_and_no_other_does() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("software"), None);
        assert_eq!(DeviceKind::parse("soft-nvgpu"), Some(DeviceKind::SoftNvidia));
        assert_eq!(DeviceKind::parse("gpu"), None);
    }

    proptest! {
        #[test]
        fn devices_and_endorsements_read_back(report: Vec<u8>, chain: Vec<u8>, soft: bool) {
            let kind = if soft { DeviceKind::SoftNvidia } else { DeviceKind::Nvidia };
            let devices = vec![Device { kind, report: report.clone(), chain: chain.clone() }; 2];
            let encoded = Device::encode_list(&devices);
            prop_assert_eq!(Device::decode_list(&encoded), Ok(devices));
            let endorsements = SnpEndorsements { vcek: report, crl: chain };
            prop_assert_eq!(SnpEndorsements::decode(&endorsements.encode()), Ok(endorsements));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Device::decode_list(&bytes);
            let _ = SnpEndorsements::decode(&bytes);
        }
    }
}
