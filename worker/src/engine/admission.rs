//! Permits and a bounded queue in front of an engine.
//!
//! A job first takes a place (permits + queue of them; none left: shed), then waits its turn for a
//! permit, first come first served. Both are given back when [`Place`] and [`Turn`] are dropped.
//!
//! A job that waited for longer than its patience is shed like one that found no place: the engine
//! is overloaded, not broken. Patience stays well below what a gateway waits for a first frame
//! ([`super::config::QUEUE_TIMEOUT_MS_MAX`]), so that a queue never looks like a dead worker.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::{EngineError, EngineEvent, EngineLoad};

/// Told to a client that found no place: one may be free soon.
const RETRY_AFTER_MS: u64 = 1_000;

/// Told to a client that waited in vain: the queue moves slower than that.
const RETRY_AFTER_WAIT_MS: u64 = 5_000;

#[derive(Debug)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    places_max: u32,
    permits: Arc<Semaphore>,
    permits_max: u32,
    patience: Duration,
}

/// A job's place in the queue or in the engine.
#[derive(Debug)]
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    permits: Arc<Semaphore>,
    patience: Duration,
}

/// A job's right to work. Holds its place too.
#[derive(Debug)]
pub(super) struct Turn {
    _place: Place,
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    pub(super) fn new(permits: u32, queue: u32, patience: Duration) -> Self {
        let places_max = permits.saturating_add(queue);
        Self {
            places: Arc::new(Semaphore::new(size(places_max))),
            places_max,
            permits: Arc::new(Semaphore::new(size(permits))),
            permits_max: permits,
            patience,
        }
    }

    pub(super) fn enter(&self) -> Result<Place, EngineError> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| EngineError::Overloaded { retry_after_ms: RETRY_AFTER_MS })?;
        Ok(Place { _place: place, permits: Arc::clone(&self.permits), patience: self.patience })
    }

    /// Resolves when nobody is inside; from the call on nobody enters.
    pub(super) async fn idle(&self) {
        // The semaphore is never closed, so this ends only with all places in hand.
        drop(self.places.acquire_many(self.places_max).await);
    }

    pub(super) fn load(&self) -> EngineLoad {
        let running = self.permits_max - count(self.permits.available_permits());
        let inside = self.places_max - count(self.places.available_permits());
        EngineLoad { running, waiting: inside.saturating_sub(running), permits: self.permits_max }
    }
}

impl Place {
    /// Waits for a permit. `None` when the client left, or patience ran out and it was told.
    pub(super) async fn turn(self, events: &mpsc::Sender<EngineEvent>) -> Option<Turn> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        tokio::select! {
            biased;
            () = events.closed() => None,
            permit = timeout(self.patience, permit) => match permit {
                Ok(permit) => {
                    let permit = permit.expect("the semaphore is never closed");
                    Some(Turn { _place: self, _permit: permit })
                }
                Err(_) => {
                    // A channel that is full has a reader with older news; it sees the end.
                    let shed = EngineError::Overloaded { retry_after_ms: RETRY_AFTER_WAIT_MS };
                    drop(events.try_send(EngineEvent::Failed(shed)));
                    None
                }
            },
        }
    }
}

/// A semaphore's size; both numbers come from a `u32`.
fn size(permits: u32) -> usize {
    usize::try_from(permits).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

fn count(permits: usize) -> u32 {
    u32::try_from(permits).unwrap_or(u32::MAX)
}
