//! Requests as the store remembers them, from reservation to outcome.

use cocoon_metering::{PriceRow, Usage};
use cocoon_primitives::{
    KeyId, ModelName, Nano, RequestId, Timestamp, TokenCount, WalletAddress, WorkerId,
};
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::column::Sql;
use crate::settlement::Outcome;
use crate::tx::Tx;
use crate::{Store, StoreError};

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestState {
    /// Its reservation is held.
    Open,
    Settled(Outcome),
    /// Nobody settled it in time; its reservation went back and nobody is paid.
    Expired,
}

impl RequestState {
    /// The state's name in listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Settled(outcome) => outcome.as_str(),
            Self::Expired => "expired",
        }
    }

    const ALL: [Self; 7] = [
        Self::Open,
        Self::Settled(Outcome::Completed),
        Self::Settled(Outcome::ClientGone),
        Self::Settled(Outcome::WorkerLost),
        Self::Settled(Outcome::Failed),
        Self::Settled(Outcome::Refused),
        Self::Expired,
    ];

    /// The state's number in the database; the schema's partial indexes name 0.
    const fn code(self) -> i64 {
        match self {
            Self::Open => 0,
            Self::Settled(Outcome::Completed) => 1,
            Self::Settled(Outcome::ClientGone) => 2,
            Self::Settled(Outcome::WorkerLost) => 3,
            Self::Settled(Outcome::Failed) => 4,
            Self::Settled(Outcome::Refused) => 5,
            Self::Expired => 6,
        }
    }
}

impl ToSql for RequestState {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.code()))
    }
}

impl FromSql for RequestState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let code = value.as_i64()?;
        Self::ALL
            .into_iter()
            .find(|state| state.code() == code)
            .ok_or(FromSqlError::OutOfRange(code))
    }
}

/// A request with the terms that were frozen when it was reserved and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    pub request_id: RequestId,
    pub wallet: WalletAddress,
    pub key: Option<KeyId>,
    pub model: ModelName,
    pub price: PriceRow,
    pub reserved: Nano,
    pub max_prompt: TokenCount,
    pub max_completion: TokenCount,
    pub streamed: bool,
    pub commission_bp: u16,
    pub pay_blind: [u8; 32],
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub worker: Option<WorkerId>,
    pub payee: Option<WalletAddress>,
    pub attempt: Option<u32>,
    pub state: RequestState,
    pub usage: Usage,
    /// Zero until it is settled.
    pub charge: Nano,
    pub worker_share: Nano,
    pub settled_at: Option<Timestamp>,
}

pub(crate) const REQUEST_COLUMNS: &str = "id, wallet, key, model, price_prompt, price_cached, price_completion, reserved, max_prompt, \
     max_completion, streamed, commission_bp, pay_blind, created_at, expires_at, worker, payee, \
     attempt, state, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, charge, \
     worker_share, settled_at";

impl Store {
    /// One request, whoever's it is: for the gateway itself, never for a client.
    pub async fn request(&self, request_id: RequestId) -> Result<Option<RequestRow>, StoreError> {
        self.read("request.get", move |tx| find(tx, request_id)).await
    }
}

pub(crate) fn find(tx: &Tx<'_>, request_id: RequestId) -> Result<Option<RequestRow>, StoreError> {
    tx.find(
        &format!("-- request.get\nSELECT {REQUEST_COLUMNS} FROM requests WHERE id = ?1"),
        (Sql(request_id),),
        request_row,
    )
}

/// Reads [`REQUEST_COLUMNS`].
pub(crate) fn request_row(row: &Row<'_>) -> rusqlite::Result<RequestRow> {
    Ok(RequestRow {
        request_id: row.get::<_, Sql<_>>(0)?.0,
        wallet: row.get::<_, Sql<_>>(1)?.0,
        key: row.get::<_, Option<Sql<_>>>(2)?.map(|key| key.0),
        model: row.get::<_, Sql<_>>(3)?.0,
        price: PriceRow {
            prompt: row.get::<_, Sql<_>>(4)?.0,
            cached: row.get::<_, Sql<_>>(5)?.0,
            completion: row.get::<_, Sql<_>>(6)?.0,
        },
        reserved: row.get::<_, Sql<_>>(7)?.0,
        max_prompt: row.get::<_, Sql<_>>(8)?.0,
        max_completion: row.get::<_, Sql<_>>(9)?.0,
        streamed: row.get(10)?,
        commission_bp: row.get(11)?,
        pay_blind: row.get(12)?,
        created_at: row.get::<_, Sql<_>>(13)?.0,
        expires_at: row.get::<_, Sql<_>>(14)?.0,
        worker: row.get::<_, Option<Sql<_>>>(15)?.map(|worker| worker.0),
        payee: row.get::<_, Option<Sql<_>>>(16)?.map(|payee| payee.0),
        attempt: row.get(17)?,
        state: row.get(18)?,
        usage: Usage {
            prompt: row.get::<_, Sql<_>>(19)?.0,
            cached: row.get::<_, Sql<_>>(20)?.0,
            completion: row.get::<_, Sql<_>>(21)?.0,
            reasoning: row.get::<_, Sql<_>>(22)?.0,
        },
        charge: row.get::<_, Sql<_>>(23)?.0,
        worker_share: row.get::<_, Sql<_>>(24)?.0,
        settled_at: row.get::<_, Option<Sql<_>>>(25)?.map(|at| at.0),
    })
}
