//! Whether a transfer may happen, and what it makes of its two accounts.

use cocoon_primitives::{Nano, Timestamp};

use crate::{Account, Limit, Transfer, TransferId, TransferKind};

/// What is known about a transfer's surroundings. The caller looks up exactly these.
#[derive(Debug, Clone, Copy, Default)]
pub struct View<'a> {
    /// The transfer that was applied under the same id.
    pub existing: Option<&'a Transfer>,
    /// The account that the transfer debits.
    pub debit: Option<&'a Account>,
    /// The account that the transfer credits.
    pub credit: Option<&'a Account>,
    /// The transfer whose id [`TransferKind::ends`] names.
    pub pending: Option<&'a Transfer>,
    /// The transfer that has ended that one.
    pub ended_by: Option<&'a Transfer>,
}

/// What an accepted transfer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// The accounts' new totals; they and the transfer must be persisted together.
    Moved { debit: Account, credit: Account },
    /// The same transfer was applied before: nothing is to be done.
    Exists,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Debit,
    Credit,
}

/// Where two transfers that should be the same are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Accounts,
    Amount,
    Kind,
}

/// How a pending transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    Posted,
    Voided,
    Expired,
}

/// Why a transfer may not happen. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("{0:?} account not found")]
    AccountNotFound(Side),
    #[error("a transfer needs two accounts")]
    SameAccount,
    #[error("another transfer has this id: {0:?} differs")]
    ExistsWithDifferent(Field),
    #[error("amount exceeds the debited account's credits: {available} available")]
    ExceedsCredits { available: Nano },
    #[error("amount exceeds the credited account's debits: {available} available")]
    ExceedsDebits { available: Nano },
    #[error("{0:?} account would overflow")]
    Overflow(Side),
    #[error("pending transfer not found")]
    PendingNotFound,
    #[error("the transfer to end is not a pending one")]
    NotPending,
    #[error("the pending transfer differs: {0:?}")]
    PendingHasDifferent(Field),
    #[error("amount exceeds the pending transfer's {pending}")]
    ExceedsPendingAmount { pending: Nano },
    #[error("pending transfer has ended: {0:?}")]
    PendingEnded(Resolution),
    #[error("pending transfer expires only at {expires_at}")]
    NotYetExpired { expires_at: Timestamp },
}

/// Decides one transfer.
///
/// # Panics
/// Where the view contradicts the ledger's own invariants: it was not gathered in one
/// transaction, or the database was written by something else.
pub fn decide(view: &View<'_>, transfer: &Transfer) -> Result<Applied, Rejection> {
    if let Some(existing) = view.existing {
        return repeat(existing, transfer).map(|()| Applied::Exists);
    }
    if transfer.debit == transfer.credit {
        return Err(Rejection::SameAccount);
    }
    let mut debit = *view.debit.ok_or(Rejection::AccountNotFound(Side::Debit))?;
    let mut credit = *view.credit.ok_or(Rejection::AccountNotFound(Side::Credit))?;
    assert!(
        debit.id == transfer.debit && credit.id == transfer.credit,
        "the view holds the transfer's accounts"
    );
    match transfer.kind {
        TransferKind::Posted => {
            within_limits(&debit, &credit, transfer.amount)?;
            grow(&mut debit.debits_posted, transfer.amount, Side::Debit)?;
            grow(&mut credit.credits_posted, transfer.amount, Side::Credit)?;
        }
        TransferKind::Pending { .. } => {
            within_limits(&debit, &credit, transfer.amount)?;
            grow(&mut debit.debits_pending, transfer.amount, Side::Debit)?;
            grow(&mut credit.credits_pending, transfer.amount, Side::Credit)?;
        }
        TransferKind::PostPending { pending }
        | TransferKind::VoidPending { pending }
        | TransferKind::ExpirePending { pending } => {
            let held = endable(view, transfer, pending)?;
            shrink(&mut debit.debits_pending, held);
            shrink(&mut credit.credits_pending, held);
            if let TransferKind::PostPending { .. } = transfer.kind {
                grow(&mut debit.debits_posted, transfer.amount, Side::Debit)?;
                grow(&mut credit.credits_posted, transfer.amount, Side::Credit)?;
            }
        }
    }
    assert!(
        debit.is_within_limit() && credit.is_within_limit(),
        "an accepted transfer keeps both accounts within their limits"
    );
    Ok(Applied::Moved { debit, credit })
}

/// A repeat is the same in all but its time.
fn repeat(existing: &Transfer, transfer: &Transfer) -> Result<(), Rejection> {
    assert!(existing.id == transfer.id, "the view holds the transfer of the same id");
    same_accounts(existing, transfer).map_err(Rejection::ExistsWithDifferent)?;
    if existing.kind != transfer.kind {
        return Err(Rejection::ExistsWithDifferent(Field::Kind));
    }
    if existing.amount != transfer.amount {
        return Err(Rejection::ExistsWithDifferent(Field::Amount));
    }
    Ok(())
}

fn same_accounts(one: &Transfer, other: &Transfer) -> Result<(), Field> {
    let same = one.debit == other.debit && one.credit == other.credit;
    if same { Ok(()) } else { Err(Field::Accounts) }
}

fn within_limits(debit: &Account, credit: &Account, amount: Nano) -> Result<(), Rejection> {
    if debit.limit == Limit::DebitsWithinCredits && amount > debit.available() {
        return Err(Rejection::ExceedsCredits { available: debit.available() });
    }
    if credit.limit == Limit::CreditsWithinDebits && amount > credit.owed() {
        return Err(Rejection::ExceedsDebits { available: credit.owed() });
    }
    Ok(())
}

/// Checks that `transfer` may end `pending`, and gives the amount that it lets go of.
fn endable(view: &View<'_>, transfer: &Transfer, pending: TransferId) -> Result<Nano, Rejection> {
    let held = view.pending.ok_or(Rejection::PendingNotFound)?;
    assert!(held.id == pending, "the view holds the transfer to end");
    let TransferKind::Pending { expires_at } = held.kind else {
        return Err(Rejection::NotPending);
    };
    same_accounts(held, transfer).map_err(Rejection::PendingHasDifferent)?;
    if let Some(end) = view.ended_by {
        return Err(Rejection::PendingEnded(resolution(end, pending)));
    }
    let is_due = transfer.at >= expires_at;
    match transfer.kind {
        TransferKind::ExpirePending { .. } if !is_due => {
            Err(Rejection::NotYetExpired { expires_at })
        }
        TransferKind::PostPending { .. } | TransferKind::VoidPending { .. } if is_due => {
            Err(Rejection::PendingEnded(Resolution::Expired))
        }
        TransferKind::PostPending { .. } if transfer.amount > held.amount => {
            Err(Rejection::ExceedsPendingAmount { pending: held.amount })
        }
        TransferKind::VoidPending { .. } | TransferKind::ExpirePending { .. }
            if transfer.amount != held.amount =>
        {
            Err(Rejection::PendingHasDifferent(Field::Amount))
        }
        _ => Ok(held.amount),
    }
}

fn resolution(end: &Transfer, pending: TransferId) -> Resolution {
    assert!(end.kind.ends() == Some(pending), "the view holds the transfer that ended this one");
    match end.kind {
        TransferKind::PostPending { .. } => Resolution::Posted,
        TransferKind::ExpirePending { .. } => Resolution::Expired,
        TransferKind::Posted | TransferKind::Pending { .. } | TransferKind::VoidPending { .. } => {
            Resolution::Voided
        }
    }
}

fn grow(total: &mut Nano, amount: Nano, side: Side) -> Result<(), Rejection> {
    *total = total.checked_add(amount).ok_or(Rejection::Overflow(side))?;
    Ok(())
}

fn shrink(total: &mut Nano, amount: Nano) {
    *total = total.checked_sub(amount).expect("an open pending transfer is part of both totals");
}
