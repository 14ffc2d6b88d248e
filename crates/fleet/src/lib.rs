//! Which worker serves a request: health, load and placement over verified workers.
//!
//! Pure: time and random bits are arguments, links are opaque. Shape: [`Fleet`] holds one member
//! per worker; it admits only an [`Attested`] by value and picks by the power of two choices.
//!
//! Invariants: no pick without a live lease; a draining worker gets nothing new; at one time a
//! model is served by hardware or by software, and one request by the kind that it was promised;
//! a worker that counts as full, by its last report or by the picks of this gateway that have not
//! finished, gets nothing. Until its first report a worker is taken to run one request.
//!
//! [`Attested`]: cocoon_attest::enrol::Attested

mod fleet;
mod member;
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

/// The worker cheated before, under the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this worker is quarantined")]
pub struct Quarantined;

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
