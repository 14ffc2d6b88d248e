//! The task that appends: one entry after the other, to the store and then to the tree.
//!
//! A task of its own, so that a caller that goes away in the middle leaves no entry that memory
//! does not know. After a failure it reads the log again before it goes on: the store may have
//! kept what it could not say that it kept.

use std::sync::{Arc, Mutex};

use cocoon_attest::log::{Entry, Record};
use cocoon_store::{AppendOutcome, LogKind, LogRow, NewEvidence, NewLogEntry, Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::grown::{Grown, catch_up, policy_mark};
use super::held;
use crate::policy::InForce;

/// Times that an entry is tried where the log has grown by somebody else's.
const ATTEMPTS_MAX: usize = 3;

/// One entry, and who waits for it.
pub(super) struct Append {
    pub(super) entry: Entry,
    pub(super) evidence: Option<NewEvidence>,
    /// The policy that has to be in the log before it.
    pub(super) under: Option<Arc<InForce>>,
    pub(super) caller: oneshot::Sender<Result<(), StoreError>>,
}

/// Appends until all handles are gone, or the gateway drains and the queue is empty.
pub(super) async fn run(
    store: Store,
    grown: Arc<Mutex<Grown>>,
    mut appends: mpsc::Receiver<Append>,
    soft: CancellationToken,
) {
    let mut is_unsure = false;
    loop {
        let next = tokio::select! {
            // What is queued first: it came before the drain.
            biased;
            next = appends.recv() => next,
            () = soft.cancelled(), if !appends.is_closed() => {
                appends.close();
                continue;
            }
        };
        let Some(Append { entry, evidence, under, caller }) = next else { return };
        let result = match ensure(&store, &grown, &entry, under.as_deref(), is_unsure).await {
            Ok(()) => append(&store, &grown, &entry, evidence, is_unsure).await,
            Err(error) => Err(error),
        };
        is_unsure = result.is_err();
        if let Err(error) = &result {
            tracing::warn!(%error, "a {} was not logged", entry.record.kind());
        }
        let outcome = if result.is_ok() { "ok" } else { "error" };
        metrics::counter!("cocoon_log_entries_total", "kind" => entry.record.kind(), "outcome" => outcome)
            .increment(1);
        // A caller that went away has lost only the answer.
        let _ = caller.send(result);
    }
}

/// Appends the policy that an entry rests on, where the log has it nowhere.
async fn ensure(
    store: &Store,
    grown: &Mutex<Grown>,
    entry: &Entry,
    under: Option<&InForce>,
    is_unsure: bool,
) -> Result<(), StoreError> {
    let Some(under) = under else { return Ok(()) };
    if is_unsure {
        catch_up(store, grown).await?;
    }
    if held(grown).policies.contains(&policy_mark(&under.text)) {
        return Ok(());
    }
    let policy = Record::Policy { policy: under.text.clone() };
    append(store, grown, &Entry { at: entry.at, record: policy }, None, false).await
}

async fn append(
    store: &Store,
    grown: &Mutex<Grown>,
    entry: &Entry,
    evidence: Option<NewEvidence>,
    mut is_unsure: bool,
) -> Result<(), StoreError> {
    let bytes = entry.encode();
    for _ in 0..ATTEMPTS_MAX {
        if is_unsure {
            catch_up(store, grown).await?;
        }
        let (index, last_policy) = {
            let grown = held(grown);
            (grown.tree.size(), grown.last_policy)
        };
        if let Record::Policy { policy } = &entry.record
            && last_policy == Some(policy_mark(policy))
        {
            return Ok(());
        }
        let new = NewLogEntry {
            index,
            at: entry.at,
            kind: kind(&entry.record),
            entry: bytes.clone(),
            evidence: evidence.clone(),
        };
        let row = LogRow {
            index,
            kind: new.kind,
            at: new.at,
            entry: bytes.clone(),
            evidence_digest: entry.record.evidence(),
        };
        match store.append_log(new).await? {
            AppendOutcome::Appended => {
                // No head may cover what a power loss can still take.
                store.durable_barrier().await?;
                return held(grown).take(&row);
            }
            AppendOutcome::Elsewhere { .. } => is_unsure = true,
        }
    }
    Err(StoreError::Overloaded { operation: "log.append" })
}

const fn kind(record: &Record) -> LogKind {
    match record {
        Record::Lease { .. } => LogKind::Lease,
        Record::Renewal { .. } => LogKind::Renewal,
        Record::Policy { .. } => LogKind::Policy,
    }
}
