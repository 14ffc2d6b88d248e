//! A policy's rules as values.

use std::time::Duration;

use cocoon_primitives::{Digest, ModelKind, ModelName, Timestamp, WorkerId};

use super::{Mode, OnRevocation};
use crate::verify::Hex;
use crate::verify::nvidia::Architecture;
use crate::verify::nvidia::golden::Golden;
use crate::verify::snp::{Product, Tcb};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) version: u64,
    pub(super) not_after: Timestamp,
    pub(super) mode: Mode,
    pub(super) lease_life: Duration,
    pub(super) full_renewal: Duration,
    pub(super) on_revocation: OnRevocation,
    /// The least level of a machine.
    pub(super) machine_level: u8,
    pub(super) any_model: bool,
    pub(super) any_machine: bool,
    pub(super) software: Option<SoftwareRoots>,
    pub(super) tdx: Option<TdxRules>,
    pub(super) snp: Option<SnpRules>,
    pub(super) images: Vec<ImageRow>,
    pub(super) gpus: Vec<GpuRow>,
    pub(super) models: Vec<ModelRow>,
    pub(super) machines: Vec<MachineRow>,
    pub(super) revoked: Revocations,
}

/// Whose signatures stand for software's evidence, each a certificate in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftwareRoots {
    pub tdx_root: Option<Vec<u8>>,
    pub snp_signer: Option<Vec<u8>>,
    pub nvidia_root: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxRules {
    /// As Intel writes them: `UpToDate`, `SWHardeningNeeded`.
    pub tcb_status: Vec<String>,
    pub min_tcb_eval: u32,
    /// How long a platform that is out of date is accepted after its TCB level was published.
    pub platform_grace: Duration,
    pub allow_dynamic_platform: bool,
    pub td_attributes: Hex<8>,
    pub xfam: Vec<Hex<8>>,
    pub mr_seam: Vec<Hex<48>>,
    pub denied_advisories: Vec<String>,
    /// The least numbers of Intel's revocation lists.
    pub min_root_crl: u32,
    pub min_pck_crl: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpRules {
    /// The product lines that are accepted, each with the least versions of its TCB's parts.
    pub floors: Vec<(Product, Tcb)>,
    pub allow_smt: bool,
    pub require_alias_check: bool,
    /// The revocation list must not have been made before.
    pub min_crl_date: Option<Timestamp>,
}

/// What may be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    pub name: String,
    pub measured: Measured,
    pub gpus: u32,
    pub source: Option<String>,
    pub provenance_sha256: Option<Digest>,
}

/// What the hardware measured of an image, all of it together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measured {
    Tdx(Box<Registers>),
    /// The measurement of an SEV-SNP guest.
    Snp(Hex<48>),
}

/// The registers of a TDX guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registers {
    pub mr_td: Hex<48>,
    pub rtmr0: Hex<48>,
    pub rtmr1: Hex<48>,
    pub rtmr2: Hex<48>,
    /// Compared where the row states them.
    pub mr_config_id: Option<Hex<48>>,
    pub mr_owner: Option<Hex<48>>,
    pub mr_owner_config: Option<Hex<48>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuRow {
    pub architecture: Architecture,
    pub drivers: Vec<String>,
    pub vbios: Vec<String>,
    /// Feature flags; not asked of a switch, which has none.
    pub modes: Vec<u16>,
    /// What its measurements should be, where the row states that.
    pub golden: Option<Golden>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRow {
    pub name: ModelName,
    pub manifest: Digest,
    pub engine: Option<String>,
    /// What the worker must state, where the row does.
    pub context_length: Option<u64>,
    pub kind: Option<ModelKind>,
}

/// Which machine: the processor package of a TDX platform, or the chip of an SEV-SNP one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HardwareId {
    Ppid(Hex<16>),
    Chip(Hex<64>),
}

impl std::fmt::Display for HardwareId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ppid(id) => id.fmt(f),
            Self::Chip(id) => id.fmt(f),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineRow {
    pub id: HardwareId,
    /// How well its site was verified.
    pub level: u8,
    pub not_after: Option<Timestamp>,
    pub operator: Option<String>,
    pub proof_of_cloud: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    pub hardware: Vec<HardwareId>,
    /// Serial numbers of certificates, hex, without zeros in front.
    pub gpu_serials: Vec<String>,
    pub images: Vec<String>,
    pub model_names: Vec<ModelName>,
    pub manifests: Vec<Digest>,
    pub workers: Vec<WorkerId>,
}
