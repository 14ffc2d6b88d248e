//! The writer thread: many operations, one commit.
//!
//! Each round takes what has queued up, runs every operation in a savepoint of one transaction,
//! commits, and only then answers. An operation that fails or panics loses its own writes alone;
//! a commit that fails loses the round, and every caller in it is told so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rusqlite::{Connection, Error, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::StoreError;
use crate::sync::Request;
use crate::tx::Tx;

/// Operations that wait at most; beyond them callers wait, and then are shed.
pub(crate) const QUEUE_MAX: usize = 4096;
/// Operations of one commit.
const BATCH_MAX: usize = 256;
/// Times that the lock is asked for, each with the connection's busy timeout.
const BEGIN_ATTEMPTS: u32 = 4;

pub(crate) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

pub(crate) enum Command {
    Run(Box<dyn Operation>),
    /// Finish what is queued, close the file, then answer.
    Stop(oneshot::Sender<()>),
}

/// A queued operation, whatever it returns.
pub(crate) trait Operation: Send {
    /// Runs the work and keeps its result; whether its writes are to be kept.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Hands the result over, once it is committed.
    fn answer(self: Box<Self>);
    /// Hands over that the round was lost.
    fn fail(self: Box<Self>, error: StoreError);
}

/// An operation with its result and its caller.
pub(crate) struct Queued<T, F> {
    name: &'static str,
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    caller: Answer<T>,
}

impl<T, F> Queued<T, F> {
    pub(crate) const fn new(name: &'static str, work: F, caller: Answer<T>) -> Self {
        Self { name, work: Some(work), result: None, caller }
    }
}

impl<T, F> Operation for Queued<T, F>
where
    T: Send,
    F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let work = self.work.take().expect("an operation runs once");
        let result = run_guarded(self.name, || work(&Tx::new(connection, self.name)));
        let is_kept = result.is_ok();
        self.result = Some(result);
        is_kept
    }

    fn answer(self: Box<Self>) {
        let result = self.result.expect("an operation is answered after it ran");
        count(self.name, &result);
        // A caller that went away has lost only the answer.
        let _ = self.caller.send(result);
    }

    fn fail(self: Box<Self>, error: StoreError) {
        // An operation's own failure says more than that its round was lost.
        let result = match self.result {
            Some(Err(own)) => Err(own),
            _ => Err(error),
        };
        count(self.name, &result);
        let _ = self.caller.send(result);
    }
}

fn count<T>(operation: &'static str, result: &Result<T, StoreError>) {
    let result = if result.is_ok() { "ok" } else { "error" };
    metrics::counter!("cocoon_store_operations_total", "operation" => operation, "result" => result)
        .increment(1);
}

/// Runs work so that a broken invariant in it ends the work and not the thread.
pub(crate) fn run_guarded<T>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        error!("{operation} broke an invariant");
        Err(StoreError::Broken { operation })
    })
}

/// Serves the queue until it is closed. Nudges the sync thread after each commit.
pub(crate) fn serve(
    mut connection: Connection,
    mut queue: mpsc::Receiver<Command>,
    sync: &mpsc::Sender<Request>,
) {
    let mut commands = Vec::with_capacity(BATCH_MAX);
    let mut stops = Vec::new();
    while queue.blocking_recv_many(&mut commands, BATCH_MAX) > 0 {
        let mut batch = Vec::with_capacity(commands.len());
        for command in commands.drain(..) {
            match command {
                Command::Run(operation) => batch.push(operation),
                Command::Stop(answer) => {
                    queue.close();
                    stops.push(answer);
                }
            }
        }
        if !batch.is_empty() {
            let committed = batch.len();
            commit(&mut connection, batch);
            // A full queue means that the thread is busy doing what this asks for.
            let _ = sync.try_send(Request::Committed { operations: committed });
        }
    }
    close(connection);
    for answer in stops {
        let _ = answer.send(());
    }
}

/// Moves the log into the database and closes it, so that an orderly end leaves one file.
fn close(connection: Connection) {
    let folded = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
    if let Err(error) = folded {
        warn!("the log stays beside the database: {error}");
    }
    if let Err((_, error)) = connection.close() {
        warn!("the database was not closed in order: {error}");
    }
}

fn commit(connection: &mut Connection, mut batch: Vec<Box<dyn Operation>>) {
    metrics::histogram!("cocoon_store_commit_operations")
        .record(f64::from(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
    let result = begin(connection).and_then(|tx| {
        for operation in &mut batch {
            run_in_savepoint(&tx, operation.as_mut()).map_err(lost)?;
        }
        tx.commit().map_err(lost)
    });
    match result {
        Ok(()) => batch.into_iter().for_each(Operation::answer),
        Err(cause) => {
            warn!("a commit of {} operations was lost: {cause}", batch.len());
            batch.into_iter().for_each(|operation| operation.fail(cause.again()));
        }
    }
}

/// Runs one operation. An error is one that takes the whole transaction with it.
fn run_in_savepoint(tx: &Transaction<'_>, operation: &mut dyn Operation) -> Result<(), Error> {
    let step = |sql| tx.prepare_cached(sql).and_then(|mut statement| statement.execute(()));
    step("SAVEPOINT operation")?;
    if !operation.run(tx) {
        // After some failures (a full disk) SQLite has undone everything already; then this fails.
        step("ROLLBACK TO operation")?;
    }
    step("RELEASE operation")?;
    Ok(())
}

/// Why a round was lost; each of its callers gets an error of its own.
enum Lost {
    Busy(Arc<Error>),
    Commit(Arc<Error>),
}

impl Lost {
    fn again(&self) -> StoreError {
        match self {
            Self::Busy(source) => StoreError::Busy { source: Arc::clone(source) },
            Self::Commit(source) => StoreError::Commit { source: Arc::clone(source) },
        }
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy(source) => write!(f, "the database is locked: {source}"),
            Self::Commit(source) => write!(f, "not committed: {source}"),
        }
    }
}

fn lost(source: Error) -> Lost {
    Lost::Commit(Arc::new(source))
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>, Lost> {
    let mut attempt = 1;
    loop {
        // `unchecked` only in that the borrow is shared: this thread has no other transaction.
        match Transaction::new_unchecked(connection, TransactionBehavior::Immediate) {
            Ok(tx) => return Ok(tx),
            Err(source) if is_busy(&source) && attempt < BEGIN_ATTEMPTS => {
                warn!("another process holds the database (attempt {attempt})");
                attempt += 1;
            }
            Err(source) if is_busy(&source) => return Err(Lost::Busy(Arc::new(source))),
            Err(source) => return Err(lost(source)),
        }
    }
}

fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// The error of a transaction that did not begin.
pub(crate) fn begin_error(source: Error, operation: &'static str) -> StoreError {
    if is_busy(&source) {
        StoreError::Busy { source: Arc::new(source) }
    } else {
        StoreError::Sql { operation, source }
    }
}
