//! Every live API key, in memory.
//!
//! Filled from the store at start and kept up to date by the routes that create and revoke; a
//! gateway owns its store, so nobody else changes keys. Uses are collected here and written in
//! batches: `last_used_at` in a listing lags by the pace of [`KeyTable::take_uses`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};

use cocoon_primitives::{KeyId, Timestamp, WalletAddress};
use cocoon_store::KeyRow;

use super::Principal;
use super::authenticator::AuthError;

/// Keys whose last use waits to be written; one more is forgotten.
const USES_MAX: usize = 100_000;

#[derive(Debug, Clone, Copy)]
struct LiveKey {
    id: KeyId,
    wallet: WalletAddress,
    expires_at: Option<Timestamp>,
}

/// Live keys by the SHA-256 of their secret.
#[derive(Debug, Default)]
pub struct KeyTable {
    live: RwLock<HashMap<[u8; 32], LiveKey>>,
    uses: Mutex<HashMap<KeyId, Timestamp>>,
}

impl KeyTable {
    pub fn new(rows: &[KeyRow]) -> Self {
        let table = Self::default();
        for row in rows {
            table.insert(row.secret_sha256, row.id, row.wallet, row.expires_at);
        }
        table
    }

    /// The key behind a secret's digest. After hashing, an ordinary map tells no secret by time.
    pub(super) fn find(
        &self,
        secret_sha256: &[u8; 32],
        now: Timestamp,
    ) -> Result<Principal, AuthError> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let key = *live.get(secret_sha256).ok_or(AuthError::UnknownKey)?;
        drop(live);
        if key.expires_at.is_some_and(|at| at <= now) {
            return Err(AuthError::KeyExpired);
        }
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.len() < USES_MAX || uses.contains_key(&key.id) {
            uses.insert(key.id, now);
        }
        Ok(Principal { wallet: key.wallet, key: Some(key.id) })
    }

    pub fn insert(
        &self,
        secret_sha256: [u8; 32],
        id: KeyId,
        wallet: WalletAddress,
        expires_at: Option<Timestamp>,
    ) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        live.insert(secret_sha256, LiveKey { id, wallet, expires_at });
    }

    /// From here on this wallet's key is unknown; another wallet's is left alone.
    pub fn remove(&self, id: KeyId, wallet: WalletAddress) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        live.retain(|_, key| key.id != id || key.wallet != wallet);
    }

    /// The uses since the last call, for the store.
    pub fn take_uses(&self) -> Vec<(KeyId, Timestamp)> {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *uses).into_iter().collect()
    }
}
