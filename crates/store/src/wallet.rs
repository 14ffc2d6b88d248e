//! Wallets, their balances, and development credit.

use cocoon_ledger::{AccountKind, Transfer, TransferId};
use cocoon_primitives::{Nano, Timestamp, WalletAddress};

use crate::column::Sql;
use crate::posting::Postings;
use crate::tx::Tx;
use crate::{Store, StoreError};

/// What a wallet has, in nano-coins. `available = credited − charged − reserved`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    pub credited: Nano,
    pub charged: Nano,
    /// Held for requests that are still running.
    pub reserved: Nano,
    pub available: Nano,
}

impl Store {
    /// Records that a wallet has signed in. Its key follows from its address, so a repeat changes
    /// nothing.
    pub async fn ensure_wallet(
        &self,
        wallet: WalletAddress,
        public_key: [u8; 32],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("wallet.ensure", move |tx| {
            tx.execute(
                "-- wallet.ensure
                 INSERT INTO wallets (address, public_key, created_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (address) DO NOTHING",
                (Sql(wallet), public_key, Sql(now)),
            )?;
            Ok(())
        })
        .await
    }

    /// The wallet's balance; zeroes where it has never had any.
    pub async fn balance(&self, wallet: WalletAddress) -> Result<Balance, StoreError> {
        self.read("wallet.balance", move |tx| balance(tx, wallet)).await
    }

    /// Gives development credit, once for each `reference`. The wallet need not have signed in.
    pub async fn credit(
        &self,
        wallet: WalletAddress,
        amount: Nano,
        reference: [u8; 16],
        now: Timestamp,
    ) -> Result<Balance, StoreError> {
        self.write("wallet.credit", move |tx| {
            let mut postings = Postings::new(tx, now);
            let source = postings.open(AccountKind::DevelopmentCredit, None)?;
            let target = postings.open(AccountKind::Wallet, Some(wallet))?;
            let id = TransferId::credit(&reference);
            postings.post(&Transfer::posted(id, source, target, amount, now))?;
            postings.save()?;
            balance(tx, wallet)
        })
        .await
    }
}

fn balance(tx: &Tx<'_>, wallet: WalletAddress) -> Result<Balance, StoreError> {
    let found = Postings::look_up(tx, AccountKind::Wallet, Some(wallet))?;
    Ok(found.map_or_else(Balance::default, |account| Balance {
        credited: account.credits_posted,
        charged: account.debits_posted,
        reserved: account.debits_pending,
        available: account.available(),
    }))
}
