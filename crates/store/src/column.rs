//! How the domain's types are written in columns: amounts, counts and times as integers,
//! identifiers as their bytes, names as text.

use cocoon_primitives::{
    Digest, KeyId, ModelName, Nano, RequestId, Timestamp, TokenCount, TokenPrice, WalletAddress,
    WorkerId,
};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// A domain type in a column.
#[derive(Debug, Clone)]
pub(crate) struct Sql<T>(pub(crate) T);

pub(crate) fn optional<T>(value: Option<T>) -> Option<Sql<T>> {
    value.map(Sql)
}

/// An integer column is signed; a number that does not fit is refused, never wrapped.
fn integer<'a>(number: u64) -> rusqlite::Result<ToSqlOutput<'a>> {
    let number = i64::try_from(number)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    Ok(ToSqlOutput::from(number))
}

fn unsigned(value: ValueRef<'_>) -> FromSqlResult<u64> {
    let number = value.as_i64()?;
    u64::try_from(number).map_err(|_| FromSqlError::OutOfRange(number))
}

impl ToSql for Sql<Nano> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        integer(self.0.get())
    }
}

impl FromSql for Sql<Nano> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let nano = Nano::new(unsigned(value)?).expect("a signed column holds at most Nano::MAX");
        Ok(Self(nano))
    }
}

impl ToSql for Sql<TokenPrice> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        integer(self.0.nano_per_million().get())
    }
}

impl FromSql for Sql<TokenPrice> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(TokenPrice::per_million(Sql::<Nano>::column_result(value)?.0)))
    }
}

impl ToSql for Sql<TokenCount> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        integer(self.0.get())
    }
}

impl FromSql for Sql<TokenCount> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(TokenCount::new(unsigned(value)?)))
    }
}

/// A time beyond what the column holds is the column's end: both mean never.
impl ToSql for Sql<Timestamp> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl FromSql for Sql<Timestamp> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(Timestamp::from_millis(unsigned(value)?)))
    }
}

/// Columns for types that are so many bytes.
macro_rules! bytes_column {
    ($($type:ty, $bytes:literal;)*) => {$(
        impl ToSql for Sql<$type> {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.0.as_bytes().as_slice()))
            }
        }

        impl FromSql for Sql<$type> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                <[u8; $bytes]>::column_result(value).map(|bytes| Self(<$type>::from_bytes(bytes)))
            }
        }
    )*};
}

bytes_column! {
    RequestId, 16;
    KeyId, 8;
    WorkerId, 32;
    Digest, 32;
    cocoon_ledger::AccountId, 16;
    cocoon_ledger::TransferId, 16;
}

impl ToSql for Sql<WalletAddress> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.to_bytes().to_vec()))
    }
}

impl FromSql for Sql<WalletAddress> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 33]>::column_result(value).map(|bytes| Self(WalletAddress::from_bytes(&bytes)))
    }
}

impl ToSql for Sql<ModelName> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.as_str()))
    }
}

impl FromSql for Sql<ModelName> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(FromSqlError::other)
    }
}
