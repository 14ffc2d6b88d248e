//! What a report says of its guest and its chip.

use serde::Serialize;

use crate::verify::hex::Hex;
use crate::verify::snp::product::Product;
use crate::verify::snp::report::Report;

/// Bits of the guest's policy (AMD publication 56860, "Guest Policy").
const POLICY_SMT: u64 = 1 << 16;
const POLICY_MIGRATION_AGENT: u64 = 1 << 18;
const POLICY_DEBUG: u64 = 1 << 19;

/// The security version numbers of a TCB, whose places depend on the product line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tcb {
    /// From Turin on.
    pub fmc: Option<u8>,
    pub bl: u8,
    pub tee: u8,
    pub snp: u8,
    pub ucode: u8,
}

impl Tcb {
    pub(super) const fn of(product: Product, bytes: [u8; 8]) -> Self {
        match (product, bytes) {
            (Product::Milan | Product::Genoa, [bl, tee, _, _, _, _, snp, ucode]) => {
                Self { fmc: None, bl, tee, snp, ucode }
            }
            (Product::Turin, [fmc, bl, tee, snp, _, _, _, ucode]) => {
                Self { fmc: Some(fmc), bl, tee, snp, ucode }
            }
        }
    }

    /// Whether no number is below that of `floor`. A floor for a part that this TCB lacks is not met.
    pub fn reaches(&self, floor: &Self) -> bool {
        self.fmc >= floor.fmc
            && self.bl >= floor.bl
            && self.tee >= floor.tee
            && self.snp >= floor.snp
            && self.ucode >= floor.ucode
    }
}

/// The bits of a report's `PLATFORM_INFO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlatformInfo {
    pub smt: bool,
    pub tsme: bool,
    pub ecc: bool,
    pub rapl_disabled: bool,
    pub ciphertext_hiding: bool,
    /// The memory's addresses were searched for aliases since the last reset, and there are none.
    pub alias_check_complete: bool,
    pub tio: bool,
}

impl PlatformInfo {
    const fn of(bits: u64) -> Self {
        Self {
            smt: bits & 1 != 0,
            tsme: bits & 1 << 1 != 0,
            ecc: bits & 1 << 2 != 0,
            rapl_disabled: bits & 1 << 3 != 0,
            ciphertext_hiding: bits & 1 << 4 != 0,
            alias_check_complete: bits & 1 << 5 != 0,
            tio: bits & 1 << 7 != 0,
        }
    }
}

/// Bit by bit, the mitigations that the firmware has verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MitigationVectors {
    pub launch: u64,
    pub current: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    pub version: u32,
    pub guest_svn: u32,
    /// The product line, as the certificate's issuer names it.
    pub product: Option<Product>,
    pub policy: u64,
    pub debug_allowed: bool,
    pub migration_allowed: bool,
    pub smt_allowed: bool,
    pub vmpl: u32,
    pub platform_info: u64,
    /// The same, bit by bit.
    pub platform: PlatformInfo,
    pub family_id: Hex<16>,
    pub image_id: Hex<16>,
    pub id_key_digest: Hex<48>,
    pub author_key_digest: Hex<48>,
    /// None before version 5 of the report.
    pub mitigations: Option<MitigationVectors>,
    pub report_data: Hex<64>,
    pub measurement: Hex<48>,
    pub host_data: Hex<32>,
    pub chip_id: Hex<64>,
    /// Family, model, stepping.
    pub processor: Hex<3>,
    /// The bytes of TCB versions as the report has them; their meaning depends on the product.
    pub current_tcb: Hex<8>,
    pub reported_tcb: Hex<8>,
    pub committed_tcb: Hex<8>,
    pub launch_tcb: Hex<8>,
    /// The same, part by part; none where the product line is not known.
    pub current: Option<Tcb>,
    pub reported: Option<Tcb>,
    pub committed: Option<Tcb>,
    pub launch: Option<Tcb>,
    /// A revocation list in force was read, and it names neither the certificate nor its issuer.
    pub crl_checked: bool,
    /// The first and the last second of that list, since 1970.
    pub crl_from: Option<i64>,
    pub crl_until: Option<i64>,
    /// The first and the last second of the certificate, since 1970.
    pub certificate_from: i64,
    pub certificate_until: i64,
}

impl Claims {
    pub(super) fn of(report: &Report<'_>, product: Option<Product>, dates: (i64, i64)) -> Self {
        let policy = report.policy();
        let tcb = |bytes| product.map(|product| Tcb::of(product, bytes));
        let mitigations = report.mitigation_vectors();
        Self {
            version: report.version(),
            guest_svn: report.guest_svn(),
            product,
            policy,
            debug_allowed: policy & POLICY_DEBUG != 0,
            migration_allowed: policy & POLICY_MIGRATION_AGENT != 0,
            smt_allowed: policy & POLICY_SMT != 0,
            vmpl: report.vmpl(),
            platform_info: report.platform_info(),
            platform: PlatformInfo::of(report.platform_info()),
            family_id: Hex(report.family_id()),
            image_id: Hex(report.image_id()),
            id_key_digest: Hex(report.id_key_digest()),
            author_key_digest: Hex(report.author_key_digest()),
            mitigations: mitigations.map(|[launch, current]| MitigationVectors { launch, current }),
            report_data: Hex(report.report_data()),
            measurement: Hex(report.measurement()),
            host_data: Hex(report.host_data()),
            chip_id: Hex(report.chip_id()),
            processor: Hex(report.processor()),
            current_tcb: Hex(report.current_tcb()),
            reported_tcb: Hex(report.reported_tcb()),
            committed_tcb: Hex(report.committed_tcb()),
            launch_tcb: Hex(report.launch_tcb()),
            current: tcb(report.current_tcb()),
            reported: tcb(report.reported_tcb()),
            committed: tcb(report.committed_tcb()),
            launch: tcb(report.launch_tcb()),
            crl_checked: false,
            crl_from: None,
            crl_until: None,
            certificate_from: dates.0,
            certificate_until: dates.1,
        }
    }
}
