//! The worker's side of its connection to a gateway.
//!
//! Shape: [`Link::run`] dials (`dial`), proves what this worker is, and serves HTTP/2 over the
//! connection that it dialled (`server`): requests go to the OpenAI surface, `/events` carries
//! load, receipts and acknowledgements (`events`), `/renew` prolongs the lease. A lost
//! connection is dialled again with jittered backoff, the engine stays loaded.
//!
//! Invariants: the gateway's key is pinned and its handshake signature checked; nothing is served
//! without a lease; a receipt stays in the [`ReceiptOutbox`] until it is acknowledged; a drain
//! finishes what runs and hands its receipts over before it closes.
//!
//! A worker of several gateways is several links over one engine and one outbox each.

mod backoff;
mod body;
mod dial;
mod events;
mod lease;
mod outbox;
mod server;
mod tls;

use std::sync::Arc;

use cocoon_attest::enrol::Workload;
use cocoon_attest::receipt::ReceiptKey;
use cocoon_attest::verify::event_log::EventLog;
use cocoon_primitives::{Clock, Digest, WalletAddress};
use cocoon_runtime::Lifecycle;
use cocoon_seal::KeyPair;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::evidence::EvidenceSource;
use crate::serve::Surface;
use backoff::Backoff;

pub use dial::DialError;
pub use lease::LeaseContext;
pub use outbox::{RECEIPTS_MAX, ReceiptOutbox, Subscription};
pub use tls::TlsIdentity;

/// A connection that lasted this long starts the backoff over.
const STABLE: std::time::Duration = std::time::Duration::from_secs(5);

/// Which gateway, and what it pays.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// `host:port`.
    pub gateway: String,
    /// SHA-256 of the gateway's uplink key as SubjectPublicKeyInfo.
    pub gateway_spki_sha256: Digest,
    /// Who earns this worker's share.
    pub payee: WalletAddress,
    /// Requests that the engine lets wait, reported with its load.
    pub queue: u32,
}

/// What a link works with.
pub struct LinkParts {
    pub engine: Arc<dyn Engine>,
    pub surface: Arc<Surface>,
    pub outbox: Arc<ReceiptOutbox>,
    pub receipt_key: ReceiptKey,
    /// Its public half is in the evidence.
    pub seal_key: Arc<KeyPair>,
    pub tls: TlsIdentity,
    pub evidence: EvidenceSource,
    /// What was measured: it agrees with the workload.
    pub event_log: EventLog,
    pub workload: Workload,
    pub clock: Arc<dyn Clock>,
    pub lifecycle: Lifecycle,
}

/// One gateway, dialled again and again.
pub struct Link {
    config: LinkConfig,
    parts: LinkParts,
    /// Held while evidence is being collected.
    collecting: Mutex<()>,
}

impl Link {
    pub fn new(config: LinkConfig, parts: LinkParts) -> Self {
        Self { config, parts, collecting: Mutex::new(()) }
    }

    /// Keeps the connection up until the process drains.
    pub async fn run(self) {
        let link = Arc::new(self);
        let soft = link.parts.lifecycle.soft().clone();
        let mut backoff = Backoff::new();
        while !soft.is_cancelled() {
            let dialled = tokio::select! {
                () = soft.cancelled() => return,
                dialled = link.dial() => dialled,
            };
            match dialled {
                Ok(connection) => {
                    let began = Instant::now();
                    link.serve(connection).await;
                    // A gateway that cuts us off at once is not dialled at full speed.
                    if began.elapsed() > STABLE {
                        backoff.reset();
                    }
                }
                Err(error) => report(&error),
            }
            // A wait that the drain ends early; its outcome does not matter.
            drop(tokio::time::timeout(backoff.next(random()), soft.cancelled()).await);
        }
    }
}

fn report(error: &DialError) {
    let reason = error.code();
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(reason, cause, "no lease from the gateway: {error}");
}

/// Random bits for jitter.
fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    u64::from_be_bytes(bytes)
}
