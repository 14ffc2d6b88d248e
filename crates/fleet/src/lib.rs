//! Which worker serves a request: health, load and placement over verified workers.
//!
//! Pure: time and random bits are arguments, links are opaque. Shape: [`Fleet`] holds one member
//! per worker; it admits only an [`Attested`] by value and picks by the power of two choices.
//!
//! Invariants: no pick without a live lease; a draining worker gets nothing new; at one time a
//! model is served by hardware or by software, and one request by the kind that it was promised;
//! a model is of one kind, and a GPU or switch stands behind one worker (software's count as none);
//! a worker that counts as full, by its last report or by the picks of this gateway that have not
//! finished, gets nothing. Until its first report a worker is taken to run one request.
//!
//! [`Attested`]: cocoon_attest::enrol::Attested

mod fleet;
mod member;
mod quarantine;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use cocoon_attest::lease::Lease;
use cocoon_primitives::{Assurance, ModelKind, ModelName, WorkerId};

pub use fleet::Fleet;

/// What a worker does now and what it can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub running: u32,
    pub waiting: u32,
    /// Requests that generate at once.
    pub permits: u32,
    /// Requests that may wait for a permit.
    pub queue: u32,
}

/// The chosen worker.
#[derive(Debug, Clone)]
pub struct Pick<L> {
    pub worker: WorkerId,
    pub lease: Arc<Lease>,
    pub link: L,
}

/// Why a worker whose evidence verified does not become a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// It cheated before, under the same key.
    #[error("this worker is quarantined")]
    Quarantined,
    /// One GPU would stand behind two workers.
    #[error("another worker holds one of its GPUs")]
    GpuInUse,
    /// Clients would be told one thing and served another.
    #[error("other workers serve one of its models as another kind of model")]
    ModelKind,
}

impl NotAdmitted {
    /// A stable code for the wire and for metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::GpuInUse => "gpu_in_use",
            Self::ModelKind => "model_kind_differs",
        }
    }
}

/// Why there is no pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("no worker has ever served this model")]
    UnknownModel,
    #[error("no worker serves this model now")]
    NoWorker,
    #[error("every worker of this model is full")]
    Saturated,
}

/// A model as the fleet serves it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    pub name: ModelName,
    pub kind: ModelKind,
    /// The least of its workers.
    pub context_length: u64,
    pub assurance: Assurance,
    pub workers: usize,
    pub is_demo: bool,
    pub owned_by: String,
}
