//! The listener: bounded connections, bounded handshakes, one task for each.

use std::sync::Arc;
use std::time::Duration;

use cocoon_primitives::Digest;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::handshake::Handshakes;
use super::session::Sessions;
use super::verifier::Verifier;
use super::{UplinkConfig, UplinkParts, enforce};

/// For TLS and enrolment together. A machine with eight devices takes seconds for its evidence.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(30);
/// After a failed accept, usually for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

struct Door {
    listener: TcpListener,
    connections: Arc<Semaphore>,
    places: Arc<Semaphore>,
    handshakes: Arc<Handshakes>,
    sessions: Arc<Sessions>,
}

pub(super) fn start(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    spki_sha256: Digest,
    config: &UplinkConfig,
    parts: UplinkParts,
) {
    let verifier = Arc::new(Verifier::new(spki_sha256, &parts));
    let lifecycle = parts.lifecycle.clone();
    enforce::start(&parts);
    let handshakes =
        Handshakes { tls, verifier: Arc::clone(&verifier), fleet: Arc::clone(&parts.fleet) };
    let door = Door {
        listener,
        connections: Arc::new(Semaphore::new(config.connections_max)),
        places: Arc::new(Semaphore::new(config.handshakes_max)),
        handshakes: Arc::new(handshakes),
        sessions: Arc::new(Sessions::new(verifier, parts)),
    };
    lifecycle.spawn("uplink.accept", door.run());
}

impl Door {
    async fn run(self) {
        let soft = self.sessions.lifecycle().soft().clone();
        loop {
            let next = tokio::select! {
                () = soft.cancelled() => return,
                next = self.next() => next,
            };
            if let Some((stream, handshake)) = next {
                self.admit(stream, handshake);
            }
        }
    }

    /// A place for a handshake first, then a connection: what has no place waits in the backlog.
    async fn next(&self) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        match self.listener.accept().await {
            Ok((stream, _)) => Some((stream, place)),
            Err(error) => {
                tracing::warn!(%error, "failed to accept a worker's connection");
                tokio::time::sleep_until(tokio::time::Instant::now() + ACCEPT_PAUSE).await;
                None
            }
        }
    }

    fn admit(&self, stream: TcpStream, handshake: OwnedSemaphorePermit) {
        let Ok(connection) = Arc::clone(&self.connections).try_acquire_owned() else {
            refused("too_many_connections");
            return;
        };
        let (sessions, handshakes) = (Arc::clone(&self.sessions), Arc::clone(&self.handshakes));
        self.sessions.lifecycle().spawn("uplink.connection", async move {
            let enrolled = timeout(HANDSHAKE_DEADLINE, handshakes.enrol(stream)).await;
            drop(handshake);
            match enrolled {
                Ok(Ok(enrolled)) => sessions.run(enrolled).await,
                Ok(Err(error)) => {
                    let reason = error.code();
                    refused(reason);
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(reason, cause, "no worker enrolled: {error}");
                }
                Err(_) => {
                    refused("deadline");
                    tracing::warn!(reason = "deadline", "no worker enrolled in time");
                }
            }
            drop(connection);
        });
    }
}

fn refused(reason: &'static str) {
    metrics::counter!("cocoon_uplink_refusals_total", "reason" => reason).increment(1);
}
