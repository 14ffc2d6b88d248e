//! The gateway's log of leases, followed from the last head that was seen here.
//!
//! Invariants: a head is believed only under the key that signed the first one; it must go on from
//! the last one, which is kept in a file, and be of now; evidence counts only where the log has its lease.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_attest::log::{Entry, PATH_MAX, SignedHead, verify_consistency, verify_inclusion};
use cocoon_primitives::{Clock as _, Timestamp};
use cocoon_runtime::SystemClock;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::worker::Listed;
use super::{Doubt, TrustError};
use crate::api::Api;
use crate::error::CliError;
use crate::private_file;

/// How old a head may be.
const AGE_MAX: Duration = Duration::from_secs(600);
/// By how much clocks may differ.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// How long another process is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What was seen of one gateway's log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    base_url: String,
    head: SignedHead,
}

#[derive(Deserialize)]
struct Proof {
    path: Vec<String>,
}

#[derive(Deserialize)]
struct Entries {
    data: Vec<LoggedEntry>,
}

#[derive(Deserialize)]
struct LoggedEntry {
    index: u64,
    /// dCBOR, base64.
    entry: String,
}

/// One gateway's log, as far as it is known to hang together.
#[derive(Debug)]
pub(crate) struct LogWatch {
    file: PathBuf,
    base_url: String,
    pinned: Option<[u8; 32]>,
    head: Option<SignedHead>,
}

impl LogWatch {
    /// Goes on from what was seen of this gateway before. `pinned` is the key that its heads must
    /// have; without it the first key that is seen counts from then on.
    pub(crate) fn open(
        home: &Path,
        base_url: &str,
        pinned: Option<[u8; 32]>,
    ) -> Result<Self, CliError> {
        let name = hex::encode(&Sha256::digest(base_url)[..16]);
        let file = home.join("logs").join(format!("{name}.json"));
        let head = stored(&file, base_url)?;
        Ok(Self { file, base_url: base_url.to_owned(), pinned, head })
    }

    /// The gateway's key for heads and countersignatures, once one is known.
    pub(crate) fn key(&self) -> Option<[u8; 32]> {
        self.pinned.or(self.head.as_ref().map(|head| head.key))
    }

    /// Fetches the head of now and checks that it goes on from the last one, which another process
    /// of the same user may have seen: nobody else does so at the same time.
    pub(crate) async fn advance(&mut self, api: &Api) -> Result<(), TrustError> {
        let _lock = lock(&self.file).await?;
        let stored = stored(&self.file, &self.base_url)?;
        let next: SignedHead = api.get("/attestation/log").await?;
        check_signature(&next, self.pinned, [stored.as_ref(), self.head.as_ref()])?;
        check_age(&next, None, SystemClock.now())?;
        let mut newest = None;
        for last in [&stored, &self.head].into_iter().flatten() {
            if newest == Some(last) {
                continue;
            }
            check_age(&next, Some(last), SystemClock.now())?;
            self.goes_on(api, last, &next).await?;
            newest = newest.into_iter().chain([last]).max_by_key(|head| (head.size, head.at));
        }
        let is_newer = newest.is_none_or(|last| (next.size, next.at) > (last.size, last.at));
        let newest = if is_newer { next } else { newest.cloned().unwrap_or(next) };
        if stored.as_ref() != Some(&newest) {
            let seen = Seen { base_url: self.base_url.clone(), head: newest.clone() };
            let text = serde_json::to_string_pretty(&seen).expect("our own type is JSON");
            private_file::replace(&self.file, &text)?;
        }
        self.head = Some(newest);
        Ok(())
    }

    async fn goes_on(
        &self,
        api: &Api,
        last: &SignedHead,
        next: &SignedHead,
    ) -> Result<(), TrustError> {
        let broken = |reason: String| Doubt::new("log_inconsistent", reason);
        if next.size < last.size {
            let reason = format!("the log had {} entries and has {}", last.size, next.size);
            return Err(broken(reason).into());
        }
        if next.size == last.size {
            return match next.root == last.root {
                true => Ok(()),
                false => {
                    Err(broken(format!("entry {} or an earlier one was changed", last.size)).into())
                }
            };
        }
        let path = if last.size == 0 {
            Vec::new()
        } else {
            let query = [("first", last.size.to_string()), ("second", next.size.to_string())];
            hashes(&api.get_with::<Proof>("/attestation/log/consistency", &query).await?)?
        };
        verify_consistency(last.size, next.size, &path, &last.root, &next.root).map_err(
            |fault| broken(format!("the log does not go on from what was seen before: {fault}")),
        )?;
        Ok(())
    }

    /// Checks that the log has the lease of this worker.
    pub(crate) async fn includes(&mut self, api: &Api, row: &Listed) -> Result<(), TrustError> {
        let missing = |reason: &str| Doubt::new("log_missing", reason);
        let index = row.log_index.ok_or_else(|| missing("the worker's lease is not logged"))?;
        if self.head.as_ref().is_none_or(|head| index >= head.size) {
            self.advance(api).await?;
        }
        let head = self.head.as_ref().filter(|head| index < head.size);
        let head = head.ok_or_else(|| missing("the log has no entry of the worker's lease"))?;
        let query = [("start", index.to_string()), ("limit", "1".to_owned())];
        let entries: Entries = api.get_with("/attestation/log/entries", &query).await?;
        let entry = entries.data.iter().find(|entry| entry.index == index);
        let entry = entry.and_then(|entry| STANDARD.decode(&entry.entry).ok());
        let bytes = entry.ok_or_else(|| missing("the log does not show the worker's entry"))?;
        let entry = Entry::decode(&bytes).map_err(|_| missing("the log's entry is malformed"))?;
        if entry.record.evidence() != Some(row.evidence_digest) {
            return Err(missing("the log's entry is of other evidence").into());
        }
        let query = [("index", index.to_string()), ("size", head.size.to_string())];
        let proof: Proof = api.get_with("/attestation/log/inclusion", &query).await?;
        verify_inclusion(&entry.leaf_hash(), index, head.size, &hashes(&proof)?, &head.root)
            .map_err(|fault| {
                let reason = format!("the log does not hold the entry that it shows: {fault}");
                Doubt::new("log_inconsistent", reason)
            })?;
        Ok(())
    }
}

/// The file's lock, until it is dropped. Whoever holds it may be waiting for the gateway.
async fn lock(file: &Path) -> Result<File, CliError> {
    let path = file.with_extension("lock");
    let failed = |source| CliError::File { action: "lock", path: path.clone(), source };
    let lock = private_file::open_lock(&path).map_err(failed)?;
    let locked = async {
        let mut ticks = interval(LOCK_PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match lock.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    };
    let held = || io::Error::new(io::ErrorKind::WouldBlock, "another process has it");
    timeout(LOCK_TIMEOUT, locked).await.map_err(|_| failed(held()))?.map_err(failed)?;
    Ok(lock)
}

/// Signed, and by the key that counts.
fn check_signature(
    next: &SignedHead,
    pinned: Option<[u8; 32]>,
    last: [Option<&SignedHead>; 2],
) -> Result<(), Doubt> {
    let mut keys: Vec<[u8; 32]> = last.into_iter().flatten().map(|head| head.key).collect();
    if let Some(pinned) = pinned {
        keys = vec![pinned];
    }
    if keys.iter().any(|key| *key != next.key) {
        let reason = "the log's head has another key than before; where the gateway changed \
                      its key, remove its file in logs/ of --home";
        return Err(Doubt::new("log_key_changed", reason));
    }
    match next.verify(&next.key) {
        true => Ok(()),
        false => {
            let reason = "the signature of the log's head does not verify";
            Err(Doubt::new("log_signature", reason))
        }
    }
}

/// A head is of now, and not of before the last one. A gateway that shows an old one may hide what
/// it has logged since.
fn check_age(next: &SignedHead, last: Option<&SignedHead>, now: Timestamp) -> Result<(), Doubt> {
    let stale = |reason: &str| Err(Doubt::new("log_stale", reason));
    if now.since(next.at) > AGE_MAX.saturating_add(CLOCK_SKEW) {
        return stale("the log's head is older than ten minutes; is this machine's clock right?");
    }
    if next.at.since(now) > CLOCK_SKEW {
        return stale("the log's head is of the future; is this machine's clock right?");
    }
    if last.is_some_and(|last| last.at.since(next.at) > CLOCK_SKEW) {
        return stale("the log's head is older than the one that was seen before");
    }
    Ok(())
}

fn stored(file: &Path, base_url: &str) -> Result<Option<SignedHead>, CliError> {
    match private_file::read(file) {
        Err(CliError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(text) => read_seen(file, &text, base_url).map(Some),
    }
}

fn read_seen(file: &Path, text: &str, base_url: &str) -> Result<SignedHead, CliError> {
    let seen = serde_json::from_str::<Seen>(text).ok();
    let seen = seen.filter(|seen| seen.base_url == base_url && seen.head.verify(&seen.head.key));
    seen.map(|seen| seen.head).ok_or_else(|| CliError::Content {
        path: file.into(),
        reason: "it is not the last head of this gateway's log".into(),
    })
}

fn hashes(proof: &Proof) -> Result<Vec<[u8; 32]>, Doubt> {
    let malformed = || Doubt::new("log_inconsistent", "a proof of the log is malformed");
    if proof.path.len() > PATH_MAX {
        return Err(malformed());
    }
    let step = |text: &String| {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).map_err(|_| malformed())?;
        Ok(hash)
    };
    proof.path.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use futures_util::FutureExt as _;

    use super::*;

    fn head(at_s: u64) -> SignedHead {
        let key = SigningKey::from_bytes(&[1; 32]);
        SignedHead::sign(&key, 1, [0; 32], Timestamp::from_seconds(at_s))
    }

    #[test]
    fn a_head_is_of_now_and_not_of_before_the_last() {
        let now = Timestamp::from_seconds(10_000);
        for (at, last, is_taken) in [
            (10_000, None, true),
            (10_060, None, true),
            (10_061, None, false),
            (9_340, None, true),
            (9_339, None, false),
            (9_990, Some(10_050), true),
            (9_990, Some(10_051), false),
        ] {
            let last = last.map(head);
            let checked = check_age(&head(at), last.as_ref(), now);
            assert_eq!(checked.is_ok(), is_taken, "{at} after {last:?}");
        }
    }

    #[tokio::test]
    async fn one_process_at_a_time_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("logs").join("x.json");
        let held = lock(&file).await.unwrap();
        assert!(lock(&file).now_or_never().is_none(), "it waits");
        drop(held);
        lock(&file).await.unwrap();
    }
}
