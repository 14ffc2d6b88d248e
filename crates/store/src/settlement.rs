//! Settlements: how a request ended, what it cost, who earned what.

use cocoon_ledger::{AccountKind, Transfer, TransferId};
use cocoon_metering::{Usage, charge, split};
use cocoon_primitives::{Nano, RequestId, Timestamp, WalletAddress, WorkerId};

use crate::column::{Sql, optional};
use crate::posting::Postings;
use crate::receipt::{self, NewReceipt, Standing};
use crate::request::{self, RequestRow, RequestState};
use crate::reservation::{expire, pending_of, release_key};
use crate::tx::Tx;
use crate::{Store, StoreError};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Completed,
    /// The client went away; the tokens generated until then are charged.
    ClientGone,
    /// The worker went away; the delivered prefix of a stream is charged.
    WorkerLost,
    /// The worker reported a failure.
    Failed,
    /// No worker took it.
    Refused,
}

impl Outcome {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientGone => "client_gone",
            Self::WorkerLost => "worker_lost",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// What a reservation was made with: who ends a request shows that it is the one that he made,
/// for clients choose the ids of their sealed requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub wallet: WalletAddress,
    pub pay_blind: [u8; 32],
    pub created_at: Timestamp,
}

impl Holder {
    fn holds(&self, row: &RequestRow) -> bool {
        let known =
            Self { wallet: row.wallet, pay_blind: row.pay_blind, created_at: row.created_at };
        *self == known
    }
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holder").field("wallet", &self.wallet).finish_non_exhaustive()
    }
}

/// The end of a request. `usage` is what is charged, at most the reservation.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub request_id: RequestId,
    /// Of the one who made the reservation; a request of another holder is unknown. `None` for a
    /// receipt, whose word is its worker's.
    pub holder: Option<Holder>,
    /// Who did it. An assignment made before is what counts: a different worker is refused, and
    /// nobody at all is, unless the holder says so.
    pub worker: Option<WorkerId>,
    /// Who is paid. An assignment's payee is what counts. Without any, nobody has a share and
    /// the whole charge is commission.
    pub payee: Option<WalletAddress>,
    pub outcome: Outcome,
    pub usage: Usage,
    pub settled_at: Timestamp,
    pub receipt: Option<NewReceipt>,
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum SettleOutcome {
    Settled {
        charge: Nano,
        worker_share: Nano,
    },
    /// It was settled before, for this charge. Nobody is charged or paid again.
    AlreadySettled {
        charge: Nano,
    },
    /// Its reservation has expired. Nobody is charged or paid.
    Expired,
    /// Another worker or another attempt has this request. It stays as it is.
    NotAssigned,
    /// No such request, or not the holder's.
    Unknown,
}

impl Store {
    /// Ends a request, in one transaction: charge, worker's share, commission, its row, its
    /// receipt. A charge of zero lets the reservation go. May be repeated, with anything.
    ///
    /// The first receipt of a request is kept, also when the request is over; then it pays
    /// nobody. Its standing says whether it states what was charged.
    pub async fn settle(&self, settlement: Settlement) -> Result<SettleOutcome, StoreError> {
        self.write("settlement.post", move |tx| settle(tx, &settlement)).await
    }
}

fn settle(tx: &Tx<'_>, settlement: &Settlement) -> Result<SettleOutcome, StoreError> {
    let Some(row) = request::find(tx, settlement.request_id)? else {
        return Ok(SettleOutcome::Unknown);
    };
    if settlement.holder.is_some_and(|holder| !holder.holds(&row)) {
        return Ok(SettleOutcome::Unknown);
    }
    if !is_assigned(&row, settlement) {
        return Ok(SettleOutcome::NotAssigned);
    }
    let now = settlement.settled_at;
    match row.state {
        RequestState::Open if now >= row.expires_at => {
            expire(tx, &row, now)?;
            keep_receipt(tx, &row, settlement, None)?;
            Ok(SettleOutcome::Expired)
        }
        RequestState::Open => {
            let (charge, worker_share) = pay(tx, &row, settlement)?;
            finish(tx, &row, settlement, charge, worker_share)?;
            keep_receipt(tx, &row, settlement, Some(charge))?;
            Ok(SettleOutcome::Settled { charge, worker_share })
        }
        RequestState::Settled(_) => {
            keep_receipt(tx, &row, settlement, Some(row.charge))?;
            Ok(SettleOutcome::AlreadySettled { charge: row.charge })
        }
        RequestState::Expired => {
            keep_receipt(tx, &row, settlement, None)?;
            Ok(SettleOutcome::Expired)
        }
    }
}

/// Whether the settlement comes from where the request was sent.
fn is_assigned(row: &RequestRow, settlement: &Settlement) -> bool {
    let same_worker = match (row.worker, settlement.worker) {
        (Some(assigned), Some(worker)) => assigned == worker,
        (Some(_), None) => settlement.holder.is_some(),
        (None, _) => true,
    };
    let same_attempt = match (row.attempt, &settlement.receipt) {
        (Some(assigned), Some(receipt)) => assigned == receipt.attempt,
        _ => true,
    };
    same_worker && same_attempt
}

/// Posts the charge and divides it. The clearing account is as empty afterwards as it was before.
fn pay(tx: &Tx<'_>, row: &RequestRow, settlement: &Settlement) -> Result<(Nano, Nano), StoreError> {
    let (id, now) = (&row.request_id, settlement.settled_at);
    let pending = pending_of(row);
    let mut postings = Postings::new(tx, now);
    let charge = charge_of(row, &settlement.usage);
    if charge == Nano::ZERO {
        postings.post(&pending.void(TransferId::void(id), now))?;
        postings.save()?;
        return Ok((Nano::ZERO, Nano::ZERO));
    }
    postings.post(&pending.post(TransferId::charge(id), charge, now))?;
    let payee = row.payee.or(settlement.payee);
    let worker_share = payee.map_or(Nano::ZERO, |_| split(charge, row.commission_bp).worker);
    let commission = charge.saturating_sub(worker_share);
    let clearing = postings.open(AccountKind::Clearing, None)?;
    if worker_share > Nano::ZERO {
        let target = postings.open(AccountKind::Payee, payee)?;
        let share = TransferId::worker_share(id);
        postings.post(&Transfer::posted(share, clearing, target, worker_share, now))?;
    }
    if commission > Nano::ZERO {
        let revenue = postings.open(AccountKind::Revenue, None)?;
        let rest = TransferId::commission(id);
        postings.post(&Transfer::posted(rest, clearing, revenue, commission, now))?;
    }
    postings.save()?;
    Ok((charge, worker_share))
}

fn finish(
    tx: &Tx<'_>,
    row: &RequestRow,
    settlement: &Settlement,
    charge: Nano,
    worker_share: Nano,
) -> Result<(), StoreError> {
    let usage = &settlement.usage;
    tx.execute(
        "-- request.settle
         UPDATE requests SET state = ?2, prompt_tokens = ?3, cached_tokens = ?4,
           completion_tokens = ?5, reasoning_tokens = ?6, charge = ?7, worker_share = ?8,
           settled_at = ?9, worker = coalesce(worker, ?10), payee = coalesce(payee, ?11)
         WHERE id = ?1 AND state = 0",
        (
            Sql(row.request_id),
            RequestState::Settled(settlement.outcome),
            Sql(usage.prompt),
            Sql(usage.cached),
            Sql(usage.completion),
            Sql(usage.reasoning),
            Sql(charge),
            Sql(worker_share),
            Sql(settlement.settled_at),
            optional(settlement.worker),
            optional(settlement.payee),
        ),
    )?;
    release_key(tx, row, charge)
}

/// What a usage costs at the request's price, at most its reservation.
fn charge_of(row: &RequestRow, usage: &Usage) -> Nano {
    charge(&row.price, usage).min(row.reserved)
}

/// Keeps the settlement's receipt, if it has one and the request none yet. `charged` is what the
/// request was settled for; none where it expired.
fn keep_receipt(
    tx: &Tx<'_>,
    row: &RequestRow,
    settlement: &Settlement,
    charged: Option<Nano>,
) -> Result<(), StoreError> {
    let Some(new) = &settlement.receipt else { return Ok(()) };
    let stated = new.stated.as_ref().map(|usage| charge_of(row, usage));
    let is_bill = stated.is_some() && stated == charged;
    let standing = if is_bill { Standing::Settled } else { Standing::Late };
    receipt::keep(tx, settlement.request_id, new, standing, settlement.settled_at)
}
