//! A chip with SEV-SNP: AMD's signer, the certificate of the chip's key, and its guests' reports.
//!
//! Sources: AMD publications 57230 (certificates) and 56860 (report, version 5), for the line Genoa.

use super::key::{Key, SnpKeyError, digest};
use super::x509::{self, Authority, Extension};
use super::{Published, Window, der, register};

/// The chip: plainly made up.
pub const CHIP_ID: [u8; 64] = *b"SOFTWARE-TEE DEV ONLY - NOT HARDWARE SOFTWARE-TEE DEV ONLY - NOT";

/// Boot loader, TEE, four reserved, SNP, microcode.
pub(super) const TCB: [u8; 8] = [10, 0, 0, 0, 0, 0, 23, 84];
/// The arcs of the versions in a certificate, in the same order.
const TCB_ARCS: [u8; 8] = [1, 2, 4, 5, 6, 7, 3, 8];
/// AMD gives this name to every chip's key.
const VCEK: &str = "SEV-VCEK";
const AMD: &str = "1.3.6.1.4.1.3704.1";

const REPORT_BYTES: usize = crate::verify::snp::REPORT_BYTES;
const SIGNED_BYTES: usize = 0x2a0;
const NUMBER_FIELD: usize = 72;
const NUMBER: usize = 48;
const VERSION: u32 = 5;
/// SMT, and the bit that is always set. No debugging, no migration.
const GUEST_POLICY: u64 = 0x3_0000;
/// SMT is on, memory has ECC, and aliases of it were checked for.
const PLATFORM_INFO: u64 = 0x25;
/// Family, model, stepping: Genoa's.
const PROCESSOR: [u8; 3] = [0x19, 0x11, 1];
/// Build, minor, major.
const FIRMWARE: [u8; 3] = [21, 55, 1];

pub(super) struct Chip {
    signer: Authority,
    key: Key,
    signer_der: Vec<u8>,
    vcek_der: Vec<u8>,
}

impl Chip {
    pub(super) fn new(pkcs8: &[u8]) -> Result<Self, SnpKeyError> {
        let signer = Authority::new("SEV-Genoa", Key::rsa(pkcs8)?);
        let seed = crate::sha256(&[&digest(&[b"snp/vcek", pkcs8])]);
        let key = Key::p384(&seed, "snp/vcek");
        Ok(Self {
            signer_der: signer.own(),
            vcek_der: signer.endorse(VCEK, &key, &extensions()),
            signer,
            key,
        })
    }

    pub(super) fn signer(&self) -> &[u8] {
        &self.signer_der
    }

    /// Of the chip's key.
    pub(super) fn certificate(&self) -> &[u8] {
        &self.vcek_der
    }

    pub(super) fn revocations(&self, window: Window, published: &Published) -> Vec<u8> {
        let revoked = published.is_revoked.then(|| x509::serial(VCEK, &self.key));
        self.signer.revocations(window, revoked.as_slice())
    }

    pub(super) fn report(
        &self,
        report_data: &[u8; 64],
        host_data: &[u8; 32],
        image: &str,
    ) -> Vec<u8> {
        let mut report = vec![0; REPORT_BYTES];
        let mut put = |offset: usize, bytes: &[u8]| {
            report[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0x00, &VERSION.to_le_bytes());
        put(0x08, &GUEST_POLICY.to_le_bytes());
        // ECDSA on P-384 with SHA-384.
        put(0x34, &1_u32.to_le_bytes());
        put(0x40, &PLATFORM_INFO.to_le_bytes());
        put(0x50, report_data);
        put(0x90, &register(image, "MEASUREMENT"));
        put(0xc0, host_data);
        put(0x188, &PROCESSOR);
        put(0x1a0, &CHIP_ID);
        // Current, reported, committed, at launch.
        for offset in [0x38, 0x180, 0x1e0, 0x1f0] {
            put(offset, &TCB);
        }
        // Current and committed.
        for offset in [0x1e8, 0x1ec] {
            put(offset, &FIRMWARE);
        }
        let signature = self.key.sign_raw(&report[..SIGNED_BYTES]);
        let (r, s) = signature.split_at(NUMBER);
        for (offset, number) in [(SIGNED_BYTES, r), (SIGNED_BYTES + NUMBER_FIELD, s)] {
            let little_endian: Vec<u8> = number.iter().rev().copied().collect();
            report[offset..offset + NUMBER].copy_from_slice(&little_endian);
        }
        report
    }
}

/// What the certificate of a chip's key says of the chip.
fn extensions() -> Vec<Extension> {
    let mut extensions = vec![
        (format!("{AMD}.1"), der::integer(&[0])),
        (format!("{AMD}.2"), der::ia5("Genoa-B1")),
        // Not in DER, as AMD has it.
        (format!("{AMD}.4"), CHIP_ID.to_vec()),
    ];
    let svn = |(arc, svn)| (format!("{AMD}.3.{arc}"), der::integer(&[svn]));
    extensions.extend(TCB_ARCS.into_iter().zip(TCB).map(svn));
    extensions
}
