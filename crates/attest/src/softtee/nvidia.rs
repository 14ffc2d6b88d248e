//! GPUs: a maker's hierarchy of five certificates, and devices' reports of their measurements.
//!
//! Sources: DMTF DSP0274 1.1, GET_MEASUREMENTS and MEASUREMENTS; NVIDIA's open verifier for the numbers
//! of opaque fields; TCG DICE for the extension of the signer's certificate.

use super::der;
use super::key::{Key, digest};
use super::x509::{self, Authority, Extension};

/// SPDM 1.1, GET_MEASUREMENTS, signed, all of them.
const REQUEST: [u8; 4] = [0x11, 0xe0, 0x01, 0xff];
/// SPDM 1.1, MEASUREMENTS; the slot of the certificates is 0.
const RESPONSE: [u8; 4] = [0x11, 0x60, 0, 0];
const SLOT: u8 = 0;

/// As many as a GPU of the architecture has.
pub(super) const MEASUREMENTS: u8 = 64;
const SPECIFICATION_DMTF: u8 = 1;
/// A digest of immutable code.
const KIND: u8 = 0;
const DIGEST_BYTES: u16 = 48;

/// The chip by whose name verifiers tell the architecture.
const SIGNER: &str = "GH100 A01 SOFTWARE-TEE FMC LF";
pub(super) const DRIVER: &str = "0.0.0-software";
/// 00.00.00.00.00
const VBIOS: [u8; 8] = [0; 8];
pub(super) const VBIOS_TEXT: &str = "00.00.00.00.00";
const BOARD: [u8; 4] = *b"SOFT";
const CHIP_SKU: &str = "000";
const PROJECT: &str = "SOFT";
const PROJECT_SKU: &str = "0000";
const ENABLED: u8 = 0xaa;
const DISABLED: u8 = 0x55;
/// One tenant (SPT).
const FEATURE_FLAG: u16 = 1;

const COMPOSITE_IDENTITY: &str = "2.23.133.5.4.1";
const SHA384: &str = "2.16.840.1.101.3.4.2.2";

pub(super) struct Maker {
    seed: [u8; 32],
    provisioner: Authority,
    /// From the provisioner's to the root's.
    above: [Vec<u8>; 3],
}

impl Maker {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let authority = |common_name, key| Authority::new(common_name, Key::p384(seed, key));
        let root = authority("SOFTWARE-TEE Device Identity CA", "nvidia/root");
        let identity = authority("SOFTWARE-TEE GH100 Identity", "nvidia/identity");
        let provisioner = authority("SOFTWARE-TEE GH100 Provisioner ICA 1", "nvidia/provisioner");
        let above = [identity.delegate(&provisioner), root.delegate(&identity), root.own()];
        Self { seed: *seed, provisioner, above }
    }

    pub(super) fn root(&self) -> &[u8] {
        &self.above[2]
    }

    /// The report and the certificates, in PEM, of one device.
    pub(super) fn gpu(&self, index: u32, nonce: &[u8; 32]) -> (Vec<u8>, Vec<u8>) {
        let own = |name: &str| Key::p384(&self.seed, &format!("nvidia/{index}/{name}"));
        let device = Authority::new("SOFTWARE-TEE GH100 A01 BROM", own("device"));
        let signer = own("signer");
        let identity = composite_identity(&signer);
        let signer_der = device.endorse(SIGNER, &signer, &[identity]);
        let device_der = self.provisioner.delegate(&device);
        let [provisioner, identity, root] = &self.above;
        let chain = x509::pem(&[&signer_der, &device_der, provisioner, identity, root]);

        let answer_nonce = crate::sha256(&[&digest(&[b"nvidia/nonce", &self.seed, nonce])]);
        let record: Vec<u8> = (0..MEASUREMENTS).flat_map(block).collect();
        let [low, middle, high, _] =
            u32::try_from(record.len()).expect("64 short blocks").to_le_bytes();
        let opaque = opaque();
        let opaque_bytes = u16::try_from(opaque.len()).expect("a few short fields");
        let mut report = [
            REQUEST.as_slice(),
            nonce,
            &[SLOT],
            &RESPONSE,
            &[MEASUREMENTS, low, middle, high],
            &record,
            &answer_nonce,
            &opaque_bytes.to_le_bytes(),
            &opaque,
        ]
        .concat();
        report.extend(signer.sign_raw(&report));
        (report, chain.into_bytes())
    }
}

/// The firmware: the same on every device.
fn firmware_id() -> [u8; 48] {
    digest(&[b"nvidia/firmware"])
}

/// One measurement, by its index from 0: the same on every device.
pub(super) fn measurement(index: u8) -> [u8; 48] {
    digest(&[b"nvidia/measurement", &[index]])
}

/// Version, key and digest of the firmware.
fn composite_identity(signer: &Key) -> Extension {
    let firmware = der::sequence(&[&der::object(SHA384), &der::octets(&firmware_id())]);
    let content = der::sequence(&[&der::integer(&[1]), &signer.spki(), &firmware]);
    (COMPOSITE_IDENTITY.to_owned(), content)
}

/// Index (here they count from 1), specification, length, then the kind, a length and the value.
fn block(index: u8) -> Vec<u8> {
    [
        [index + 1, SPECIFICATION_DMTF].as_slice(),
        &(3 + DIGEST_BYTES).to_le_bytes(),
        &[KIND],
        &DIGEST_BYTES.to_le_bytes(),
        &measurement(index),
    ]
    .concat()
}

fn opaque() -> Vec<u8> {
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    let counts = 1_u32.to_le_bytes().repeat(usize::from(MEASUREMENTS));
    let fields: [(u16, Vec<u8>); 11] = [
        (3, text(DRIVER)),
        (6, VBIOS.to_vec()),
        // The first video decoder is on; each measurement was extended once.
        (11, vec![ENABLED]),
        (12, counts),
        (14, BOARD.to_vec()),
        (15, text(CHIP_SKU)),
        (17, text(PROJECT)),
        (18, text(PROJECT_SKU)),
        (20, firmware_id().to_vec()),
        // Protected PCIe, for several GPUs with switches.
        (21, vec![DISABLED]),
        (36, FEATURE_FLAG.to_le_bytes().to_vec()),
    ];
    let field = |(number, value): (u16, Vec<u8>)| {
        let bytes = u16::try_from(value.len()).expect("a short field");
        [number.to_le_bytes().as_slice(), &bytes.to_le_bytes(), &value].concat()
    };
    fields.into_iter().flat_map(field).collect()
}
