//! The handle: opens the file and its threads, and hands operations to them.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;
use crate::tx::Tx;
use crate::writer::Queued;
use crate::{reader, schema, sync, writer};

/// How long a caller waits for room in a queue before it is shed.
const ENQUEUE_WAIT: Duration = Duration::from_secs(5);
/// How long one try for the lock waits while another process writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Pages of the log (64 MiB) at which the writer itself folds it into the database.
const LOG_PAGES_MAX: u32 = 16_384;
/// Pages in a writer's memory, in KiB: negative is SQLite's way to say KiB.
const CACHE_KIB: i32 = -32_768;
/// Statements that a connection keeps compiled: more than there are.
const STATEMENTS_MAX: usize = 128;

/// The gateway's durable state. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    queues: Arc<Queues>,
}

#[derive(Debug)]
struct Queues {
    writer: mpsc::Sender<writer::Command>,
    readers: mpsc::Sender<reader::Command>,
    sync: mpsc::Sender<sync::Request>,
}

impl Store {
    /// Opens the database at `path`, makes it with its folder where there is none (mode 0600 and
    /// 0700: it holds what opens receipts), and brings its schema up to date. Blocks.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        create(path)?;
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::recognise(&connection, path)?;
        log_ahead(&connection)?;
        schema::migrate(&mut connection, path)?;
        let sync = start_sync(path)?;
        let readers = start_readers(path)?;
        let (sender, queue) = mpsc::channel(writer::QUEUE_MAX);
        let nudge = sync.clone();
        spawn("store-writer", path, move || writer::serve(connection, queue, &nudge))?;
        Ok(Self { queues: Arc::new(Queues { writer: sender, readers, sync }) })
    }

    /// Finishes what is queued and closes the file. Other clones fail with `Closed` from then on.
    /// Dropping all clones does the same without waiting for it.
    pub async fn close(self) {
        // The writer last: the last connection to close folds the log away.
        for _ in 0..reader::READERS {
            let (sender, stopped) = oneshot::channel();
            if self.queues.readers.send(reader::Command::Stop(sender)).await.is_ok() {
                let _ = stopped.await;
            }
        }
        let (sender, stopped) = oneshot::channel();
        if self.queues.sync.send(sync::Request::Stop(sender)).await.is_ok() {
            let _ = stopped.await;
        }
        let (sender, stopped) = oneshot::channel();
        if self.queues.writer.send(writer::Command::Stop(sender)).await.is_ok() {
            let _ = stopped.await;
        }
    }

    /// Returns once everything that was answered before this call is on the disk.
    pub async fn durable_barrier(&self) -> Result<(), StoreError> {
        let (caller, answer) = oneshot::channel();
        enqueue(&self.queues.sync, "store.barrier", sync::Request::Barrier(caller)).await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Runs `work` on the writer thread; returns once it is committed.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (caller, answer) = oneshot::channel();
        let command = writer::Command::Run(Box::new(Queued::new(operation, work, caller)));
        enqueue(&self.queues.writer, operation, command).await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Runs `work` on a reader thread, on one snapshot.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (caller, answer) = oneshot::channel();
        let command = reader::command(operation, work, caller);
        enqueue(&self.queues.readers, operation, command).await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

async fn enqueue<C: Send>(
    queue: &mpsc::Sender<C>,
    operation: &'static str,
    command: C,
) -> Result<(), StoreError> {
    queue.send_timeout(command, ENQUEUE_WAIT).await.map_err(|error| match error {
        SendTimeoutError::Timeout(_) => StoreError::Overloaded { operation },
        SendTimeoutError::Closed(_) => StoreError::Closed,
    })
}

fn start_readers(path: &Path) -> Result<mpsc::Sender<reader::Command>, StoreError> {
    let (sender, queue) = mpsc::channel(reader::QUEUE_MAX);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..reader::READERS {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let queue = Arc::clone(&queue);
        spawn("store-reader", path, move || reader::serve(connection, &queue))?;
    }
    Ok(sender)
}

fn start_sync(path: &Path) -> Result<mpsc::Sender<sync::Request>, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    log_ahead(&connection)?;
    let log = log_path(path);
    let file = File::open(&log).map_err(|source| file_error(&log, source))?;
    let log = sync::Log { path: log, file };
    let (sender, queue) = mpsc::channel(sync::QUEUE_MAX);
    spawn("store-sync", path, move || sync::serve(connection, &log, queue))?;
    Ok(sender)
}

fn spawn(name: &str, path: &Path, body: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(body).map(drop).map_err(|source| file_error(path, source))
}

/// Makes the folder and an empty file where there is none. An existing file is not opened by
/// hand: closing that descriptor would drop the locks of this process's connections to it.
fn create(path: &Path) -> Result<(), StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| file_error(folder, source))?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(path, Permissions::from_mode(0o600))
                .map_err(|source| file_error(path, source))
        }
        Err(source) => Err(file_error(path, source)),
    }
}

/// A connection that has changed nothing yet.
fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Sql { operation: "store.connect", source };
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    Ok(connection)
}

/// The settings of a connection that writes: the crate's promises rest on them.
fn log_ahead(connection: &Connection) -> Result<(), StoreError> {
    let failed = |source| StoreError::Sql { operation: "store.connect", source };
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .map_err(|source| writer::begin_error(source, "store.connect"))?;
    // In WAL mode NORMAL syncs only when the log is folded: a commit survives the process, a
    // barrier makes it survive the machine.
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB).map_err(failed)?;
    connection
        .pragma_update_and_check(None, "wal_autocheckpoint", LOG_PAGES_MAX, |_| Ok(()))
        .map_err(failed)
}

/// SQLite's name for the write-ahead log.
fn log_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

fn file_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), source }
}
