//! A store in a temporary folder, and requests with plain numbers.

use std::path::PathBuf;
use std::time::Duration;

use cocoon_metering::{PriceRow, Usage};
use cocoon_primitives::{
    KeyId, Nano, RequestId, Timestamp, TokenCount, TokenPrice, WalletAddress, WorkerId,
};
use cocoon_store::{
    Balance, CreateKeyOutcome, NewKey, NewReceipt, Outcome, Reservation, Settlement, Store,
};
use tempfile::TempDir;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// When every reservation of [`reservation`] expires.
pub(crate) const EXPIRY: Timestamp = Timestamp::from_seconds(1_800_000_600);
pub(crate) const WALLET: WalletAddress = WalletAddress::new(0, [1; 32]);
pub(crate) const OTHER_WALLET: WalletAddress = WalletAddress::new(0, [2; 32]);
pub(crate) const PAYEE: WalletAddress = WalletAddress::new(-1, [3; 32]);
pub(crate) const WORKER: WorkerId = WorkerId::from_bytes([4; 32]);
pub(crate) const OTHER_WORKER: WorkerId = WorkerId::from_bytes([5; 32]);
pub(crate) const KEY: KeyId = KeyId::from_bytes([6; 8]);

pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("store.sqlite")).expect("a new store opens");
        Self { folder, store }
    }

    /// With this much credit in [`WALLET`].
    pub(crate) async fn with_credit(amount: u64) -> Self {
        let fixture = Self::open();
        let credited = fixture.store.credit(WALLET, nano(amount), [1; 16], NOW).await;
        assert_eq!(credited.expect("credit").available, nano(amount));
        fixture
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("store.sqlite")
    }

    /// A connection beside the store's own, as a careless person would open one.
    pub(crate) fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).expect("the file is a database")
    }

    pub(crate) async fn balance(&self) -> Balance {
        self.store.balance(WALLET).await.expect("a balance")
    }

    /// [`KEY`] of [`WALLET`], which signs in for it.
    pub(crate) async fn key(&self, spend_cap: Option<u64>) {
        self.store.ensure_wallet(WALLET, [7; 32], NOW).await.expect("a wallet");
        let created = self.store.create_key(new_key(KEY, spend_cap)).await;
        assert_eq!(created.expect("a key"), CreateKeyOutcome::Created);
    }

    pub(crate) async fn assert_clean(&self) {
        let report = self.store.check().await.expect("an audit");
        assert!(report.is_clean(), "{report:#?}");
    }
}

pub(crate) fn nano(amount: u64) -> Nano {
    Nano::new(amount).expect("test amounts are small enough")
}

pub(crate) fn id(number: u64) -> RequestId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    RequestId::from_bytes(bytes)
}

pub(crate) fn new_key(id: KeyId, spend_cap: Option<u64>) -> NewKey {
    let mut secret_sha256 = [0; 32];
    secret_sha256[..8].copy_from_slice(id.as_bytes());
    NewKey {
        id,
        wallet: WALLET,
        secret_sha256,
        name: "a key".to_owned(),
        created_at: NOW,
        expires_at: None,
        spend_cap: spend_cap.map(nano),
    }
}

/// One nano-coin for each token, so that amounts can be read off.
pub(crate) fn price() -> PriceRow {
    let one = TokenPrice::per_million(nano(1_000_000));
    PriceRow { prompt: one, cached: one, completion: one }
}

pub(crate) fn usage(prompt: u64, completion: u64) -> Usage {
    Usage {
        prompt: TokenCount::new(prompt),
        completion: TokenCount::new(completion),
        ..Usage::default()
    }
}

pub(crate) fn reservation(number: u64, amount: u64) -> Reservation {
    Reservation {
        request_id: id(number),
        wallet: WALLET,
        key: None,
        model: "tiny-demo".parse().expect("a model's name"),
        price: price(),
        amount: nano(amount),
        max_prompt: TokenCount::new(amount),
        max_completion: TokenCount::new(amount),
        streamed: true,
        created_at: NOW,
        expires_at: EXPIRY,
        pay_blind: [8; 32],
        // A tenth.
        commission_bp: 1000,
    }
}

pub(crate) fn keyed(number: u64, amount: u64) -> Reservation {
    Reservation { key: Some(KEY), ..reservation(number, amount) }
}

pub(crate) fn settlement(number: u64, tokens: u64) -> Settlement {
    Settlement {
        request_id: id(number),
        holder: None,
        worker: Some(WORKER),
        payee: Some(PAYEE),
        outcome: Outcome::Completed,
        usage: usage(0, tokens),
        settled_at: NOW.saturating_add(Duration::from_secs(1)),
        receipt: Some(NewReceipt { stated: Some(usage(0, tokens)), ..receipt(0) }),
    }
}

pub(crate) fn receipt(attempt: u32) -> NewReceipt {
    NewReceipt {
        core: vec![9; 700],
        signature: [10; 64],
        salt: [11; 32],
        worker_key: [12; 32],
        attempt,
        stated: Some(usage(0, 10)),
    }
}
