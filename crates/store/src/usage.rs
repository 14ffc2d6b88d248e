//! What a wallet's requests used and cost, newest first.

use std::fmt;
use std::str::FromStr;

use cocoon_metering::Usage;
use cocoon_primitives::{
    KeyId, ModelName, Nano, ParseError, RequestId, Timestamp, TokenCount, WalletAddress, WorkerId,
};

use crate::column::Sql;
use crate::request::{self, REQUEST_COLUMNS, RequestRow, RequestState};
use crate::tx::Tx;
use crate::{Store, StoreError};

/// Rows of one page.
const PAGE_MAX: usize = 1000;

/// One request in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    pub request_id: RequestId,
    pub model: ModelName,
    pub key: Option<KeyId>,
    pub created_at: Timestamp,
    pub streamed: bool,
    pub state: RequestState,
    pub usage: Usage,
    pub charge: Nano,
    pub worker: Option<WorkerId>,
}

/// Where a listing goes on: after this row. Rows that come or change meanwhile move nothing.
/// Its text form is for clients to hand back as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageCursor {
    created_at: Timestamp,
    request_id: RequestId,
}

/// Sums over the whole range, whatever the page shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageTotals {
    pub requests: u64,
    pub usage: Usage,
    pub charge: Nano,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsagePage {
    pub rows: Vec<UsageRow>,
    /// None on the last page.
    pub next: Option<UsageCursor>,
    pub totals: UsageTotals,
}

impl Store {
    /// A wallet's requests that were created in `from..to`, newest first, `limit` (1 to 1000) to
    /// a page.
    pub async fn usage(
        &self,
        wallet: WalletAddress,
        from: Timestamp,
        to: Timestamp,
        cursor: Option<UsageCursor>,
        limit: usize,
    ) -> Result<UsagePage, StoreError> {
        let limit = limit.clamp(1, PAGE_MAX);
        self.read("usage.list", move |tx| {
            let mut rows = page(tx, wallet, from, to, cursor, limit)?;
            // One row more than a page was asked for: it tells whether there is another page.
            let has_more = rows.len() > limit;
            rows.truncate(limit);
            let next = rows
                .last()
                .filter(|_| has_more)
                .map(|row| UsageCursor { created_at: row.created_at, request_id: row.request_id });
            Ok(UsagePage { rows, next, totals: totals(tx, wallet, from, to)? })
        })
        .await
    }
}

fn page(
    tx: &Tx<'_>,
    wallet: WalletAddress,
    from: Timestamp,
    to: Timestamp,
    cursor: Option<UsageCursor>,
    limit: usize,
) -> Result<Vec<UsageRow>, StoreError> {
    // Without a cursor the listing starts below the range's end, which no row has.
    let start = cursor.map_or((to, RequestId::from_bytes([0; 16])), |cursor| {
        (cursor.created_at.min(to), cursor.request_id)
    });
    let rows = tx.all(
        &format!(
            "-- usage.page
             SELECT {REQUEST_COLUMNS} FROM requests
             WHERE wallet = ?1 AND created_at >= ?2 AND created_at < ?3
               AND (created_at, id) < (?4, ?5)
             ORDER BY created_at DESC, id DESC LIMIT ?6"
        ),
        (
            Sql(wallet),
            Sql(from),
            Sql(to),
            Sql(start.0),
            Sql(start.1),
            u32::try_from(limit.saturating_add(1)).unwrap_or(u32::MAX),
        ),
        request::request_row,
    )?;
    Ok(rows.into_iter().map(UsageRow::from).collect())
}

fn totals(
    tx: &Tx<'_>,
    wallet: WalletAddress,
    from: Timestamp,
    to: Timestamp,
) -> Result<UsageTotals, StoreError> {
    tx.get(
        "-- usage.totals
         SELECT count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(cached_tokens), 0),
           coalesce(sum(completion_tokens), 0), coalesce(sum(reasoning_tokens), 0),
           coalesce(sum(charge), 0)
         FROM requests WHERE wallet = ?1 AND created_at >= ?2 AND created_at < ?3",
        (Sql(wallet), Sql(from), Sql(to)),
        |row| {
            Ok(UsageTotals {
                requests: row.get::<_, Sql<TokenCount>>(0)?.0.get(),
                usage: Usage {
                    prompt: row.get::<_, Sql<_>>(1)?.0,
                    cached: row.get::<_, Sql<_>>(2)?.0,
                    completion: row.get::<_, Sql<_>>(3)?.0,
                    reasoning: row.get::<_, Sql<_>>(4)?.0,
                },
                charge: row.get::<_, Sql<_>>(5)?.0,
            })
        },
    )
}

impl From<RequestRow> for UsageRow {
    fn from(row: RequestRow) -> Self {
        Self {
            request_id: row.request_id,
            model: row.model,
            key: row.key,
            created_at: row.created_at,
            streamed: row.streamed,
            state: row.state,
            usage: row.usage,
            charge: row.charge,
            worker: row.worker,
        }
    }
}

// === impl UsageCursor ===

impl fmt::Display for UsageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created_at.as_millis(), self.request_id)
    }
}

impl FromStr for UsageCursor {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = ParseError { what: "cursor" };
        let (created_at, request_id) = text.split_once('.').ok_or(error.clone())?;
        let created_at = created_at.parse().map_err(|_| error)?;
        Ok(Self { created_at: Timestamp::from_millis(created_at), request_id: request_id.parse()? })
    }
}
