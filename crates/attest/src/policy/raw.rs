//! The file as it is written. Only its shape is checked here; a key that nobody knows is an error, so
//! that a misspelt one is not silently its default.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) schema: u64,
    pub(super) version: u64,
    pub(super) not_after: String,
    pub(super) mode: String,
    pub(super) lease_seconds: Option<u64>,
    pub(super) full_renewal_seconds: Option<u64>,
    pub(super) on_revocation: Option<String>,
    pub(super) machine_level: Option<u8>,
    #[serde(default)]
    pub(super) insecure_any_model: bool,
    #[serde(default)]
    pub(super) insecure_any_machine: bool,
    pub(super) software: Option<Software>,
    pub(super) tdx: Option<Tdx>,
    pub(super) snp: Option<Snp>,
    #[serde(default)]
    pub(super) image: Vec<Image>,
    #[serde(default)]
    pub(super) gpu: Vec<Gpu>,
    #[serde(default)]
    pub(super) model: Vec<Model>,
    #[serde(default)]
    pub(super) machine: Vec<Machine>,
    #[serde(default)]
    pub(super) revoked: Revoked,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Software {
    pub(super) insecure_allow: bool,
    pub(super) tdx_root: Option<String>,
    pub(super) snp_signer: Option<String>,
    pub(super) nvidia_root: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tdx {
    pub(super) tcb_status: Vec<String>,
    pub(super) min_tcb_eval: u32,
    #[serde(default)]
    pub(super) platform_grace_days: u32,
    #[serde(default)]
    pub(super) allow_dynamic_platform: bool,
    pub(super) td_attributes: String,
    pub(super) xfam: Vec<String>,
    pub(super) mr_seam: Vec<String>,
    #[serde(default)]
    pub(super) denied_advisories: Vec<String>,
    #[serde(default)]
    pub(super) min_root_crl: u32,
    #[serde(default)]
    pub(super) min_pck_crl: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Snp {
    pub(super) products: Vec<String>,
    #[serde(default)]
    pub(super) allow_vlek: bool,
    #[serde(default)]
    pub(super) allow_smt: bool,
    #[serde(default)]
    pub(super) require_alias_check: bool,
    pub(super) min_crl_date: Option<String>,
    #[serde(default)]
    pub(super) min_tcb: BTreeMap<String, Tcb>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tcb {
    pub(super) fmc: Option<u8>,
    pub(super) bl: u8,
    pub(super) tee: u8,
    pub(super) snp: u8,
    pub(super) ucode: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Image {
    pub(super) name: String,
    pub(super) tee: String,
    pub(super) gpus: u32,
    pub(super) mrtd: Option<String>,
    pub(super) rtmr0: Option<String>,
    pub(super) rtmr1: Option<String>,
    pub(super) rtmr2: Option<String>,
    pub(super) mr_config_id: Option<String>,
    pub(super) mr_owner: Option<String>,
    pub(super) mr_owner_config: Option<String>,
    pub(super) measurement: Option<String>,
    pub(super) source: Option<String>,
    pub(super) provenance_sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gpu {
    pub(super) arch: String,
    pub(super) drivers: Vec<String>,
    pub(super) vbios: Vec<String>,
    #[serde(default)]
    pub(super) mode: Vec<String>,
    #[serde(default)]
    pub(super) golden: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) manifest: String,
    pub(super) engine: Option<String>,
    pub(super) context_length: Option<u64>,
    pub(super) kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Machine {
    pub(super) ppid: Option<String>,
    pub(super) chip_id: Option<String>,
    pub(super) level: Option<u8>,
    pub(super) not_after: Option<String>,
    pub(super) operator: Option<String>,
    pub(super) proof_of_cloud: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoked {
    #[serde(default)]
    pub(super) hwid: Vec<String>,
    #[serde(default)]
    pub(super) gpu_serial: Vec<String>,
    #[serde(default)]
    pub(super) image: Vec<String>,
    #[serde(default)]
    pub(super) model: Vec<String>,
    #[serde(default)]
    pub(super) worker: Vec<String>,
}
