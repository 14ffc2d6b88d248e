//! Every live API key, in memory, and the dead ones of late.
//!
//! Filled from the store at start and kept up to date by the routes that create and revoke; a
//! gateway owns its store, so nobody else changes keys. Uses are collected here and written in
//! batches: `last_used_at` in a listing lags by the pace of [`KeyTable::take_uses`].
//!
//! Invariant: what died is forgotten first. An expired key leaves the live ones when the next key
//! comes in, so that nobody fills the memory by minting keys that expire.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError, RwLock};

use cocoon_primitives::{KeyId, Timestamp, WalletAddress};
use cocoon_store::KeyRow;

use super::Principal;
use super::authenticator::AuthError;

/// Keys whose last use waits to be written; one more is forgotten.
const USES_MAX: usize = 100_000;
/// Dead keys that are still told what became of them; older ones are unknown.
pub const DEAD_KEYS_MAX: u32 = 10_000;

#[derive(Debug, Clone, Copy)]
struct LiveKey {
    id: KeyId,
    wallet: WalletAddress,
    expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
enum Death {
    Expired,
    Revoked,
}

/// Keys by the SHA-256 of their secret.
#[derive(Debug, Default)]
struct Keys {
    live: HashMap<[u8; 32], LiveKey>,
    /// The live ones that will expire, the next one first.
    ends: BTreeSet<(Timestamp, [u8; 32])>,
    dead: HashMap<[u8; 32], Death>,
    /// The dead ones, the oldest death first.
    graves: VecDeque<[u8; 32]>,
}

/// What the gateway knows about keys.
#[derive(Debug, Default)]
pub struct KeyTable {
    keys: RwLock<Keys>,
    uses: Mutex<HashMap<KeyId, Timestamp>>,
}

impl KeyTable {
    /// `dead` starts with the latest death.
    pub fn new(live: &[KeyRow], dead: &[KeyRow]) -> Self {
        let mut keys = Keys::default();
        for row in live {
            let key = LiveKey { id: row.id, wallet: row.wallet, expires_at: row.expires_at };
            keys.insert(row.secret_sha256, key);
        }
        for row in dead.iter().rev() {
            let death = if row.revoked_at.is_some() { Death::Revoked } else { Death::Expired };
            keys.bury(row.secret_sha256, death);
        }
        Self { keys: RwLock::new(keys), uses: Mutex::default() }
    }

    /// The key behind a secret's digest. After hashing, an ordinary map tells no secret by time.
    pub(super) fn find(
        &self,
        secret_sha256: &[u8; 32],
        now: Timestamp,
    ) -> Result<Principal, AuthError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = match (keys.live.get(secret_sha256), keys.dead.get(secret_sha256)) {
            (Some(key), _) => *key,
            (None, Some(Death::Expired)) => return Err(AuthError::KeyExpired),
            (None, Some(Death::Revoked)) => return Err(AuthError::KeyRevoked),
            (None, None) => return Err(AuthError::UnknownKey),
        };
        drop(keys);
        if key.expires_at.is_some_and(|at| at <= now) {
            return Err(AuthError::KeyExpired);
        }
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.len() < USES_MAX || uses.contains_key(&key.id) {
            uses.insert(key.id, now);
        }
        Ok(Principal { wallet: key.wallet, key: Some(key.id) })
    }

    /// A key that was made at `now`.
    pub fn insert(
        &self,
        secret_sha256: [u8; 32],
        id: KeyId,
        wallet: WalletAddress,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.expire(now);
        keys.insert(secret_sha256, LiveKey { id, wallet, expires_at });
    }

    /// From here on this wallet's key is revoked; another wallet's is left alone.
    pub fn remove(&self, id: KeyId, wallet: WalletAddress) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let is_meant = |key: &LiveKey| key.id == id && key.wallet == wallet;
        let meant = keys.live.iter().find(|(_, key)| is_meant(key)).map(|(secret, _)| *secret);
        if let Some(secret_sha256) = meant {
            keys.bury(secret_sha256, Death::Revoked);
        }
    }

    /// The uses since the last call, for the store.
    pub fn take_uses(&self) -> Vec<(KeyId, Timestamp)> {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *uses).into_iter().collect()
    }
}

impl Keys {
    fn insert(&mut self, secret_sha256: [u8; 32], key: LiveKey) {
        if let Some(at) = key.expires_at {
            self.ends.insert((at, secret_sha256));
        }
        self.live.insert(secret_sha256, key);
    }

    /// Buries what has expired.
    fn expire(&mut self, now: Timestamp) {
        while let Some((at, secret_sha256)) = self.ends.first().copied()
            && at <= now
        {
            self.bury(secret_sha256, Death::Expired);
        }
    }

    fn bury(&mut self, secret_sha256: [u8; 32], death: Death) {
        if let Some(key) = self.live.remove(&secret_sha256)
            && let Some(at) = key.expires_at
        {
            self.ends.remove(&(at, secret_sha256));
        }
        if self.dead.insert(secret_sha256, death).is_none() {
            self.graves.push_back(secret_sha256);
        }
        let graves_max = usize::try_from(DEAD_KEYS_MAX).unwrap_or(usize::MAX);
        if self.graves.len() > graves_max
            && let Some(oldest) = self.graves.pop_front()
        {
            self.dead.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WALLET: WalletAddress = WalletAddress::new(0, [7; 32]);
    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn keys_that_expire_do_not_pile_up() {
        let table = KeyTable::default();
        let mut now = NOW;
        let minted = DEAD_KEYS_MAX + 10;
        let secret = |number: u32| {
            let mut secret = [0; 32];
            secret[..4].copy_from_slice(&number.to_be_bytes());
            secret
        };
        for number in 0..minted {
            let ends = now.saturating_add(Duration::from_secs(1));
            table.insert(secret(number), KeyId::from_bytes([1; 8]), WALLET, Some(ends), now);
            now = ends;
        }
        let keys = table.keys.read().unwrap();
        assert_eq!((keys.live.len(), keys.ends.len()), (1, 1));
        assert!(keys.dead.len() <= usize::try_from(DEAD_KEYS_MAX).unwrap());
        assert_eq!(keys.dead.len(), keys.graves.len());
        drop(keys);
        assert_eq!(table.find(&secret(minted - 2), now), Err(AuthError::KeyExpired));
        assert_eq!(table.find(&secret(0), now), Err(AuthError::UnknownKey));
    }
}
