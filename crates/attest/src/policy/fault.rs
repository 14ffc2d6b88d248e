//! Why a policy does not admit what was proved.

use cocoon_primitives::ModelName;

/// The first rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    #[error("the policy has ended")]
    Ended,
    #[error("what the evidence rests on has ended")]
    CollateralEnded,
    #[error("the {0} is revoked")]
    Revoked(Revoked),
    #[error("TDX: {0}")]
    Tdx(TdxFault),
    #[error("SEV-SNP: {0}")]
    Snp(SnpFault),
    #[error("image: {0}")]
    Image(ImageFault),
    #[error("machine: {0}")]
    Machine(MachineFault),
    #[error("GPU: {0}")]
    Gpu(GpuFault),
    #[error("model {name}: {fault}")]
    Model { name: ModelName, fault: ModelFault },
}

/// What is on a list of what is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Revoked {
    #[error("worker")]
    Worker,
    #[error("machine")]
    Hardware,
    #[error("image")]
    Image,
    #[error("GPU")]
    Gpu,
    #[error("model")]
    Model,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TdxFault {
    #[error("the policy has no rules for it")]
    NotAllowed,
    #[error("the TCB status {0} is not listed")]
    TcbStatus(String),
    #[error("the platform has been out of date for longer than it may")]
    OutOfDate,
    #[error("the collateral is of an older evaluation than the least")]
    Evaluation,
    #[error("the platform may change its parts")]
    DynamicPlatform,
    #[error("a revocation list of Intel's has a lower number than the least")]
    RevocationsOld,
    #[error("advisory {0} is denied")]
    Advisory(String),
    #[error("the guest's attributes differ")]
    Attributes,
    #[error("the guest's extended features are not listed")]
    Xfam,
    #[error("the module is not listed")]
    MrSeam,
    #[error("the module is not Intel's own, or has attributes")]
    MrSignerSeam,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnpFault {
    #[error("the policy has no rules for it")]
    NotAllowed,
    #[error("the product line is not listed")]
    Product,
    #[error("the {0} TCB is below its floor")]
    Tcb(TcbPart),
    #[error("the guest may share cores with other threads")]
    Smt,
    #[error("the platform has not checked its memory for aliases")]
    AliasCheck,
    #[error("the revocation list was not read")]
    Revocations,
    #[error("the revocation list was made before the earliest date")]
    RevocationsOld,
}

/// Which of the TCB versions in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TcbPart {
    #[error("reported")]
    Reported,
    #[error("committed")]
    Committed,
    #[error("launch")]
    Launch,
    #[error("current")]
    Current,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageFault {
    #[error("no row has these registers together")]
    NotListed,
    #[error("its configuration or owner differs from the row's")]
    Configuration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MachineFault {
    #[error("it is not listed")]
    NotListed,
    #[error("its row has ended")]
    Ended,
    #[error("its site is not verified well enough")]
    Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GpuFault {
    #[error("the workload has another number of them than the image's row")]
    Count,
    #[error("confidential computing is off")]
    ConfidentialComputing,
    #[error("developers' tools are on")]
    Devtools,
    #[error("the architecture is not listed")]
    Architecture,
    #[error("the driver is not listed")]
    Driver,
    #[error("the VBIOS is not listed")]
    Vbios,
    #[error("the mode is not listed")]
    Mode,
    #[error("a measurement is not the golden one")]
    Measurement,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModelFault {
    #[error("it is not listed")]
    NotListed,
    #[error("its manifest is not listed")]
    Manifest,
    #[error("its engine is not the listed one")]
    Engine,
    #[error("its context length is not the listed one")]
    ContextLength,
    #[error("its kind is not the listed one")]
    Kind,
}

impl PolicyFault {
    /// A stable code for the wire and for metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Ended => "policy_ended",
            Self::CollateralEnded => "collateral_ended",
            Self::Revoked(revoked) => revoked.code(),
            Self::Tdx(fault) => fault.code(),
            Self::Snp(fault) => fault.code(),
            Self::Image(ImageFault::NotListed) => "image_not_listed",
            Self::Image(ImageFault::Configuration) => "image_configuration",
            Self::Machine(MachineFault::NotListed) => "machine_not_listed",
            Self::Machine(MachineFault::Ended) => "machine_ended",
            Self::Machine(MachineFault::Level) => "machine_level",
            Self::Gpu(fault) => fault.code(),
            Self::Model { fault: ModelFault::NotListed, .. } => "model_not_listed",
            Self::Model { fault: ModelFault::Manifest, .. } => "model_manifest",
            Self::Model { fault: ModelFault::Engine, .. } => "model_engine",
            Self::Model { fault: ModelFault::ContextLength, .. } => "model_context_length",
            Self::Model { fault: ModelFault::Kind, .. } => "model_kind",
        }
    }
}

impl Revoked {
    const fn code(self) -> &'static str {
        match self {
            Self::Worker => "worker_revoked",
            Self::Hardware => "machine_revoked",
            Self::Image => "image_revoked",
            Self::Gpu => "gpu_revoked",
            Self::Model => "model_revoked",
        }
    }
}

impl TdxFault {
    const fn code(&self) -> &'static str {
        match self {
            Self::NotAllowed => "tdx_not_allowed",
            Self::TcbStatus(_) => "tdx_tcb_status",
            Self::OutOfDate => "tdx_out_of_date",
            Self::Evaluation => "tdx_tcb_evaluation",
            Self::DynamicPlatform => "tdx_dynamic_platform",
            Self::RevocationsOld => "tdx_revocations_old",
            Self::Advisory(_) => "tdx_advisory",
            Self::Attributes => "tdx_attributes",
            Self::Xfam => "tdx_xfam",
            Self::MrSeam => "tdx_mr_seam",
            Self::MrSignerSeam => "tdx_mr_signer_seam",
        }
    }
}

impl SnpFault {
    const fn code(self) -> &'static str {
        match self {
            Self::NotAllowed => "snp_not_allowed",
            Self::Product => "snp_product",
            Self::Tcb(TcbPart::Reported) => "snp_reported_tcb",
            Self::Tcb(TcbPart::Committed) => "snp_committed_tcb",
            Self::Tcb(TcbPart::Launch) => "snp_launch_tcb",
            Self::Tcb(TcbPart::Current) => "snp_current_tcb",
            Self::Smt => "snp_smt",
            Self::AliasCheck => "snp_alias_check",
            Self::Revocations => "snp_revocations",
            Self::RevocationsOld => "snp_revocations_old",
        }
    }
}

impl GpuFault {
    const fn code(self) -> &'static str {
        match self {
            Self::Count => "image_gpus",
            Self::ConfidentialComputing => "gpu_confidential_computing",
            Self::Devtools => "gpu_devtools",
            Self::Architecture => "gpu_architecture_not_listed",
            Self::Driver => "gpu_driver",
            Self::Vbios => "gpu_vbios",
            Self::Mode => "gpu_mode",
            Self::Measurement => "gpu_measurement",
        }
    }
}
