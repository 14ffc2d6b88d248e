//! API keys: who may spend from a wallet, up to which cap.

use std::time::Duration;

use cocoon_primitives::{KeyId, Nano, Timestamp, WalletAddress};
use rusqlite::Row;

use crate::column::{Sql, optional};
use crate::{Store, StoreError};

/// Keys that one wallet may have alive, and that a listing shows beside the revoked ones.
pub const KEYS_PER_WALLET_MAX: u32 = 100;
/// Keys that one wallet may make within a day, whatever becomes of them. A dead key stays while
/// requests refer to it, and otherwise for a while: this bounds how fast they add up.
pub const KEYS_PER_DAY_MAX: u32 = 200;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Rows of one wallet's listing.
const LISTING_MAX: u32 = 1000;
/// Uses that one call records.
const TOUCHES_MAX: usize = 10_000;
/// Dead keys that one call forgets.
const FORGET_MAX: u32 = 1000;

/// A key to be created. Only its secret's SHA-256 is kept.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub id: KeyId,
    pub wallet: WalletAddress,
    pub secret_sha256: [u8; 32],
    /// At most 200 bytes.
    pub name: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// The most that this key may ever spend; what is in flight counts.
    pub spend_cap: Option<Nano>,
}

/// A key as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub id: KeyId,
    pub wallet: WalletAddress,
    pub secret_sha256: [u8; 32],
    pub name: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub spend_cap: Option<Nano>,
    pub spent: Nano,
    pub reserved: Nano,
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// What became of a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum CreateKeyOutcome {
    Created,
    /// The wallet has [`KEYS_PER_WALLET_MAX`] keys that are neither revoked nor expired.
    LimitReached,
    /// The wallet made [`KEYS_PER_DAY_MAX`] keys within the last day.
    TooManyToday,
    /// The wallet has never signed in.
    UnknownWallet,
}

const COLUMNS: &str = "id, wallet, secret_sha256, name, created_at, expires_at, spend_cap, spent, \
                       reserved, last_used_at, revoked_at";

impl Store {
    pub async fn create_key(&self, key: NewKey) -> Result<CreateKeyOutcome, StoreError> {
        self.write("key.create", move |tx| {
            let known = tx.find(
                "-- wallet.exists
                 SELECT 1 FROM wallets WHERE address = ?1",
                (Sql(key.wallet),),
                |_| Ok(()),
            )?;
            if known.is_none() {
                return Ok(CreateKeyOutcome::UnknownWallet);
            }
            let alive: u32 = tx.get(
                "-- key.count_alive
                 SELECT count(*) FROM api_keys
                 WHERE wallet = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)",
                (Sql(key.wallet), Sql(key.created_at)),
                |row| row.get(0),
            )?;
            if alive >= KEYS_PER_WALLET_MAX {
                return Ok(CreateKeyOutcome::LimitReached);
            }
            let today: u32 = tx.get(
                "-- key.count_today
                 SELECT count(*) FROM api_keys WHERE wallet = ?1 AND created_at > ?2",
                (Sql(key.wallet), Sql(key.created_at.saturating_sub(DAY))),
                |row| row.get(0),
            )?;
            if today >= KEYS_PER_DAY_MAX {
                return Ok(CreateKeyOutcome::TooManyToday);
            }
            tx.execute(
                "-- key.create
                 INSERT INTO api_keys (id, wallet, secret_sha256, name, created_at, expires_at, spend_cap)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                (
                    Sql(key.id),
                    Sql(key.wallet),
                    key.secret_sha256,
                    key.name,
                    Sql(key.created_at),
                    optional(key.expires_at),
                    optional(key.spend_cap),
                ),
            )?;
            Ok(CreateKeyOutcome::Created)
        })
        .await
    }

    /// A wallet's keys, newest first, revoked and expired ones included; at most a thousand.
    pub async fn list_keys(&self, wallet: WalletAddress) -> Result<Vec<KeyRow>, StoreError> {
        self.read("key.list", move |tx| {
            tx.all(
                &format!(
                    "-- key.list
                     SELECT {COLUMNS} FROM api_keys WHERE wallet = ?1
                     ORDER BY created_at DESC, id DESC LIMIT ?2"
                ),
                (Sql(wallet), LISTING_MAX),
                key_row,
            )
        })
        .await
    }

    /// Ends a key for good. False where the wallet has no such key or it was revoked before.
    pub async fn revoke_key(
        &self,
        wallet: WalletAddress,
        id: KeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write("key.revoke", move |tx| {
            let changed = tx.execute(
                "-- key.revoke
                 UPDATE api_keys SET revoked_at = ?3
                 WHERE id = ?1 AND wallet = ?2 AND revoked_at IS NULL",
                (Sql(id), Sql(wallet), Sql(now)),
            )?;
            Ok(changed == 1)
        })
        .await
    }

    /// Every key that may be used at `now`: what the gateway checks requests against in memory.
    pub async fn live_keys(&self, now: Timestamp) -> Result<Vec<KeyRow>, StoreError> {
        self.read("key.live", move |tx| {
            tx.all(
                &format!(
                    "-- key.live
                     SELECT {COLUMNS} FROM api_keys
                     WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?1)"
                ),
                (Sql(now),),
                key_row,
            )
        })
        .await
    }

    /// Keys that may not be used any more at `now`, the latest death first: at most `limit`.
    pub async fn dead_keys(&self, now: Timestamp, limit: u32) -> Result<Vec<KeyRow>, StoreError> {
        self.read("key.dead", move |tx| {
            tx.all(
                &format!(
                    "-- key.dead
                     SELECT {COLUMNS} FROM api_keys
                     WHERE revoked_at IS NOT NULL OR expires_at <= ?1
                     ORDER BY min(coalesce(revoked_at, expires_at), coalesce(expires_at, revoked_at))
                         DESC
                     LIMIT ?2"
                ),
                (Sql(now), limit),
                key_row,
            )
        })
        .await
    }

    /// Forgets keys that died before `before` and never served: no request refers to them, so no
    /// listing of usage and no audit misses them. Answers how many; a call takes a thousand.
    pub async fn forget_keys(&self, before: Timestamp) -> Result<usize, StoreError> {
        // Looked for on a reader's thread: the writer only gets what is to go.
        let unused = self
            .read("key.unused", move |tx| {
                tx.all(
                    "-- key.unused
                     SELECT id FROM api_keys k
                     WHERE (revoked_at <= ?1 OR expires_at <= ?1) AND spent = 0 AND reserved = 0
                       AND NOT EXISTS (SELECT 1 FROM requests WHERE key = k.id)
                     LIMIT ?2",
                    (Sql(before), FORGET_MAX),
                    |row| row.get::<_, Sql<KeyId>>(0),
                )
            })
            .await?;
        if unused.is_empty() {
            return Ok(0);
        }
        self.write("key.forget", move |tx| {
            let mut forgotten = 0;
            for id in unused {
                forgotten += tx.execute(
                    "-- key.forget
                     DELETE FROM api_keys WHERE id = ?1 AND (revoked_at <= ?2 OR expires_at <= ?2)
                       AND NOT EXISTS (SELECT 1 FROM requests WHERE key = ?1)",
                    (id, Sql(before)),
                )?;
            }
            Ok(forgotten)
        })
        .await
    }

    /// Records when keys were last used; earlier times than the known one change nothing. Takes
    /// the first ten thousand.
    pub async fn touch_keys(&self, uses: Vec<(KeyId, Timestamp)>) -> Result<(), StoreError> {
        self.write("key.touch", move |tx| {
            for (id, used_at) in uses.into_iter().take(TOUCHES_MAX) {
                tx.execute(
                    "-- key.touch
                     UPDATE api_keys SET last_used_at = ?2
                     WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)",
                    (Sql(id), Sql(used_at)),
                )?;
            }
            Ok(())
        })
        .await
    }
}

fn key_row(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        id: row.get::<_, Sql<_>>(0)?.0,
        wallet: row.get::<_, Sql<_>>(1)?.0,
        secret_sha256: row.get(2)?,
        name: row.get(3)?,
        created_at: row.get::<_, Sql<_>>(4)?.0,
        expires_at: row.get::<_, Option<Sql<_>>>(5)?.map(|at| at.0),
        spend_cap: row.get::<_, Option<Sql<_>>>(6)?.map(|cap| cap.0),
        spent: row.get::<_, Sql<_>>(7)?.0,
        reserved: row.get::<_, Sql<_>>(8)?.0,
        last_used_at: row.get::<_, Option<Sql<_>>>(9)?.map(|at| at.0),
        revoked_at: row.get::<_, Option<Sql<_>>>(10)?.map(|at| at.0),
    })
}
