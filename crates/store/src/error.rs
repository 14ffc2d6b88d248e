//! Why the store did not do what it was asked to.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cocoon_ledger::Rejection;

/// A failed operation. Outcomes that a caller expects (no funds, a duplicate) are not errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("reach the file {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("read a database of schema version {found}: this program knows versions up to {known}")]
    NewerSchema { found: i64, known: i64 },
    #[error("use {}: it is another program's database", path.display())]
    ForeignFile { path: PathBuf },
    /// Another process held the database for longer than the busy timeout.
    #[error("lock the database")]
    Busy { source: Arc<rusqlite::Error> },
    /// The queue stayed full for as long as a caller waits.
    #[error("queue {operation}: the store is overloaded")]
    Overloaded { operation: &'static str },
    #[error("use the store after it was closed")]
    Closed,
    #[error("run {operation}")]
    Sql { operation: &'static str, source: rusqlite::Error },
    /// The transaction that this operation shared with others did not commit.
    #[error("commit")]
    Commit { source: Arc<rusqlite::Error> },
    /// The ledger's rules refused a transfer that the store thought possible.
    #[error("post {operation}")]
    Ledger { operation: &'static str, source: Rejection },
    /// A number beyond 63 bits, or more rows than one call takes.
    #[error("run {operation}: a value is out of range")]
    OutOfRange { operation: &'static str },
    #[error("find {what}")]
    Missing { what: &'static str },
    /// An operation broke off; none of its writes were kept.
    #[error("finish {operation}: an invariant does not hold")]
    Broken { operation: &'static str },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's help.
    #[must_use]
    pub fn transient(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Overloaded { .. } => true,
            Self::File { .. }
            | Self::NewerSchema { .. }
            | Self::ForeignFile { .. }
            | Self::Closed
            | Self::Sql { .. }
            | Self::Commit { .. }
            | Self::Ledger { .. }
            | Self::OutOfRange { .. }
            | Self::Missing { .. }
            | Self::Broken { .. } => false,
        }
    }
}
