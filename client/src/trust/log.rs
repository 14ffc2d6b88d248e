//! The gateway's log of leases, followed from the last head that was seen here.
//!
//! Invariants: a head is believed only under the key that signed the first one; it must go on from
//! the last one, which is kept in a file; evidence counts only where the log has its lease.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_attest::log::{Entry, PATH_MAX, SignedHead, verify_consistency, verify_inclusion};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::worker::Listed;
use super::{Doubt, TrustError};
use crate::api::Api;
use crate::error::CliError;
use crate::private_file;

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
        let head = match private_file::read(&file) {
            Err(CliError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
            Ok(text) => Some(read_seen(&file, &text, base_url)?),
        };
        Ok(Self { file, base_url: base_url.to_owned(), pinned, head })
    }

    /// The gateway's key for heads and countersignatures, once one is known.
    pub(crate) fn key(&self) -> Option<[u8; 32]> {
        self.pinned.or(self.head.as_ref().map(|head| head.key))
    }

    /// Fetches the head of now and checks that it goes on from the last one.
    pub(crate) async fn advance(&mut self, api: &Api) -> Result<(), TrustError> {
        let next: SignedHead = api.get("/attestation/log").await?;
        if self.key().is_some_and(|key| key != next.key) {
            let reason = "the log's head has another key than before; where the gateway changed \
                          its key, remove its file in logs/ of --home";
            return Err(Doubt::new("log_key_changed", reason).into());
        }
        if !next.verify(&next.key) {
            let reason = "the signature of the log's head does not verify";
            return Err(Doubt::new("log_signature", reason).into());
        }
        if let Some(last) = &self.head {
            self.goes_on(api, last, &next).await?;
        }
        if self.head.as_ref() != Some(&next) {
            let seen = Seen { base_url: self.base_url.clone(), head: next.clone() };
            let text = serde_json::to_string_pretty(&seen).expect("our own type is JSON");
            private_file::replace(&self.file, &text)?;
            self.head = Some(next);
        }
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
