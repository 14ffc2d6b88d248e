//! One-time nonces of sign-in.

use cocoon_primitives::Timestamp;

use crate::column::Sql;
use crate::{Store, StoreError};

/// Expired nonces that one call forgets, so that the table stays as small as its use.
const FORGET_MAX: u32 = 100;

impl Store {
    /// Uses a nonce up: true the first time, false for a replay and for one that has expired.
    pub async fn consume_nonce(
        &self,
        nonce: [u8; 16],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        // An expired nonce may have been forgotten, so it can no longer be told from a fresh one.
        if expires_at <= now {
            return Ok(false);
        }
        self.write("nonce.consume", move |tx| {
            tx.execute(
                "-- nonce.forget
                 DELETE FROM nonces WHERE nonce IN
                   (SELECT nonce FROM nonces WHERE expires_at <= ?1 LIMIT ?2)",
                (Sql(now), FORGET_MAX),
            )?;
            let inserted = tx.execute(
                "-- nonce.consume
                 INSERT INTO nonces (nonce, expires_at) VALUES (?1, ?2)
                 ON CONFLICT (nonce) DO NOTHING",
                (nonce, Sql(expires_at)),
            )?;
            Ok(inserted == 1)
        })
        .await
    }
}
