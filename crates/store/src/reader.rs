//! Reader threads: each has a connection that cannot write, and one snapshot for each read.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;
use crate::tx::Tx;
use crate::writer::{Answer, run_guarded};

/// Reads that wait at most.
pub(crate) const QUEUE_MAX: usize = 1024;
pub(crate) const READERS: usize = 3;

pub(crate) enum Command {
    Run(Box<dyn FnOnce(&Connection) + Send>),
    /// End one thread.
    Stop(oneshot::Sender<()>),
}

pub(crate) type Queue = Arc<Mutex<mpsc::Receiver<Command>>>;

/// The command that does `work` and answers.
pub(crate) fn command<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    caller: Answer<T>,
) -> Command {
    Command::Run(Box::new(move |connection| {
        let result = run_guarded(operation, || {
            let failed = |source| StoreError::Sql { operation, source };
            // All statements of one read see one state.
            let snapshot = connection.unchecked_transaction().map_err(failed)?;
            work(&Tx::new(&snapshot, operation))
        });
        // A caller that went away has lost only the answer.
        let _ = caller.send(result);
    }))
}

/// Serves the queue that all readers share, until it is closed or this one is stopped.
pub(crate) fn serve(connection: Connection, queue: &Queue) {
    loop {
        // The lock is held while waiting: the others then wait for the lock instead of the queue.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match next {
            Some(Command::Run(work)) => work(&connection),
            Some(Command::Stop(answer)) => {
                drop(connection);
                let _ = answer.send(());
                return;
            }
            None => return,
        }
    }
}
