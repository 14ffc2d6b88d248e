//! Idempotency keys: which request has one, and the sealed answer that a repeat gets.
//!
//! A claim is found by a derived id, compared by a keyed digest, and its answer is opaque bytes:
//! whoever reads this file learns neither the client's key nor a word of prompt or answer.
//!
//! Invariant: a claim without an answer stands as its request does in the ledger, so a process
//! that dies at any point leaves nothing to repair. Open: it runs. Over with a charge: it is
//! spent, and its answer is lost. Over without one, or never reserved: it is free again, unless
//! this process is still at it.
//!
//! Bounds: rows and bytes of one account, bytes of all. Triggers count them, in the same
//! transaction.

use std::sync::Arc;

use cocoon_primitives::{Nano, RequestId, Timestamp, WalletAddress};
use rusqlite::Row;

use crate::column::Sql;
use crate::request;
use crate::settlement::Outcome;
use crate::tx::Tx;
use crate::{RequestState, Store, StoreError};

/// Claims that one call forgets at most, and the bytes of answers after which it stops: freeing a
/// page costs the writer thread about as much as filling one.
const FORGET_MAX: usize = 256;
const FORGET_BYTES: u64 = 16 << 20;

/// A request that wants to be the only one under its idempotency key.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Derived from the API key's secret and the idempotency key.
    pub lookup: [u8; 32],
    /// Whose bounds it counts against.
    pub wallet: WalletAddress,
    /// A keyed digest of what is asked.
    pub request_mac: [u8; 32],
    /// The id under which the request will be reserved.
    pub request_id: RequestId,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    /// Claims that the account may hold.
    pub claims_max: u32,
}

/// What became of a claim. Only `Claimed` has changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum ClaimOutcome {
    /// The request may run. This has reached the operating system.
    Claimed,
    /// The key belongs to a request with another digest.
    Mismatch,
    /// The key's request is live, or reserved and not settled.
    Running { request_id: RequestId },
    /// The key's request has its answer here: see [`Store::kept_answer`].
    Kept { request_id: RequestId },
    /// The key's request was charged, and its answer is not here.
    Spent { request_id: RequestId },
    /// The account holds as many claims as it may.
    LimitReached,
}

/// The end of a request that holds a claim. Comes after its settlement.
#[derive(Debug, Clone)]
pub struct Conclusion {
    pub lookup: [u8; 32],
    pub request_id: RequestId,
    /// The sealed answer; none where there is none to keep.
    pub answer: Option<Arc<Vec<u8>>>,
    /// Bytes of answers that the account may hold, and all accounts together.
    pub bytes_per_account: u64,
    pub bytes_total: u64,
}

/// What became of a conclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum ConclusionOutcome {
    /// A repeat gets this answer.
    Kept,
    /// The request was charged and there is no answer, or no room for it.
    Spent,
    /// Nothing was charged: the key is free.
    Freed,
    /// The request is not settled yet. What the claim is worth shows when it is.
    Open,
    /// The claim is another request's by now, or forgotten.
    Gone,
}

struct ClaimRow {
    seq: i64,
    request_mac: [u8; 32],
    request_id: RequestId,
    wallet: WalletAddress,
    expires_at: Timestamp,
    has_answer: bool,
}

/// Where a claim stands.
enum ClaimState {
    Running,
    Kept,
    Spent,
    Free,
}

impl Store {
    /// Claims an idempotency key for a request that is about to be reserved. Once this answers
    /// `Claimed`, it survives the process.
    ///
    /// `is_live` knows the requests of this process that hold a claim and are not concluded: the
    /// ledger does not tell one that is about to be reserved from one that never will be. It is
    /// asked within the transaction, so it must not wait.
    pub async fn claim(
        &self,
        claim: Claim,
        is_live: impl Fn(RequestId) -> bool + Send + 'static,
    ) -> Result<ClaimOutcome, StoreError> {
        self.write("idempotency.claim", move |tx| take(tx, &claim, is_live)).await
    }

    /// Keeps a request's answer for repeats, or frees its key where it charged nothing. Only the
    /// answer of a completed request is kept.
    pub async fn conclude_claim(
        &self,
        conclusion: Conclusion,
    ) -> Result<ConclusionOutcome, StoreError> {
        self.write("idempotency.conclude", move |tx| conclude(tx, &conclusion)).await
    }

    /// Whether there is a claim, whatever it is worth.
    pub async fn has_claim(&self, lookup: [u8; 32]) -> Result<bool, StoreError> {
        self.read("idempotency.exists", move |tx| Ok(find(tx, &lookup)?.is_some())).await
    }

    /// The sealed answer of a claim, if it still is this request's.
    pub async fn kept_answer(
        &self,
        lookup: [u8; 32],
        request_id: RequestId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read("idempotency.answer", move |tx| {
            tx.find(
                "-- idempotency.answer
                 SELECT answer FROM idempotency_claims
                 WHERE lookup = ?1 AND request = ?2 AND answer IS NOT NULL",
                (lookup, Sql(request_id)),
                |row| row.get(0),
            )
        })
        .await
    }

    /// Forgets claims that have expired, the oldest first, as many as one call should. Answers
    /// how many, and whether there may be more. A claim whose request is open stays.
    pub async fn forget_claims(&self, now: Timestamp) -> Result<(usize, bool), StoreError> {
        self.write("idempotency.forget", move |tx| forget(tx, now)).await
    }
}

fn take(
    tx: &Tx<'_>,
    claim: &Claim,
    is_live: impl Fn(RequestId) -> bool,
) -> Result<ClaimOutcome, StoreError> {
    let known = find(tx, &claim.lookup)?;
    if let Some(row) = known {
        let request_id = row.request_id;
        let is_same = row.request_mac == claim.request_mac;
        let state = match state(tx, &row, claim.now)? {
            ClaimState::Spent | ClaimState::Free if !row.has_answer && is_live(request_id) => {
                ClaimState::Running
            }
            state => state,
        };
        match state {
            ClaimState::Free => delete(tx, row.seq)?,
            _ if !is_same => return Ok(ClaimOutcome::Mismatch),
            ClaimState::Running => return Ok(ClaimOutcome::Running { request_id }),
            ClaimState::Kept => return Ok(ClaimOutcome::Kept { request_id }),
            ClaimState::Spent => return Ok(ClaimOutcome::Spent { request_id }),
        }
    }
    let held: Option<u32> = tx.find(
        "-- idempotency.count
         SELECT claims FROM idempotency_accounts WHERE wallet = ?1",
        (Sql(claim.wallet),),
        |row| row.get(0),
    )?;
    if held.unwrap_or(0) >= claim.claims_max {
        return Ok(ClaimOutcome::LimitReached);
    }
    tx.execute(
        "-- idempotency.claim
         INSERT INTO idempotency_claims (lookup, wallet, request_mac, request, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        (
            claim.lookup,
            Sql(claim.wallet),
            claim.request_mac,
            Sql(claim.request_id),
            Sql(claim.expires_at),
        ),
    )?;
    Ok(ClaimOutcome::Claimed)
}

fn conclude(tx: &Tx<'_>, end: &Conclusion) -> Result<ConclusionOutcome, StoreError> {
    let claimed = find(tx, &end.lookup)?.filter(|row| row.request_id == end.request_id);
    let Some(row) = claimed.filter(|row| !row.has_answer) else {
        return Ok(ConclusionOutcome::Gone);
    };
    let request = request::find(tx, end.request_id)?;
    let charge = request.as_ref().map_or(Nano::ZERO, |request| request.charge);
    let state = request.map(|request| request.state);
    if state == Some(RequestState::Open) {
        return Ok(ConclusionOutcome::Open);
    }
    if state == Some(RequestState::Settled(Outcome::Completed))
        && let Some(answer) = &end.answer
        && has_room(tx, &row, answer, end)?
    {
        tx.execute(
            "-- idempotency.keep
             UPDATE idempotency_claims SET answer = ?2, bytes = octet_length(?2) WHERE seq = ?1",
            (row.seq, answer.as_slice()),
        )?;
        return Ok(ConclusionOutcome::Kept);
    }
    if charge > Nano::ZERO {
        return Ok(ConclusionOutcome::Spent);
    }
    delete(tx, row.seq)?;
    Ok(ConclusionOutcome::Freed)
}

/// Whether an answer fits within what its account, and all of them, may hold.
fn has_room(
    tx: &Tx<'_>,
    row: &ClaimRow,
    answer: &[u8],
    end: &Conclusion,
) -> Result<bool, StoreError> {
    let (account, total) = tx.get(
        "-- idempotency.held
         SELECT a.bytes, t.bytes FROM idempotency_accounts a, idempotency_total t
         WHERE a.wallet = ?1",
        (Sql(row.wallet),),
        |row| Ok((byte_count(row, 0)?, byte_count(row, 1)?)),
    )?;
    let more = u64::try_from(answer.len()).unwrap_or(u64::MAX);
    let fits = |held: u64, max: u64| held.saturating_add(more) <= max;
    Ok(more > 0 && fits(account, end.bytes_per_account) && fits(total, end.bytes_total))
}

fn forget(tx: &Tx<'_>, now: Timestamp) -> Result<(usize, bool), StoreError> {
    let due = tx.all(
        &format!(
            "-- idempotency.due
             SELECT seq, bytes FROM idempotency_claims c
             WHERE expires_at <= ?1
               AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.id = c.request AND r.state = 0)
             ORDER BY expires_at LIMIT {FORGET_MAX}"
        ),
        (Sql(now),),
        |row| Ok((row.get::<_, i64>(0)?, byte_count(row, 1)?)),
    )?;
    let (mut forgotten, mut freed) = (0, 0_u64);
    for (seq, bytes) in &due {
        if freed >= FORGET_BYTES {
            break;
        }
        delete(tx, *seq)?;
        freed = freed.saturating_add(*bytes);
        forgotten += 1;
    }
    Ok((forgotten, forgotten < due.len() || due.len() == FORGET_MAX))
}

fn state(tx: &Tx<'_>, row: &ClaimRow, now: Timestamp) -> Result<ClaimState, StoreError> {
    let is_expired = row.expires_at <= now;
    if row.has_answer {
        return Ok(if is_expired { ClaimState::Free } else { ClaimState::Kept });
    }
    let request = request::find(tx, row.request_id)?;
    Ok(match request {
        Some(request) if request.state == RequestState::Open => ClaimState::Running,
        Some(request) if request.charge > Nano::ZERO && !is_expired => ClaimState::Spent,
        Some(_) | None => ClaimState::Free,
    })
}

fn find(tx: &Tx<'_>, lookup: &[u8; 32]) -> Result<Option<ClaimRow>, StoreError> {
    tx.find(
        "-- idempotency.find
         SELECT seq, request_mac, request, wallet, expires_at, bytes > 0
         FROM idempotency_claims WHERE lookup = ?1",
        (lookup,),
        |row| {
            Ok(ClaimRow {
                seq: row.get(0)?,
                request_mac: row.get(1)?,
                request_id: row.get::<_, Sql<_>>(2)?.0,
                wallet: row.get::<_, Sql<_>>(3)?.0,
                expires_at: row.get::<_, Sql<_>>(4)?.0,
                has_answer: row.get(5)?,
            })
        },
    )
}

fn delete(tx: &Tx<'_>, seq: i64) -> Result<(), StoreError> {
    tx.execute(
        "-- idempotency.delete
         DELETE FROM idempotency_claims WHERE seq = ?1",
        (seq,),
    )?;
    Ok(())
}

fn byte_count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let count: i64 = row.get(column)?;
    u64::try_from(count).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, count))
}
