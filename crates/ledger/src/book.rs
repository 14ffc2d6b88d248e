//! Accounts and transfers in memory, under the same rules as a database.

use std::collections::BTreeMap;

use crate::{Account, AccountId, Applied, Rejection, Transfer, TransferId, View, decide};

/// Sums over all accounts. Exact: no number of accounts overflows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub debits_pending: u128,
    pub debits_posted: u128,
    pub credits_pending: u128,
    pub credits_posted: u128,
}

impl Totals {
    pub fn add(&mut self, account: &Account) {
        self.debits_pending += u128::from(account.debits_pending.get());
        self.debits_posted += u128::from(account.debits_posted.get());
        self.credits_pending += u128::from(account.credits_pending.get());
        self.credits_posted += u128::from(account.credits_posted.get());
    }

    /// Whether every debit has its credit.
    #[must_use]
    pub const fn is_balanced(&self) -> bool {
        self.debits_pending == self.credits_pending && self.debits_posted == self.credits_posted
    }
}

/// A whole ledger in memory.
#[derive(Debug, Clone, Default)]
pub struct Book {
    accounts: BTreeMap<AccountId, Account>,
    transfers: BTreeMap<TransferId, Transfer>,
    /// Pending transfer → the transfer that ended it.
    ends: BTreeMap<TransferId, TransferId>,
}

impl Book {
    /// Opens an account. False where it is open already; then nothing changes.
    pub fn open(&mut self, account: Account) -> bool {
        if self.accounts.contains_key(&account.id) {
            return false;
        }
        self.accounts.insert(account.id, account);
        true
    }

    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.accounts.get(id)
    }

    #[must_use]
    pub fn transfer(&self, id: &TransferId) -> Option<&Transfer> {
        self.transfers.get(id)
    }

    /// Applies one transfer or leaves everything as it was.
    pub fn apply(&mut self, transfer: &Transfer) -> Result<Applied, Rejection> {
        let ends = transfer.kind.ends();
        let view = View {
            existing: self.transfers.get(&transfer.id),
            debit: self.accounts.get(&transfer.debit),
            credit: self.accounts.get(&transfer.credit),
            pending: ends.and_then(|id| self.transfers.get(&id)),
            ended_by: ends.and_then(|id| self.ends.get(&id)).and_then(|id| self.transfers.get(id)),
        };
        let applied = decide(&view, transfer)?;
        if let Applied::Moved { debit, credit } = applied {
            self.accounts.insert(debit.id, debit);
            self.accounts.insert(credit.id, credit);
            self.transfers.insert(transfer.id, *transfer);
            if let Some(pending) = ends {
                self.ends.insert(pending, transfer.id);
            }
        }
        Ok(applied)
    }

    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.accounts.values().for_each(|account| totals.add(account));
        totals
    }
}
