//! The listener: bounded connections, bounded handshakes, one task for each.
//!
//! Three bounds in a row, so that whoever says nothing keeps nobody out. A connection that has not
//! said hello counts against its address and has seconds. One that has waits for a place to prove
//! itself, and still counts against its address. Only with that place does it count as a
//! connection, for as long as it lives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cocoon_primitives::Digest;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::handshake::{Enrolled, HandshakeError, Handshakes};
use super::pace::Pace;
use super::registry::Registry;
use super::session::Sessions;
use super::verifier::Verifier;
use super::waiting::Waiting;
use super::{UplinkConfig, UplinkParts, enforce};

/// For TLS and the hello, which need nothing but the network.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// For all of it. A machine with eight devices takes seconds for its evidence.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(30);
/// After a failed accept, usually for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

struct Door {
    listener: TcpListener,
    waiting: Arc<Waiting>,
    entrance: Arc<Entrance>,
    sessions: Arc<Sessions>,
}

/// What every connection has to pass.
struct Entrance {
    connections: Arc<Semaphore>,
    /// For those that prove themselves.
    places: Semaphore,
    handshakes: Handshakes,
}

/// Why a connection did not get in.
#[derive(Debug, thiserror::Error)]
enum Kept {
    #[error("failed to enrol")]
    Handshake(#[source] HandshakeError),
    #[error("it took too long")]
    Deadline,
    #[error("there are too many connections")]
    Full,
}

pub(super) fn start(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    spki_sha256: Digest,
    config: &UplinkConfig,
    parts: UplinkParts,
) {
    let verifier = Arc::new(Verifier::new(spki_sha256, &parts));
    let (lifecycle, registry) = (parts.lifecycle.clone(), Arc::new(Registry::default()));
    enforce::start(&parts, Arc::clone(&registry));
    let handshakes = Handshakes {
        tls,
        verifier: Arc::clone(&verifier),
        fleet: Arc::clone(&parts.fleet),
        pace: Pace::default(),
    };
    let entrance = Entrance {
        connections: Arc::new(Semaphore::new(config.connections_max)),
        places: Semaphore::new(config.handshakes_max),
        handshakes,
    };
    let door = Door {
        listener,
        waiting: Arc::default(),
        entrance: Arc::new(entrance),
        sessions: Arc::new(Sessions::new(verifier, registry, parts)),
    };
    lifecycle.spawn("uplink.accept", door.run());
}

impl Door {
    async fn run(self) {
        let soft = self.sessions.lifecycle().soft().clone();
        loop {
            let next = tokio::select! {
                () = soft.cancelled() => return,
                next = self.listener.accept() => next,
            };
            match next {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a worker's connection");
                    tokio::time::sleep_until(tokio::time::Instant::now() + ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(place) = self.waiting.enter(peer.ip()) else {
            refused("too_many_handshakes");
            return;
        };
        let (sessions, entrance) = (Arc::clone(&self.sessions), Arc::clone(&self.entrance));
        self.sessions.lifecycle().spawn("uplink.connection", async move {
            let passed = timeout(HANDSHAKE_DEADLINE, entrance.pass(stream)).await;
            drop(place);
            match passed.unwrap_or(Err(Kept::Deadline)) {
                Ok((enrolled, connection)) => {
                    sessions.run(enrolled).await;
                    drop(connection);
                }
                Err(kept) => kept.tell(),
            }
        });
    }
}

impl Entrance {
    /// The whole way to a lease, and the connection's place among all.
    async fn pass(&self, stream: TcpStream) -> Result<(Enrolled, OwnedSemaphorePermit), Kept> {
        let greeted = timeout(HELLO_DEADLINE, self.handshakes.greet(stream)).await;
        let greeted = greeted.map_err(|_| Kept::Deadline)?.map_err(Kept::Handshake)?;
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        let connection = Arc::clone(&self.connections).try_acquire_owned();
        let connection = connection.map_err(|_| Kept::Full)?;
        let enrolled = self.handshakes.enrol(greeted).await.map_err(Kept::Handshake)?;
        Ok((enrolled, connection))
    }
}

impl Kept {
    fn tell(&self) {
        match self {
            Self::Handshake(error) => {
                let reason = error.code();
                refused(reason);
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::warn!(reason, cause, "no worker enrolled: {error}");
            }
            Self::Deadline => {
                refused("deadline");
                tracing::warn!(reason = "deadline", "no worker enrolled in time");
            }
            Self::Full => refused("too_many_connections"),
        }
    }
}

fn refused(reason: &'static str) {
    metrics::counter!("cocoon_uplink_refusals_total", "reason" => reason).increment(1);
}
