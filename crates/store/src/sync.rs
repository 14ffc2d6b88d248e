//! The thread that waits for the disk, so that no request does.
//!
//! A barrier is one fsync of the write-ahead log: commits are in it before they are answered. It
//! is all that a barrier needs, because SQLite reuses the log only after it has synced the
//! database file itself. The database file is never opened here by hand: closing a second
//! descriptor would drop the process's POSIX locks on it.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::StoreError;
use crate::writer::Answer;

/// Barriers that wait at most.
pub(crate) const QUEUE_MAX: usize = 1024;
/// Requests that one fsync answers.
const BATCH_MAX: usize = 256;
/// Operations after which the log is folded into the database in the background.
const FOLD_AFTER_OPERATIONS: usize = 1000;

pub(crate) enum Request {
    /// Everything that was answered before this must reach the disk.
    Barrier(Answer<()>),
    /// A commit has made the log longer.
    Committed { operations: usize },
    /// Finish what is queued, close the file, then answer.
    Stop(oneshot::Sender<()>),
}

/// The log's descriptor stays open: an error of earlier writes is reported to it exactly once.
pub(crate) struct Log {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

pub(crate) fn serve(connection: Connection, log: &Log, mut queue: mpsc::Receiver<Request>) {
    let mut requests = Vec::with_capacity(BATCH_MAX);
    let mut stops = Vec::new();
    let mut unfolded = 0_usize;
    while queue.blocking_recv_many(&mut requests, BATCH_MAX) > 0 {
        let mut barriers = Vec::new();
        for request in requests.drain(..) {
            match request {
                Request::Barrier(answer) => barriers.push(answer),
                Request::Committed { operations } => unfolded = unfolded.saturating_add(operations),
                Request::Stop(answer) => {
                    queue.close();
                    stops.push(answer);
                }
            }
        }
        if !barriers.is_empty() {
            let result = log.file.sync_data();
            for answer in barriers {
                // A caller that went away has lost only the answer.
                let _ = answer.send(again(&result, log));
            }
        }
        if unfolded >= FOLD_AFTER_OPERATIONS {
            unfolded = 0;
            fold(&connection);
        }
    }
    drop(connection);
    for answer in stops {
        let _ = answer.send(());
    }
}

fn again(result: &io::Result<()>, log: &Log) -> Result<(), StoreError> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(StoreError::File {
            path: log.path.clone(),
            source: io::Error::new(error.kind(), error.to_string()),
        }),
    }
}

/// Copies committed pages from the log to the database without holding anybody up. The writer's
/// own checkpoint, at a longer log, is what remains when this one never catches up.
fn fold(connection: &Connection) {
    let folded = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
    if let Err(error) = folded {
        warn!("the log was not folded into the database: {error}");
    }
}
