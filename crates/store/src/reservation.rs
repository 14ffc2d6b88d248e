//! Reservations: the worst case of a request, held before any worker is contacted.

use cocoon_ledger::{AccountKind, Rejection, Transfer, TransferId, TransferKind};
use cocoon_metering::PriceRow;
use cocoon_primitives::{
    KeyId, ModelName, Nano, RequestId, Timestamp, TokenCount, WalletAddress, WorkerId,
};

use crate::column::{Sql, optional};
use crate::posting::Postings;
use crate::request::{self, RequestRow};
use crate::tx::Tx;
use crate::{Store, StoreError};

/// Reservations that one call expires at most.
const EXPIRE_MAX: usize = 1000;

/// What is to be held for a request, and the terms that are frozen with it.
#[derive(Debug, Clone)]
pub struct Reservation {
    pub request_id: RequestId,
    pub wallet: WalletAddress,
    pub key: Option<KeyId>,
    pub model: ModelName,
    pub price: PriceRow,
    /// The quote: no charge for this request is ever above it.
    pub amount: Nano,
    pub max_prompt: TokenCount,
    pub max_completion: TokenCount,
    pub streamed: bool,
    pub created_at: Timestamp,
    /// From here on the request cannot be settled: later than its deadline and the wait for its
    /// receipt together.
    pub expires_at: Timestamp,
    pub pay_blind: [u8; 32],
    pub commission_bp: u16,
}

/// What became of a reservation. Only `Reserved` has changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum ReserveOutcome {
    Reserved,
    InsufficientFunds {
        available: Nano,
    },
    /// The key's cap, less what it has spent and holds, is below the amount.
    KeyCapReached {
        remaining: Nano,
    },
    /// The request id is taken.
    Duplicate,
}

/// A reservation that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReservation {
    pub request_id: RequestId,
    pub wallet: WalletAddress,
    pub key: Option<KeyId>,
    pub model: ModelName,
    pub price: PriceRow,
    pub amount: Nano,
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
}

impl Store {
    /// Holds a request's worst case against its wallet and its key's cap. Once this answers, it
    /// has reached the operating system: it survives the process, and a power loss only after
    /// [`Store::durable_barrier`].
    pub async fn reserve(&self, reservation: Reservation) -> Result<ReserveOutcome, StoreError> {
        self.write("reservation.hold", move |tx| hold(tx, &reservation)).await
    }

    /// Records which worker a request is given to and who is paid for it. From then on only this
    /// worker and attempt can bring a receipt for it. False where it is not open.
    pub async fn assign(
        &self,
        request_id: RequestId,
        worker: WorkerId,
        payee: WalletAddress,
        attempt: u32,
    ) -> Result<bool, StoreError> {
        self.write("reservation.assign", move |tx| {
            let changed = tx.execute(
                "-- reservation.assign
                 UPDATE requests SET worker = ?2, payee = ?3, attempt = ?4
                 WHERE id = ?1 AND state = 0",
                (Sql(request_id), Sql(worker), Sql(payee), attempt),
            )?;
            Ok(changed == 1)
        })
        .await
    }

    /// Gives back what was held for requests that nobody settled in time, the oldest first, at
    /// most `limit` and at most a thousand. Answers which.
    pub async fn expire_reservations(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestId>, StoreError> {
        let limit = u32::try_from(limit.min(EXPIRE_MAX)).expect("a thousand fits in 32 bits");
        self.write("reservation.expire", move |tx| {
            let due = tx.all(
                &format!(
                    "-- reservation.due
                     SELECT {} FROM requests WHERE state = 0 AND expires_at <= ?1
                     ORDER BY expires_at LIMIT ?2",
                    request::REQUEST_COLUMNS
                ),
                (Sql(now), limit),
                request::request_row,
            )?;
            for row in &due {
                expire(tx, row, now)?;
            }
            Ok(due.into_iter().map(|row| row.request_id).collect())
        })
        .await
    }
}

fn hold(tx: &Tx<'_>, reservation: &Reservation) -> Result<ReserveOutcome, StoreError> {
    let taken = tx.find(
        "-- request.exists
         SELECT 1 FROM requests WHERE id = ?1",
        (Sql(reservation.request_id),),
        |_| Ok(()),
    )?;
    if taken.is_some() {
        return Ok(ReserveOutcome::Duplicate);
    }
    if let Some(key) = reservation.key
        && let Some(remaining) = remaining_of_key(tx, key, reservation.wallet)?
        && reservation.amount > remaining
    {
        return Ok(ReserveOutcome::KeyCapReached { remaining });
    }
    let now = reservation.created_at;
    let mut postings = Postings::new(tx, now);
    let pending = Transfer {
        id: TransferId::reserve(&reservation.request_id),
        debit: postings.open(AccountKind::Wallet, Some(reservation.wallet))?,
        credit: postings.open(AccountKind::Clearing, None)?,
        amount: reservation.amount,
        kind: TransferKind::Pending { expires_at: reservation.expires_at },
        at: now,
    };
    match postings.try_post(&pending)? {
        Ok(()) => {}
        Err(Rejection::ExceedsCredits { available }) => {
            return Ok(ReserveOutcome::InsufficientFunds { available });
        }
        Err(source) => return Err(postings.refused(source)),
    }
    postings.save()?;
    insert(tx, reservation)?;
    if let Some(key) = reservation.key {
        tx.execute(
            "-- key.reserve
             UPDATE api_keys SET reserved = reserved + ?2 WHERE id = ?1",
            (Sql(key), Sql(reservation.amount)),
        )?;
    }
    Ok(ReserveOutcome::Reserved)
}

/// What a key may still spend; none where it has no cap.
fn remaining_of_key(
    tx: &Tx<'_>,
    key: KeyId,
    wallet: WalletAddress,
) -> Result<Option<Nano>, StoreError> {
    let caps = tx.find(
        "-- key.remaining
         SELECT spend_cap, spent, reserved FROM api_keys WHERE id = ?1 AND wallet = ?2",
        (Sql(key), Sql(wallet)),
        |row| {
            let cap: Option<Sql<Nano>> = row.get(0)?;
            let spent: Sql<Nano> = row.get(1)?;
            let reserved: Sql<Nano> = row.get(2)?;
            Ok(cap.map(|cap| cap.0.saturating_sub(spent.0).saturating_sub(reserved.0)))
        },
    )?;
    caps.ok_or(StoreError::Missing { what: "the API key" })
}

fn insert(tx: &Tx<'_>, reservation: &Reservation) -> Result<(), StoreError> {
    tx.execute(
        "-- request.insert
         INSERT INTO requests (id, wallet, key, model, price_prompt, price_cached,
           price_completion, reserved, max_prompt, max_completion, streamed, commission_bp,
           pay_blind, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        (
            Sql(reservation.request_id),
            Sql(reservation.wallet),
            optional(reservation.key),
            Sql(reservation.model.clone()),
            Sql(reservation.price.prompt),
            Sql(reservation.price.cached),
            Sql(reservation.price.completion),
            Sql(reservation.amount),
            Sql(reservation.max_prompt),
            Sql(reservation.max_completion),
            reservation.streamed,
            reservation.commission_bp,
            reservation.pay_blind,
            Sql(reservation.created_at),
            Sql(reservation.expires_at),
        ),
    )?;
    Ok(())
}

/// The pending transfer that holds a request's reservation.
pub(crate) fn pending_of(row: &RequestRow) -> Transfer {
    Transfer {
        id: TransferId::reserve(&row.request_id),
        debit: Postings::id(AccountKind::Wallet, Some(row.wallet)),
        credit: Postings::id(AccountKind::Clearing, None),
        amount: row.reserved,
        kind: TransferKind::Pending { expires_at: row.expires_at },
        at: row.created_at,
    }
}

/// Ends an open request whose time has come: the reservation goes back to the wallet.
pub(crate) fn expire(tx: &Tx<'_>, row: &RequestRow, now: Timestamp) -> Result<(), StoreError> {
    let mut postings = Postings::new(tx, now);
    postings.post(&pending_of(row).expire(TransferId::expire(&row.request_id), now))?;
    postings.save()?;
    tx.execute(
        "-- request.expire
         UPDATE requests SET state = 6, settled_at = ?2 WHERE id = ?1 AND state = 0",
        (Sql(row.request_id), Sql(now)),
    )?;
    release_key(tx, row, Nano::ZERO)
}

/// Moves a request's part of its key's cap from reserved to spent.
pub(crate) fn release_key(tx: &Tx<'_>, row: &RequestRow, spent: Nano) -> Result<(), StoreError> {
    if let Some(key) = row.key {
        tx.execute(
            "-- key.release
             UPDATE api_keys SET reserved = reserved - ?2, spent = spent + ?3 WHERE id = ?1",
            (Sql(key), Sql(row.reserved), Sql(spent)),
        )?;
    }
    Ok(())
}

impl From<RequestRow> for OpenReservation {
    fn from(row: RequestRow) -> Self {
        Self {
            request_id: row.request_id,
            wallet: row.wallet,
            key: row.key,
            model: row.model,
            price: row.price,
            amount: row.reserved,
            max_prompt: row.max_prompt,
            max_completion: row.max_completion,
            streamed: row.streamed,
            commission_bp: row.commission_bp,
            pay_blind: row.pay_blind,
            created_at: row.created_at,
            expires_at: row.expires_at,
            worker: row.worker,
            payee: row.payee,
            attempt: row.attempt,
        }
    }
}
