//! What a report says of its guest and its chip.

use serde::Serialize;

use crate::verify::hex::Hex;
use crate::verify::snp::product::Product;
use crate::verify::snp::report::Report;

/// Bits of the guest's policy (AMD publication 56860, "Guest Policy").
const POLICY_SMT: u64 = 1 << 16;
const POLICY_MIGRATION_AGENT: u64 = 1 << 18;
const POLICY_DEBUG: u64 = 1 << 19;

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
    /// The first and the last second of the certificate, since 1970.
    pub certificate_from: i64,
    pub certificate_until: i64,
}

impl Claims {
    pub(super) fn of(report: &Report<'_>, product: Option<Product>, dates: (i64, i64)) -> Self {
        let policy = report.policy();
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
            report_data: Hex(report.report_data()),
            measurement: Hex(report.measurement()),
            host_data: Hex(report.host_data()),
            chip_id: Hex(report.chip_id()),
            processor: Hex(report.processor()),
            current_tcb: Hex(report.current_tcb()),
            reported_tcb: Hex(report.reported_tcb()),
            committed_tcb: Hex(report.committed_tcb()),
            launch_tcb: Hex(report.launch_tcb()),
            certificate_from: dates.0,
            certificate_until: dates.1,
        }
    }
}
