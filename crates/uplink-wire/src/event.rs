//! What travels on the long request of a connection.

use serde::{Deserialize, Serialize};

use cocoon_primitives::RequestId;

use crate::byte_string;

/// Bytes in an event at most.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Acknowledgements in one event at most, so that it stays under [`EVENT_BYTES_MAX`].
pub const ACKNOWLEDGED_MAX: usize = 512;

/// From the gateway, in the request's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayEvent {
    /// The receipts of these requests are durable: a worker may forget them.
    Ack { request_ids: Vec<RequestId> },
}

/// From the worker, in the response's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerEvent {
    /// What the engine does now and what it can take.
    Load { running: u32, waiting: u32, permits: u32, queue: u32 },
    /// A signed receipt, as `cocoon-attest` writes it.
    #[serde(with = "byte_string")]
    Receipt(Vec<u8>),
    /// Send nothing new: this worker finishes what it has and leaves.
    Draining,
}
