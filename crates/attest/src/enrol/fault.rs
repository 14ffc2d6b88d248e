//! Why an enrolment was refused: each reason its own value.

use crate::cbor::CborError;
use crate::policy::PolicyFault;
use crate::verify::event_log::EventLogError;
use crate::verify::{Refusal as _, nvidia, snp, tdx};

/// The verdict where it is no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the evidence message is malformed")]
    Malformed(#[source] CborError),
    #[error("the evidence answers another challenge")]
    UnknownChallenge,
    #[error("the challenge has expired")]
    Expired,
    #[error("the policy changed while the worker answered")]
    PolicyChanged,
    #[error("the evidence is not bound to this enrolment: {0}")]
    Binding(BindingFault),
    #[error("the attested TLS key is not the one that holds this connection")]
    TlsKey,
    #[error("the worker does not prove that it holds its receipt key")]
    ReceiptKey,
    #[error("{0}")]
    Software(SoftwareFault),
    #[error("the evidence does not verify: {0}")]
    Evidence(EvidenceFault),
    #[error("the event log does not hold: {0}")]
    EventLog(EventLogError),
    #[error("device {index} does not verify: {fault}")]
    Device { index: usize, fault: DeviceFault },
    #[error("the devices do not make up one machine: {0}")]
    Devices(nvidia::devices::Fault),
    #[error("the policy does not admit this worker: {0}")]
    Policy(PolicyFault),
}

/// Which part of the binding differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BindingFault {
    #[error("the nonce differs")]
    Nonce,
    #[error("the TLS exporter differs")]
    Exporter,
    #[error("the gateway's key differs")]
    GatewayKey,
    #[error("the policy digest differs")]
    Policy,
    #[error("the keys differ from their hash")]
    Keys,
    #[error("the devices differ from their hash")]
    Devices,
    #[error("the workload differs from its hash")]
    Workload,
}

/// Why software's evidence is not even looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SoftwareFault {
    #[error("production mode refuses software evidence")]
    Production,
    #[error("this build verifies no software evidence")]
    NotBuilt,
    #[error("the policy does not allow software evidence of this kind")]
    NotAllowed,
    #[error("the policy names another root than the one that the evidence led to")]
    OtherRoot,
}

/// Why a quote or report does not stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceFault {
    #[error("the quote is unusable: {0}")]
    TdxQuote(tdx::Malformed),
    #[error("the collateral is unusable")]
    TdxCollateral,
    #[error("{0}")]
    Tdx(tdx::Refusal),
    #[error("the report or its certificate is unusable: {0}")]
    SnpReport(snp::Unusable),
    #[error("the endorsements are unusable: {0}")]
    SnpEndorsements(CborError),
    #[error("no revocation list came with the report")]
    SnpRevocations,
    #[error("{0}")]
    Snp(snp::Reason),
    #[error("nothing was judged")]
    Unjudged,
    #[error("the quote is over other data than this enrolment")]
    ReportData,
    #[error("the event log is not the measured one")]
    EventLog,
}

/// Why the evidence of one device does not stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceFault {
    #[error("{0}")]
    Unusable(nvidia::Unusable),
    #[error("{0}")]
    Refused(nvidia::Reason),
    #[error("nothing was judged")]
    Unjudged,
}

impl Refusal {
    /// A stable code for the wire and for metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::UnknownChallenge => "unknown_challenge",
            Self::Expired => "challenge_expired",
            Self::PolicyChanged => "policy_changed",
            Self::Binding(fault) => fault.code(),
            Self::TlsKey => "wrong_tls_key",
            Self::ReceiptKey => "receipt_key_unproven",
            Self::Software(SoftwareFault::Production) => "software_in_production",
            Self::Software(SoftwareFault::NotBuilt) => "software_not_built",
            Self::Software(SoftwareFault::NotAllowed) => "software_not_allowed",
            Self::Software(SoftwareFault::OtherRoot) => "software_root",
            Self::Evidence(fault) => fault.code(),
            Self::EventLog(error) => error.code(),
            Self::Device { fault, .. } => fault.code(),
            Self::Devices(fault) => fault.code(),
            Self::Policy(fault) => fault.code(),
        }
    }
}

impl BindingFault {
    const fn code(self) -> &'static str {
        match self {
            Self::Nonce => "wrong_nonce",
            Self::Exporter => "wrong_exporter",
            Self::GatewayKey => "wrong_gateway_key",
            Self::Policy => "wrong_policy",
            Self::Keys => "keys_changed",
            Self::Devices => "devices_changed",
            Self::Workload => "workload_changed",
        }
    }
}

impl EvidenceFault {
    /// A vendor's reasons keep the names that the verifier of that vendor gives them.
    fn code(&self) -> &'static str {
        match self {
            Self::TdxQuote(_) => "quote_malformed",
            Self::TdxCollateral => "collateral_malformed",
            Self::Tdx(refusal) => refusal.code(),
            Self::SnpReport(_) => "report_malformed",
            Self::SnpEndorsements(_) => "endorsements_malformed",
            Self::SnpRevocations => "revocations_missing",
            Self::Snp(reason) => reason.code(),
            Self::Unjudged => "quote_unjudged",
            Self::ReportData => "quote_report_data",
            Self::EventLog => "event_log_register",
        }
    }
}

impl DeviceFault {
    fn code(self) -> &'static str {
        match self {
            Self::Unusable(_) => "gpu_malformed",
            // The names of a GPU's reasons, told apart from those of the guest.
            Self::Refused(reason) => match reason.code() {
                "chain" => "gpu_chain",
                "signature" => "gpu_signature",
                "certificate_not_yet_valid" => "gpu_certificate_not_yet_valid",
                "certificate_expired" => "gpu_certificate_expired",
                "firmware" => "gpu_firmware",
                "architecture" => "gpu_architecture",
                _ => "gpu_refused",
            },
            Self::Unjudged => "gpu_unjudged",
        }
    }
}

impl From<CborError> for Refusal {
    fn from(error: CborError) -> Self {
        Self::Malformed(error)
    }
}
