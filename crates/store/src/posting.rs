//! The ledger's rules over the database's accounts and transfers.
//!
//! An operation opens [`Postings`], posts transfers, and saves: accounts are read once, changed
//! only by `ledger::decide`, and written once beside the transfers that changed them.

use cocoon_ledger::{
    Account, AccountId, AccountKind, Applied, Rejection, Transfer, TransferId, TransferKind, View,
    decide,
};
use cocoon_primitives::{Nano, Timestamp, WalletAddress};
use rusqlite::Row;

use crate::StoreError;
use crate::column::{Sql, optional};
use crate::tx::Tx;

const TRANSFER_COLUMNS: &str = "id, debit, credit, amount, kind, pending, expires_at, at";

/// Where an account's row is.
enum Origin {
    Stored,
    New { kind: AccountKind, owner: Option<WalletAddress> },
}

struct Entry {
    account: Account,
    origin: Origin,
    is_changed: bool,
}

/// Transfers of one operation, not yet written.
pub(crate) struct Postings<'t, 'c> {
    tx: &'t Tx<'c>,
    now: Timestamp,
    entries: Vec<Entry>,
    transfers: Vec<Transfer>,
}

impl<'t, 'c> Postings<'t, 'c> {
    pub(crate) fn new(tx: &'t Tx<'c>, now: Timestamp) -> Self {
        Self { tx, now, entries: Vec::with_capacity(4), transfers: Vec::with_capacity(3) }
    }

    pub(crate) fn id(kind: AccountKind, owner: Option<WalletAddress>) -> AccountId {
        AccountId::of(kind, owner.as_ref())
    }

    /// An account as it is stored.
    pub(crate) fn look_up(
        tx: &Tx<'_>,
        kind: AccountKind,
        owner: Option<WalletAddress>,
    ) -> Result<Option<Account>, StoreError> {
        load(tx, Self::id(kind, owner))
    }

    /// The account, made on its first use.
    pub(crate) fn open(
        &mut self,
        kind: AccountKind,
        owner: Option<WalletAddress>,
    ) -> Result<AccountId, StoreError> {
        let id = Self::id(kind, owner);
        if !self.fetch(id)? {
            self.entries.push(Entry {
                account: Account::new(id, kind.limit()),
                origin: Origin::New { kind, owner },
                is_changed: false,
            });
        }
        Ok(id)
    }

    /// Applies a transfer that the rules must allow; a repeat changes nothing.
    pub(crate) fn post(&mut self, transfer: &Transfer) -> Result<(), StoreError> {
        self.try_post(transfer)?.map_err(|rejection| self.refused(rejection))
    }

    /// Applies a transfer, or says which rule forbids it.
    pub(crate) fn try_post(
        &mut self,
        transfer: &Transfer,
    ) -> Result<Result<(), Rejection>, StoreError> {
        self.fetch(transfer.debit)?;
        self.fetch(transfer.credit)?;
        let existing = self.transfer(transfer.id)?;
        let (pending, ended_by) = match transfer.kind.ends() {
            None => (None, None),
            Some(pending) => (self.transfer(pending)?, self.end_of(pending)?),
        };
        let view = View {
            existing: existing.as_ref(),
            debit: self.account(transfer.debit),
            credit: self.account(transfer.credit),
            pending: pending.as_ref(),
            ended_by: ended_by.as_ref(),
        };
        match decide(&view, transfer) {
            Err(rejection) => return Ok(Err(rejection)),
            Ok(Applied::Exists) => {}
            Ok(Applied::Moved { debit, credit }) => {
                self.change(debit);
                self.change(credit);
                self.transfers.push(*transfer);
            }
        }
        Ok(Ok(()))
    }

    pub(crate) const fn refused(&self, source: Rejection) -> StoreError {
        StoreError::Ledger { operation: self.tx.operation(), source }
    }

    /// Writes what has changed: accounts first, since transfers refer to them.
    pub(crate) fn save(self) -> Result<(), StoreError> {
        for entry in self.entries.iter().filter(|entry| entry.is_changed) {
            match entry.origin {
                Origin::Stored => update(self.tx, &entry.account)?,
                Origin::New { kind, owner } => {
                    insert(self.tx, &entry.account, kind, owner, self.now)?;
                }
            }
        }
        self.transfers.iter().try_for_each(|transfer| insert_transfer(self.tx, transfer))
    }

    fn account(&self, id: AccountId) -> Option<&Account> {
        self.entries.iter().map(|entry| &entry.account).find(|account| account.id == id)
    }

    /// Makes sure that the account is here if it exists; whether it does.
    fn fetch(&mut self, id: AccountId) -> Result<bool, StoreError> {
        if self.account(id).is_some() {
            return Ok(true);
        }
        let Some(account) = load(self.tx, id)? else { return Ok(false) };
        self.entries.push(Entry { account, origin: Origin::Stored, is_changed: false });
        Ok(true)
    }

    fn change(&mut self, account: Account) {
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.account.id == account.id)
            .expect("a decision changes only accounts that were in its view");
        entry.account = account;
        entry.is_changed = true;
    }

    fn transfer(&self, id: TransferId) -> Result<Option<Transfer>, StoreError> {
        if let Some(transfer) = self.transfers.iter().find(|transfer| transfer.id == id) {
            return Ok(Some(*transfer));
        }
        self.tx.find(
            &format!("-- transfer.get\nSELECT {TRANSFER_COLUMNS} FROM transfers WHERE id = ?1"),
            (Sql(id),),
            transfer_row,
        )
    }

    fn end_of(&self, pending: TransferId) -> Result<Option<Transfer>, StoreError> {
        let ends = |transfer: &&Transfer| transfer.kind.ends() == Some(pending);
        if let Some(transfer) = self.transfers.iter().find(ends) {
            return Ok(Some(*transfer));
        }
        self.tx.find(
            &format!(
                "-- transfer.end\nSELECT {TRANSFER_COLUMNS} FROM transfers WHERE pending = ?1"
            ),
            (Sql(pending),),
            transfer_row,
        )
    }
}

fn load(tx: &Tx<'_>, id: AccountId) -> Result<Option<Account>, StoreError> {
    tx.find(
        "-- account.get
         SELECT kind, debits_pending, debits_posted, credits_pending, credits_posted
         FROM accounts WHERE id = ?1",
        (Sql(id),),
        |row| {
            Ok(Account {
                id,
                limit: kind_of(row, 0)?.limit(),
                debits_pending: row.get::<_, Sql<Nano>>(1)?.0,
                debits_posted: row.get::<_, Sql<Nano>>(2)?.0,
                credits_pending: row.get::<_, Sql<Nano>>(3)?.0,
                credits_posted: row.get::<_, Sql<Nano>>(4)?.0,
            })
        },
    )
}

/// Reads an account's kind from column `index`.
pub(crate) fn kind_of(row: &Row<'_>, index: usize) -> rusqlite::Result<AccountKind> {
    let code: u8 = row.get(index)?;
    AccountKind::ALL
        .into_iter()
        .find(|kind| kind.code() == code)
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(index, code.into()))
}

fn update(tx: &Tx<'_>, account: &Account) -> Result<(), StoreError> {
    tx.execute(
        "-- account.update
         UPDATE accounts SET debits_pending = ?2, debits_posted = ?3, credits_pending = ?4,
           credits_posted = ?5
         WHERE id = ?1",
        (
            Sql(account.id),
            Sql(account.debits_pending),
            Sql(account.debits_posted),
            Sql(account.credits_pending),
            Sql(account.credits_posted),
        ),
    )?;
    Ok(())
}

fn insert(
    tx: &Tx<'_>,
    account: &Account,
    kind: AccountKind,
    owner: Option<WalletAddress>,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "-- account.insert
         INSERT INTO accounts (id, kind, owner, debits_pending, debits_posted, credits_pending,
           credits_posted, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            Sql(account.id),
            kind.code(),
            optional(owner),
            Sql(account.debits_pending),
            Sql(account.debits_posted),
            Sql(account.credits_pending),
            Sql(account.credits_posted),
            Sql(now),
        ),
    )?;
    Ok(())
}

fn insert_transfer(tx: &Tx<'_>, transfer: &Transfer) -> Result<(), StoreError> {
    let (kind, expires_at) = match transfer.kind {
        TransferKind::Posted => (1, None),
        TransferKind::Pending { expires_at } => (2, Some(expires_at)),
        TransferKind::PostPending { .. } => (3, None),
        TransferKind::VoidPending { .. } => (4, None),
        TransferKind::ExpirePending { .. } => (5, None),
    };
    tx.execute(
        "-- transfer.insert
         INSERT INTO transfers (id, debit, credit, amount, kind, pending, expires_at, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            Sql(transfer.id),
            Sql(transfer.debit),
            Sql(transfer.credit),
            Sql(transfer.amount),
            kind,
            optional(transfer.kind.ends()),
            optional(expires_at),
            Sql(transfer.at),
        ),
    )?;
    Ok(())
}

/// Reads [`TRANSFER_COLUMNS`].
fn transfer_row(row: &Row<'_>) -> rusqlite::Result<Transfer> {
    let ends = || row.get::<_, Sql<TransferId>>(5).map(|pending| pending.0);
    let kind = match row.get(4)? {
        1 => TransferKind::Posted,
        2 => TransferKind::Pending { expires_at: row.get::<_, Sql<_>>(6)?.0 },
        3 => TransferKind::PostPending { pending: ends()? },
        4 => TransferKind::VoidPending { pending: ends()? },
        5 => TransferKind::ExpirePending { pending: ends()? },
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(4, other)),
    };
    Ok(Transfer {
        id: row.get::<_, Sql<_>>(0)?.0,
        debit: row.get::<_, Sql<_>>(1)?.0,
        credit: row.get::<_, Sql<_>>(2)?.0,
        amount: row.get::<_, Sql<_>>(3)?.0,
        kind,
        at: row.get::<_, Sql<_>>(7)?.0,
    })
}
