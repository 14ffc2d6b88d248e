//! A TDX platform: Intel's hierarchy of keys, what Intel publishes about it, and its guests' quotes.
//!
//! Sources: Intel SGX PCK Certificate and CRL Profile Specification (the extension of the PCK
//! certificate); Intel's provisioning service, version 4 (TCB info, identity of the quoting enclave).

mod collateral;
mod quote;

use super::der;
use super::key::Key;
use super::x509::{Authority, Extension};

/// The platform's model: an existing FMSPC's form, and no product of Intel's.
pub const FMSPC: [u8; 6] = [0x50, 0xf7, 0, 0, 0, 0];
/// The processor package: the same in all quotes, and plainly made up.
pub const PPID: [u8; 16] = *b"SOFTWARE-TEE-DEV";

/// The security versions of the processor's parts, and of the provisioning enclave.
const CPU_SVN: [u8; 16] = [1; 16];
const PCE_SVN: u8 = 11;
/// Those of the TDX module. The second one, its major version, is 0: such modules have no identity of
/// their own in the TCB info.
const TEE_SVN: [u8; 16] = [1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];

/// Who signed the quoting enclave; its number and version.
const QE_SIGNER: [u8; 32] = *b"SOFTWARE-TEE quoting enclave key";
const QE_PRODUCT: u16 = 2;
const QE_VERSION: u16 = 4;

/// The number of the TCB evaluation.
pub(super) const TCB_EVALUATION: u32 = 1;
/// #VE on pending pages is disabled, and nothing else is set.
pub(super) const TD_ATTRIBUTES: [u8; 8] = [0, 0, 0, 0x10, 0, 0, 0, 0];
pub(super) const XFAM: [u8; 8] = [0xe7, 0x02, 0x06, 0, 0, 0, 0, 0];

/// Intel gives one name to every platform's key.
const PCK: &str = "SOFTWARE-TEE PCK Certificate";
const SGX_EXTENSION: &str = "1.2.840.113741.1.13.1";

pub(super) struct Platform {
    root: Authority,
    platform_ca: Authority,
    tcb_signer: Key,
    pck: Key,
    attestation_key: Key,
    root_der: Vec<u8>,
    platform_ca_der: Vec<u8>,
    tcb_signer_der: Vec<u8>,
    pck_der: Vec<u8>,
}

impl Platform {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let root = Authority::new("SOFTWARE-TEE Root CA", Key::p256(seed, "tdx/root"));
        let platform_ca =
            Authority::new("SOFTWARE-TEE PCK Platform CA", Key::p256(seed, "tdx/platform-ca"));
        let tcb_signer = Key::p256(seed, "tdx/tcb-signer");
        let pck = Key::p256(seed, "tdx/pck");
        Self {
            root_der: root.own(),
            platform_ca_der: root.delegate(&platform_ca),
            tcb_signer_der: root.endorse("SOFTWARE-TEE TCB Signing", &tcb_signer, &[]),
            pck_der: platform_ca.endorse(PCK, &pck, &[sgx_extension()]),
            attestation_key: Key::p256(seed, "tdx/attestation-key"),
            root,
            platform_ca,
            tcb_signer,
            pck,
        }
    }

    pub(super) fn root(&self) -> &[u8] {
        &self.root_der
    }
}

/// The TDX module, which is none.
pub(super) fn mr_seam() -> [u8; 48] {
    super::register("module", "MR_SEAM")
}

/// What a PCK certificate says of its platform.
fn sgx_extension() -> Extension {
    let oid = |arc: &str| der::object(&format!("{SGX_EXTENSION}.{arc}"));
    let field = |arc: &str, value: Vec<u8>| der::sequence(&[&oid(arc), &value]);
    let mut tcb: Vec<Vec<u8>> = (1..)
        .zip(CPU_SVN)
        .map(|(number, svn)| field(&format!("2.{number}"), der::integer(&[svn])))
        .collect();
    tcb.push(field("2.17", der::integer(&[PCE_SVN])));
    tcb.push(field("2.18", der::octets(&CPU_SVN)));
    let fields = [
        field("1", der::octets(&PPID)),
        field("2", der::sequence(&[&tcb.concat()])),
        field("3", der::octets(&[0, 0])),
        field("4", der::octets(&FMSPC)),
        field("5", der::enumerated(0)),
    ];
    (SGX_EXTENSION.to_owned(), der::sequence(&[&fields.concat()]))
}
