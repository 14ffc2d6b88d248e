//! Why an enrolment was refused: each reason its own value.

use crate::cbor::CborError;
use crate::evidence::EvidenceFault;

/// The verdict where it is no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the evidence message is malformed")]
    Malformed(#[source] CborError),
    #[error("the evidence answers another challenge")]
    UnknownChallenge,
    #[error("the challenge has expired")]
    Expired,
    #[error("the policy changed while the worker answered")]
    PolicyChanged,
    #[error("the evidence is not bound to this enrolment")]
    Binding(#[source] BindingFault),
    #[error("the attested TLS key is not the one that holds this connection")]
    TlsKey,
    #[error("the worker does not prove that it holds its receipt key")]
    ReceiptKey,
    #[error("evidence of devices is not supported with this kind of evidence")]
    Devices,
    #[error("the policy does not list a model that the worker serves")]
    Model,
    #[error("the evidence does not verify")]
    Evidence(#[source] EvidenceFault),
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

impl Refusal {
    /// A stable code for the wire and for metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::UnknownChallenge => "unknown_challenge",
            Self::Expired => "challenge_expired",
            Self::PolicyChanged => "policy_changed",
            Self::Binding(BindingFault::Nonce) => "wrong_nonce",
            Self::Binding(BindingFault::Exporter) => "wrong_exporter",
            Self::Binding(BindingFault::GatewayKey) => "wrong_gateway_key",
            Self::Binding(BindingFault::Policy) => "wrong_policy",
            Self::Binding(BindingFault::Keys) => "keys_changed",
            Self::Binding(BindingFault::Devices) => "devices_changed",
            Self::Binding(BindingFault::Workload) => "workload_changed",
            Self::TlsKey => "wrong_tls_key",
            Self::ReceiptKey => "receipt_key_unproven",
            Self::Devices => "devices_unsupported",
            Self::Model => "model_not_listed",
            Self::Evidence(fault) => fault.code(),
        }
    }
}

impl From<CborError> for Refusal {
    fn from(error: CborError) -> Self {
        Self::Malformed(error)
    }
}
