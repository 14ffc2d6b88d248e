//! Where workers come in: they dial, prove what they are, and serve over their own connection.
//!
//! Shape: [`Uplink::bind`] starts [`accept`]; each connection goes through [`handshake`] (TLS 1.3,
//! challenge, evidence, lease) and then runs as a [`session`] (HTTP/2 with the roles turned round,
//! events, renewal). The fleet holds a [`WorkerLink`] per member; the dispatcher sends through it.
//! [`enforce`] re-appraises every member when the policy changes or ends.
//!
//! Invariants: a worker is in the fleet only under the policy in force, because admission,
//! renewal and re-appraisal all happen under the fleet's lock; nothing but enrolment is possible before a lease; a member of the fleet has a live
//! connection; connections, unfinished handshakes and every message have a bound and a deadline;
//! what a worker sends wrongly ends its own connection only. Source: the uplink decisions and the
//! attestation design §4.2–4.4.

mod accept;
mod acknowledgements;
mod driver;
mod enforce;
mod gated;
mod handshake;
mod identity;
mod link;
mod pace;
mod registry;
mod renewal;
mod session;
#[cfg(all(test, feature = "soft-tee"))]
mod tests;
mod tls;
mod turns;
mod verifier;
mod waiting;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cocoon_attest::receipt::SignedReceipt;
use cocoon_fleet::Fleet;
use cocoon_primitives::{Clock, Digest};
use cocoon_runtime::Lifecycle;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::policy::PolicyStore;
use crate::transparency::Transparency;

pub use link::{AskError, LinkError, WorkerLink};

/// The fleet and its links. A std mutex: never held across an await.
pub type SharedFleet = Arc<Mutex<Fleet<Arc<WorkerLink>>>>;

/// Locks the fleet. A panic elsewhere leaves it usable: each change to it is one call.
pub fn lock(fleet: &SharedFleet) -> MutexGuard<'_, Fleet<Arc<WorkerLink>>> {
    fleet.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A receipt that came by the events of a connection, unverified.
#[derive(Debug)]
pub struct LateReceipt {
    pub link: Arc<WorkerLink>,
    pub receipt: SignedReceipt,
}

/// What the uplink is configured with.
#[derive(Debug, Clone)]
pub struct UplinkConfig {
    pub listen: SocketAddr,
    /// Holds `uplink.key` and `uplink.crt`, made where they are missing.
    pub data_dir: PathBuf,
    /// Workers at most.
    pub connections_max: usize,
    /// Connections that prove themselves at once, at most. Those that have not said hello are
    /// bounded for each address.
    pub handshakes_max: usize,
}

impl UplinkConfig {
    /// A configuration with bounds that fit one machine.
    pub fn new(listen: SocketAddr, data_dir: PathBuf) -> Self {
        Self { listen, data_dir, connections_max: 1024, handshakes_max: 64 }
    }
}

/// What the uplink works with.
pub struct UplinkParts {
    pub fleet: SharedFleet,
    /// Its changes are enforced as long as the lifecycle does not drain.
    pub policy: Arc<PolicyStore>,
    /// Where every lease is recorded before it is granted.
    pub transparency: Arc<Transparency>,
    pub clock: Arc<dyn Clock>,
    pub lifecycle: Lifecycle,
    /// Bounded: a slow reader slows the workers' events down, nothing is dropped.
    pub late_receipts: mpsc::Sender<LateReceipt>,
}

/// Why the uplink did not start.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    #[error("failed to read or write {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the uplink's key or certificate is not usable")]
    Identity(#[source] rcgen::Error),
    #[error("the uplink's certificate is not usable for TLS")]
    Tls(#[source] rustls::Error),
    #[error("failed to listen on {listen}")]
    Listen { listen: SocketAddr, source: io::Error },
}

/// The listening uplink. Its tasks belong to the lifecycle.
#[derive(Debug)]
pub struct Uplink {
    spki_sha256: Digest,
}

impl Uplink {
    /// Binds the socket and starts to accept workers.
    pub async fn bind(
        config: UplinkConfig,
        parts: UplinkParts,
    ) -> Result<(Self, SocketAddr), UplinkError> {
        let identity = identity::load_or_make(&config.data_dir).await?;
        let spki_sha256 = identity.spki_sha256;
        let tls = tls::server_config(identity).map_err(UplinkError::Tls)?;
        let listen = config.listen;
        let failed = |source| UplinkError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        accept::start(listener, tls, spki_sha256, &config, parts);
        Ok((Self { spki_sha256 }, address))
    }

    /// What workers pin: SHA-256 of the gateway's uplink key as SubjectPublicKeyInfo.
    pub fn spki_sha256(&self) -> [u8; 32] {
        *self.spki_sha256.as_bytes()
    }
}
