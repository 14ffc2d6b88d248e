//! What a report says of its device.

use serde::Serialize;

use super::report::Report;
use crate::verify::certificate::{Certificate, significant};

/// The numbers of opaque fields (NVIDIA's open verifier).
const DRIVER: u16 = 3;
const VBIOS: u16 = 6;
const NVDEC0_STATUS: u16 = 11;
const MEASUREMENT_COUNTS: u16 = 12;
const BOARD: u16 = 14;
const CHIP_SKU: u16 = 15;
const PROJECT: u16 = 17;
const PROJECT_SKU: u16 = 18;
pub(super) const FIRMWARE_ID: u16 = 20;
const PROTECTED_PCIE_STATUS: u16 = 21;
const SWITCH_PDIS: u16 = 22;
const FEATURE_FLAG: u16 = 36;

/// A generation of devices, by the name that NVIDIA certifies its chips under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    Hopper,
    Blackwell,
    /// NVSwitch of the third generation.
    Ls10,
}

impl Architecture {
    fn by_name(chip: &str) -> Option<Self> {
        let starts = |prefix| chip.starts_with(prefix);
        if starts("GH1") {
            Some(Self::Hopper)
        } else if starts("GB1") || starts("GB2") {
            Some(Self::Blackwell)
        } else if starts("LS_10") {
            Some(Self::Ls10)
        } else {
            None
        }
    }
}

/// What a report says of a part of a device that can be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Enabled,
    Disabled,
}

impl Status {
    fn read(field: &[u8]) -> Option<Self> {
        match *field {
            [0xaa] => Some(Self::Enabled),
            [0x55] => Some(Self::Disabled),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    pub architecture: Option<Architecture>,
    /// The name of the key that signed: chip, stepping and processor.
    pub signer: Option<String>,
    /// The serial number of that key's certificate, which is made anew for other firmware. As all serial
    /// numbers here: in hex, without zeros in front.
    pub signer_serial: String,
    /// The serial number of the certificate behind it, that of the key in the chip: it tells devices apart.
    pub device_serial: String,
    /// The serial numbers of all its certificates, the signer's first.
    pub chain_serials: Vec<String>,
    pub nonce: String,
    pub driver_version: Option<String>,
    pub vbios_version: Option<String>,
    pub board_id: Option<String>,
    pub chip_sku: Option<String>,
    pub project: Option<String>,
    pub project_sku: Option<String>,
    /// 0 several tenants, 1 one tenant, 2 protected PCIe.
    pub feature_flag: Option<u16>,
    /// The first video decoder; measurement 35 (NVIDIA counts from 0) says nothing where it is off.
    pub nvdec0: Option<Status>,
    pub protected_pcie: Option<Status>,
    /// A GPU's: the switches at its links, in their order; zeros where there is none. A switch's: its own.
    pub switch_pdis: Vec<String>,
    /// How often each measurement was extended.
    pub measurement_counts: Vec<u32>,
    /// What the report says; `certified_firmware_id` is what the certificate says.
    pub firmware_id: Option<String>,
    pub certified_firmware_id: Option<String>,
    /// In the order of their index, which starts at 1.
    pub measurements: Vec<String>,
}

impl Claims {
    pub(super) fn of(
        report: &Report<'_>,
        signer: &Certificate<'_>,
        chain: &[Certificate<'_>],
        certified: Option<&[u8]>,
    ) -> Self {
        let chain_serials: Vec<_> = chain.iter().map(serial).collect();
        let text = |number| report.field(number).and_then(text);
        let feature = report.field(FEATURE_FLAG).and_then(|field| field.try_into().ok());
        Self {
            architecture: signer.subject().and_then(Architecture::by_name),
            signer: signer.subject().map(str::to_owned),
            signer_serial: serial(signer),
            device_serial: chain_serials.get(1).cloned().unwrap_or_default(),
            chain_serials,
            nonce: hex::encode(report.nonce),
            driver_version: text(DRIVER),
            vbios_version: report.field(VBIOS).and_then(vbios),
            board_id: report.field(BOARD).map(hex::encode),
            chip_sku: text(CHIP_SKU),
            project: text(PROJECT),
            project_sku: text(PROJECT_SKU),
            feature_flag: feature.map(u16::from_le_bytes),
            nvdec0: report.field(NVDEC0_STATUS).and_then(Status::read),
            protected_pcie: report.field(PROTECTED_PCIE_STATUS).and_then(Status::read),
            switch_pdis: identifiers(report.field(SWITCH_PDIS)),
            measurement_counts: counts(report.field(MEASUREMENT_COUNTS)),
            firmware_id: report.field(FIRMWARE_ID).map(hex::encode),
            certified_firmware_id: certified.map(hex::encode),
            measurements: report.measurements.values().map(hex::encode).collect(),
        }
    }
}

fn serial(certificate: &Certificate<'_>) -> String {
    hex::encode(significant(certificate.serial()))
}

/// Eight bytes each; none where they are something else.
fn identifiers(field: Option<&[u8]>) -> Vec<String> {
    let (whole, []) = field.unwrap_or_default().as_chunks::<8>() else { return Vec::new() };
    whole.iter().map(hex::encode).collect()
}

/// Four bytes each; none where they are something else.
fn counts(field: Option<&[u8]>) -> Vec<u32> {
    let (whole, []) = field.unwrap_or_default().as_chunks::<4>() else { return Vec::new() };
    whole.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
}

/// A text that ends in zeros; none where it is not plain.
fn text(field: &[u8]) -> Option<String> {
    let end = field.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let plain = field[..end].iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    (plain && end > 0).then(|| field[..end].iter().copied().map(char::from).collect())
}

/// GPUs have it as eight bytes, switches as text.
fn vbios(field: &[u8]) -> Option<String> {
    match *field {
        [d, c, b, a, e, 0, 0, 0] => Some(format!("{a:02X}.{b:02X}.{c:02X}.{d:02X}.{e:02X}")),
        _ => text(field),
    }
}
