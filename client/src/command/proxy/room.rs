//! Memory that answers in one piece take together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::problem::Problem;

/// It is counted in these.
const MIB: usize = 1 << 20;
/// How long room is waited for; the answer stands still meanwhile.
const WAIT: Duration = Duration::from_secs(30);

/// What one answer takes.
pub(super) struct Room {
    shared: Arc<Semaphore>,
    held: Vec<OwnedSemaphorePermit>,
}

impl Room {
    /// None yet, of what `shared` has in mebibytes.
    pub(super) fn new(shared: &Arc<Semaphore>) -> Self {
        Self { shared: Arc::clone(shared), held: Vec::new() }
    }

    /// Waits until there is room for so many bytes.
    pub(super) async fn cover(&mut self, bytes: usize) -> Result<(), Problem> {
        while self.held.len().saturating_mul(MIB) < bytes {
            let permit = timeout(WAIT, Arc::clone(&self.shared).acquire_owned()).await;
            match permit {
                Ok(Ok(permit)) => self.held.push(permit),
                Ok(Err(_)) | Err(_) => return Err(Problem::NoRoom),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn answers_take_no_more_than_there_is() {
        let shared = Arc::new(Semaphore::new(2));
        let mut one = Room::new(&shared);
        one.cover(0).await.unwrap();
        one.cover(MIB).await.unwrap();
        one.cover(MIB + 1).await.unwrap();
        let mut other = Room::new(&shared);
        assert!(other.cover(1).now_or_never().is_none(), "it waits");
        drop(one);
        other.cover(2 * MIB).await.unwrap();
        assert_eq!(shared.available_permits(), 0);
    }
}
