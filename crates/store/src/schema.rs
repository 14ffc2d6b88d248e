//! The schema's versions. `user_version` says which one a file has.
//!
//! A migration is never changed once it has been released; a new one is added behind it.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::StoreError;

/// "cocn": tells this program's databases from others.
const APPLICATION_ID: i64 = 0x636f_636e;
/// The migration at index `i` takes a file from version `i` to `i + 1`.
const MIGRATIONS: [&str; 3] = [
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
];

/// What a file says about itself.
struct Header {
    is_empty: bool,
    is_ours: bool,
    version: i64,
}

fn read_header(connection: &Connection) -> rusqlite::Result<Header> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    Ok(Header {
        is_empty: application == 0 && version == 0 && pragma("schema_version")? == 0,
        is_ours: application == APPLICATION_ID,
        version,
    })
}

/// The migrations that a file has had. Refuses a file from the future or from elsewhere, and
/// changes nothing, so that it can come before anything that does.
pub(crate) fn recognise(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    let header = read_header(connection)
        .map_err(|source| StoreError::Sql { operation: "schema.recognise", source })?;
    if !header.is_ours && !header.is_empty {
        return Err(StoreError::ForeignFile { path: path.to_owned() });
    }
    let applied = usize::try_from(header.version).ok();
    applied
        .filter(|applied| *applied <= MIGRATIONS.len())
        .ok_or(StoreError::NewerSchema { found: header.version, known: known() })
}

fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("migrations are few")
}

/// Brings a file to this program's version.
///
/// Holds the write lock from the first look to the commit, so two processes that start together
/// migrate once.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Sql { operation: "schema.migrate", source };
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|source| crate::writer::begin_error(source, "schema.migrate"))?;
    let applied = recognise(&tx, path)?;
    for migration in &MIGRATIONS[applied..] {
        tx.execute_batch(migration).map_err(failed)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    tx.pragma_update(None, "user_version", known()).map_err(failed)?;
    tx.commit().map_err(failed)
}
