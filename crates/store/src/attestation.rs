//! The log of leases and policies, and the evidence that leases rest on.
//!
//! Entries are opaque bytes here: their hashes, the tree over them and its signed heads are the
//! caller's. Invariants: entries are numbered from zero without gaps, none is changed or deleted,
//! and one that names evidence comes with it, in one transaction. Evidence is kept once.

use cocoon_primitives::{Digest, Timestamp};
use rusqlite::Row;

use crate::column::{Sql, optional};
use crate::tx::Tx;
use crate::{Store, StoreError};

/// Entries that one call reads at most.
const PAGE_MAX: u32 = 1000;
/// Bytes of entries after which a page ends: policies are large.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    Lease,
    Renewal,
    Policy,
}

/// Evidence under the digest by which leases and receipts name it; the caller has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvidence {
    pub digest: Digest,
    /// The message as it was received, at most 1 MiB.
    pub bytes: Vec<u8>,
}

/// An entry that wants to be the next one.
#[derive(Debug, Clone)]
pub struct NewLogEntry {
    /// How many entries the caller knows: the number of this one.
    pub index: u64,
    pub at: Timestamp,
    pub kind: LogKind,
    /// The leaf's bytes.
    pub entry: Vec<u8>,
    /// Of every kind but a policy.
    pub evidence: Option<NewEvidence>,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum AppendOutcome {
    /// It is in the log. This has reached the operating system.
    Appended,
    /// The log has another number of entries than the caller knows. Nothing was changed.
    Elsewhere { next: u64 },
}

/// An entry as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    pub index: u64,
    pub kind: LogKind,
    pub at: Timestamp,
    pub entry: Vec<u8>,
    pub evidence_digest: Option<Digest>,
}

impl Store {
    /// Appends one entry with its evidence, all or nothing.
    pub async fn append_log(&self, new: NewLogEntry) -> Result<AppendOutcome, StoreError> {
        self.write("log.append", move |tx| append(tx, &new)).await
    }

    /// Entries from `start` on, in order: at most `limit`, at most a thousand, and no more than
    /// fit in 4 MiB, but at least one where there is one.
    pub async fn log_entries(&self, start: u64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        self.read("log.entries", move |tx| {
            let mut bytes = 0_usize;
            let rows = tx.all_while(
                "-- log.entries
                 SELECT idx, kind, at, entry, evidence_digest FROM attestation_log
                 WHERE idx >= ?1 ORDER BY idx LIMIT ?2",
                (start_column(start), limit.min(PAGE_MAX)),
                log_row,
                |row| {
                    let is_first = bytes == 0;
                    bytes = bytes.saturating_add(row.entry.len());
                    is_first || bytes <= PAGE_BYTES_MAX
                },
            )?;
            Ok(rows)
        })
        .await
    }

    /// Evidence by its digest.
    pub async fn evidence(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.read("evidence.get", move |tx| {
            tx.find(
                "-- evidence.get
                 SELECT bytes FROM evidence WHERE digest = ?1",
                (Sql(digest),),
                |row| row.get(0),
            )
        })
        .await
    }
}

fn append(tx: &Tx<'_>, new: &NewLogEntry) -> Result<AppendOutcome, StoreError> {
    let next: i64 = tx.get(
        "-- log.next
         SELECT coalesce(max(idx) + 1, 0) FROM attestation_log",
        (),
        |row| row.get(0),
    )?;
    let next =
        u64::try_from(next).map_err(|_| StoreError::OutOfRange { operation: "log.append" })?;
    if next != new.index {
        return Ok(AppendOutcome::Elsewhere { next });
    }
    if let Some(evidence) = &new.evidence {
        tx.execute(
            "-- evidence.keep
             INSERT INTO evidence (digest, bytes, created_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (digest) DO NOTHING",
            (Sql(evidence.digest), evidence.bytes.as_slice(), Sql(new.at)),
        )?;
    }
    tx.execute(
        "-- log.append
         INSERT INTO attestation_log (idx, at, kind, entry, evidence_digest)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        (
            start_column(new.index),
            Sql(new.at),
            kind_column(new.kind),
            new.entry.as_slice(),
            optional(new.evidence.as_ref().map(|evidence| evidence.digest)),
        ),
    )?;
    Ok(AppendOutcome::Appended)
}

/// Numbers beyond the column's are beyond every entry.
fn start_column(start: u64) -> i64 {
    i64::try_from(start).unwrap_or(i64::MAX)
}

const fn kind_column(kind: LogKind) -> i64 {
    match kind {
        LogKind::Lease => 1,
        LogKind::Renewal => 2,
        LogKind::Policy => 3,
    }
}

fn log_row(row: &Row<'_>) -> rusqlite::Result<LogRow> {
    let number: i64 = row.get(1)?;
    let kind = match number {
        1 => LogKind::Lease,
        2 => LogKind::Renewal,
        3 => LogKind::Policy,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
    };
    let index: i64 = row.get(0)?;
    Ok(LogRow {
        index: u64::try_from(index)
            .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, index))?,
        kind,
        at: row.get::<_, Sql<_>>(2)?.0,
        entry: row.get(3)?,
        evidence_digest: row.get::<_, Option<Sql<_>>>(4)?.map(|digest| digest.0),
    })
}
