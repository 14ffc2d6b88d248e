//! What a verified quote says.

use dcap_qvl::quote::TDReport10;
use dcap_qvl::{PckCertFlag, QuoteClaims, TcbStatus};
use serde::Serialize;

use super::super::Hex;

/// The claims of a quote whose signatures lead to Intel's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    pub quote_version: u16,
    pub tcb_status: TcbStatus,
    pub advisories: Vec<String>,
    pub tcb_eval_data_number: u32,
    /// Unix seconds: when the platform's TCB level was published.
    pub tcb_date: u64,
    /// Unix seconds: when the latest part of the collateral was issued.
    pub collateral_issued: u64,
    /// Unix seconds: when the first part of the collateral ends.
    pub collateral_expires: u64,
    /// The platform's model, as Intel numbers it.
    pub fmspc: Hex<6>,
    /// The processor package: the same in every quote of one machine.
    pub ppid: Hex<16>,
    pub platform_instance_id: Option<Hex<16>>,
    /// What the platform's certificate was made for.
    pub cpu_svn: Hex<16>,
    pub pce_svn: u16,
    /// The quoting enclave's status by itself; `tcb_status` is the worse of it and the platform's.
    pub qe_tcb_status: TcbStatus,
    /// Numbers of the revocation lists that were read.
    pub root_crl_number: u32,
    pub pck_crl_number: u32,
    pub dynamic_platform: Option<bool>,
    pub cached_keys: Option<bool>,
    pub smt: Option<bool>,
    pub tee_tcb_svn: Hex<16>,
    /// The TCB after an update of the module under a running guest; TDX 1.5 only.
    pub tee_tcb_svn_current: Option<Hex<16>>,
    pub mr_seam: Hex<48>,
    pub mr_signer_seam: Hex<48>,
    pub seam_attributes: Hex<8>,
    pub td_attributes: Hex<8>,
    pub xfam: Hex<8>,
    pub mr_td: Hex<48>,
    pub mr_config_id: Hex<48>,
    pub mr_owner: Hex<48>,
    pub mr_owner_config: Hex<48>,
    pub rtmr0: Hex<48>,
    pub rtmr1: Hex<48>,
    pub rtmr2: Hex<48>,
    pub rtmr3: Hex<48>,
    pub report_data: Hex<64>,
}

impl Claims {
    /// None where the verified quote is not a TD's, or its PPID has another length.
    pub(super) fn of(verified: &QuoteClaims) -> Option<Self> {
        let report: &TDReport10 = verified.report.as_td10()?;
        let pck = &verified.platform.pck;
        Some(Self {
            quote_version: verified.header.version,
            tcb_status: verified.tcb.status,
            advisories: verified.tcb.advisory_ids.clone(),
            tcb_eval_data_number: verified.tcb.eval_data_number,
            tcb_date: verified.platform.tcb_date_tag,
            collateral_issued: verified.latest_issue_date,
            collateral_expires: verified.earliest_expiration_date,
            fmspc: Hex(pck.fmspc),
            ppid: Hex(pck.ppid.as_slice().try_into().ok()?),
            platform_instance_id: pck.platform_instance_id.map(Hex),
            cpu_svn: Hex(pck.cpu_svn),
            pce_svn: pck.pce_svn,
            qe_tcb_status: verified.qe.tcb_level.tcb_status,
            root_crl_number: verified.platform.root_ca_crl_num,
            pck_crl_number: verified.platform.pck_crl_num,
            dynamic_platform: flag(pck.dynamic_platform),
            cached_keys: flag(pck.cached_keys),
            smt: flag(pck.smt_enabled),
            tee_tcb_svn: Hex(report.tee_tcb_svn),
            tee_tcb_svn_current: verified.report.as_td15().map(|report| Hex(report.tee_tcb_svn2)),
            mr_seam: Hex(report.mr_seam),
            mr_signer_seam: Hex(report.mr_signer_seam),
            seam_attributes: Hex(report.seam_attributes),
            td_attributes: Hex(report.td_attributes),
            xfam: Hex(report.xfam),
            mr_td: Hex(report.mr_td),
            mr_config_id: Hex(report.mr_config_id),
            mr_owner: Hex(report.mr_owner),
            mr_owner_config: Hex(report.mr_owner_config),
            rtmr0: Hex(report.rt_mr0),
            rtmr1: Hex(report.rt_mr1),
            rtmr2: Hex(report.rt_mr2),
            rtmr3: Hex(report.rt_mr3),
            report_data: Hex(report.report_data),
        })
    }
}

fn flag(flag: PckCertFlag) -> Option<bool> {
    match flag {
        PckCertFlag::True => Some(true),
        PckCertFlag::False => Some(false),
        PckCertFlag::Undefined => None,
    }
}
