//! A guest's quote, version 4 (`sgx_quote_4.h` of Intel's DCAP).

use super::{
    CPU_SVN, PCE_SVN, Platform, QE_PRODUCT, QE_SIGNER, QE_VERSION, TD_ATTRIBUTES, TEE_SVN, XFAM,
    mr_seam,
};
use crate::softtee::{register, x509};

const VERSION: u16 = 4;
/// ECDSA on P-256.
const KEY_TYPE: u16 = 2;
const TEE_TDX: u32 = 0x81;
/// Intel's quoting enclave.
const QE_VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
const QE_AUTH: [u8; 32] = *b"SOFTWARE-TEE-NOT-HARDWARE-000000";
const CERTIFICATION_QE_REPORT: u16 = 6;
const CERTIFICATION_PCK_CHAIN: u16 = 5;

impl Platform {
    pub(in crate::softtee) fn quote(
        &self,
        report_data: &[u8; 64],
        rtmr3: &[u8; 48],
        image: &str,
    ) -> Vec<u8> {
        let mut quote = header();
        quote.extend(body(report_data, rtmr3, image));
        let signature = self.attestation_key.sign_raw(&quote);
        // Without the byte that says that the point is written out in full.
        let attestation_key = &self.attestation_key.public()[1..];
        let auth = [
            signature.as_slice(),
            attestation_key,
            &CERTIFICATION_QE_REPORT.to_le_bytes(),
            &counted(&self.certification(attestation_key)),
        ];
        quote.extend(counted(&auth.concat()));
        quote
    }

    /// The quoting enclave's report, which names the attestation key, and its signature.
    fn certification(&self, attestation_key: &[u8]) -> Vec<u8> {
        let report = qe_report(&crate::sha256(&[attestation_key, &QE_AUTH]));
        let chain = x509::pem(&[&self.pck_der, &self.platform_ca_der, &self.root_der]);
        let auth_bytes = u16::try_from(QE_AUTH.len()).expect("32 bytes");
        [
            report.as_slice(),
            &self.pck.sign_raw(&report),
            &auth_bytes.to_le_bytes(),
            &QE_AUTH,
            &CERTIFICATION_PCK_CHAIN.to_le_bytes(),
            &counted(chain.as_bytes()),
        ]
        .concat()
    }
}

/// Bytes with their number in front.
fn counted(bytes: &[u8]) -> Vec<u8> {
    let count = u32::try_from(bytes.len()).expect("a quote has a few thousand bytes");
    [&count.to_le_bytes(), bytes].concat()
}

fn header() -> Vec<u8> {
    [
        VERSION.to_le_bytes().as_slice(),
        &KEY_TYPE.to_le_bytes(),
        &TEE_TDX.to_le_bytes(),
        &QE_VERSION.to_le_bytes(),
        &u16::from(PCE_SVN).to_le_bytes(),
        &QE_VENDOR,
        &[0; 20],
    ]
    .concat()
}

fn body(report_data: &[u8; 64], rtmr3: &[u8; 48], image: &str) -> Vec<u8> {
    let nothing = [0; 48];
    [
        TEE_SVN.as_slice(),
        &mr_seam(),
        // The module's signer and attributes: Intel's module has zeros there.
        &nothing,
        &[0; 8],
        &TD_ATTRIBUTES,
        &XFAM,
        &register(image, "MRTD"),
        // The owner's three registers.
        &nothing,
        &nothing,
        &nothing,
        &register(image, "RTMR0"),
        &register(image, "RTMR1"),
        &register(image, "RTMR2"),
        rtmr3,
        report_data,
    ]
    .concat()
}

/// An SGX report of 384 bytes.
fn qe_report(key_digest: &[u8; 32]) -> Vec<u8> {
    [
        CPU_SVN.as_slice(),
        &[0; 4 + 28],
        // Attributes, measurement, reserved.
        &[0; 16 + 32 + 32],
        &QE_SIGNER,
        &[0; 96],
        &QE_PRODUCT.to_le_bytes(),
        &QE_VERSION.to_le_bytes(),
        &[0; 60],
        key_digest,
        &[0; 32],
    ]
    .concat()
}
