//! One operation's view of the database: every statement of the crate goes through here.

use rusqlite::{Connection, Error, Params, Row};

use crate::StoreError;

/// A connection in a transaction, and the operation that it works for.
pub(crate) struct Tx<'c> {
    connection: &'c Connection,
    operation: &'static str,
}

impl<'c> Tx<'c> {
    pub(crate) const fn new(connection: &'c Connection, operation: &'static str) -> Self {
        Self { connection, operation }
    }

    pub(crate) const fn operation(&self) -> &'static str {
        self.operation
    }

    /// Runs a statement; the number of rows that it changed.
    pub(crate) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| self.failed(e))?;
        statement.execute(params).map_err(|e| self.failed(e))
    }

    /// The first row, if there is one.
    pub(crate) fn find<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| self.failed(e))?;
        match statement.query_row(params, read) {
            Ok(found) => Ok(Some(found)),
            Err(Error::QueryReturnedNoRows) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The only row of a statement that always has one.
    pub(crate) fn get<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| self.failed(e))?;
        statement.query_row(params, read).map_err(|e| self.failed(e))
    }

    /// All rows; the statement bounds them.
    pub(crate) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| self.failed(e))?;
        let rows = statement.query_map(params, read).map_err(|e| self.failed(e))?;
        rows.collect::<rusqlite::Result<_>>().map_err(|e| self.failed(e))
    }

    /// Rows as long as `wanted` takes them; the statement bounds them too.
    pub(crate) fn all_while<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| self.failed(e))?;
        let rows = statement.query_map(params, read).map_err(|e| self.failed(e))?;
        rows.take_while(|row| row.as_ref().map_or(true, &mut wanted))
            .collect::<rusqlite::Result<_>>()
            .map_err(|e| self.failed(e))
    }

    fn failed(&self, source: Error) -> StoreError {
        match source {
            Error::ToSqlConversionFailure(_) => {
                StoreError::OutOfRange { operation: self.operation }
            }
            source => StoreError::Sql { operation: self.operation, source },
        }
    }
}
