//! What drives a connection's HTTP/2, how to stop it, and how to know that it has ended.

use std::sync::Arc;

use cocoon_runtime::Lifecycle;
use hyper::rt::Executor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The tasks of one connection.
pub(super) struct Driver {
    /// Cancelled when the last of them has ended: the connection, and every stream of it.
    pub(super) done: CancellationToken,
    /// Ends them: streams that run break off.
    pub(super) abort: CancellationToken,
}

/// Runs a connection's tasks. HTTP/2 splits itself into several: one takes new requests and ends
/// with the last sender, another moves bytes and ends with the last stream.
#[derive(Clone)]
pub(super) struct Tasks {
    lifecycle: Lifecycle,
    abort: CancellationToken,
    running: Arc<DropGuard>,
}

impl Driver {
    pub(super) fn new(lifecycle: &Lifecycle) -> (Self, Tasks) {
        let driver = Self { done: CancellationToken::new(), abort: CancellationToken::new() };
        let tasks = Tasks {
            lifecycle: lifecycle.clone(),
            abort: driver.abort.clone(),
            running: Arc::new(driver.done.clone().drop_guard()),
        };
        (driver, tasks)
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let (abort, running) = (self.abort.clone(), Arc::clone(&self.running));
        self.lifecycle.spawn("uplink.http2", async move {
            let _running = running;
            tokio::select! {
                _ = future => {}
                () = abort.cancelled() => {}
            }
        });
    }
}
