//! How receipts hang together: each worker's are one chain by sequence number and hash. Pure.

use std::collections::BTreeMap;

use cocoon_attest::receipt::ReceiptCore;
use cocoon_metering::split;
use cocoon_primitives::{Nano, RequestId, WorkerId};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::command::receipt::charge;

/// A verified receipt and the file that it came from.
pub(super) struct Entry {
    pub(super) file: String,
    pub(super) core: ReceiptCore,
}

/// What does not hold, or is not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Finding {
    /// A file that proves nothing.
    Refused { file: String, code: &'static str, reason: String },
    /// Two different receipts at one place of a worker's chain.
    Fork { worker_id: WorkerId, seq: u64, files: Vec<String> },
    /// A receipt whose `prev` is not the hash of the one before it.
    BrokenLink { worker_id: WorkerId, seq: u64, files: Vec<String> },
    /// Two different receipts of one request: it is charged once.
    Duplicate { request_id: RequestId, files: Vec<String> },
    /// Receipts of the chain that are not in the folder.
    Missing { worker_id: WorkerId, first_seq: u64, last_seq: u64 },
}

impl Finding {
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Refused { code, .. } => code,
            Self::Fork { .. } => "fork",
            Self::BrokenLink { .. } => "broken_link",
            Self::Duplicate { .. } => "duplicate",
            Self::Missing { .. } => "missing",
        }
    }

    /// A worker serves many payers, so what is missing is as a rule somebody else's.
    pub(super) const fn refuses(&self, completeness: Completeness) -> bool {
        match self {
            Self::Missing { .. } => matches!(completeness, Completeness::Demanded),
            _ => true,
        }
    }
}

/// Whether the folder is said to have everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completeness {
    Demanded,
    Unknown,
}

/// What was charged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    pub(super) receipts: u64,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) charge_nano: Nano,
    pub(super) commission_nano: Nano,
}

impl Totals {
    fn add(&mut self, core: &ReceiptCore) {
        let charged = charge(core);
        let commission = split(charged, core.terms.commission_bp).commission;
        self.receipts += 1;
        self.prompt_tokens = self.prompt_tokens.saturating_add(core.usage.prompt);
        self.completion_tokens = self.completion_tokens.saturating_add(core.usage.completion);
        self.charge_nano = sum(self.charge_nano, charged);
        self.commission_nano = sum(self.commission_nano, commission);
    }
}

/// More than there are coins is all of them.
fn sum(one: Nano, other: Nano) -> Nano {
    one.checked_add(other).unwrap_or(Nano::MAX)
}

/// One worker's receipts.
#[derive(Debug, Serialize)]
pub(super) struct Chain {
    pub(super) worker_id: WorkerId,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    #[serde(flatten)]
    pub(super) totals: Totals,
}

/// All chains, and what was found about them.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    pub(super) chains: Vec<Chain>,
    pub(super) findings: Vec<Finding>,
    pub(super) totals: Totals,
}

/// One place of a chain: a receipt by its hash, with every file that holds it.
type Place<'a> = BTreeMap<[u8; 32], (&'a ReceiptCore, Vec<&'a str>)>;

/// Judges verified receipts. Several files of one receipt count once.
pub(super) fn judge(entries: &[Entry]) -> Judgement {
    let mut workers: BTreeMap<WorkerId, BTreeMap<u64, Place<'_>>> = BTreeMap::new();
    let mut requests: BTreeMap<RequestId, Place<'_>> = BTreeMap::new();
    for Entry { file, core } in entries {
        let hash = hash(core);
        let places = workers.entry(core.worker_id).or_default();
        for place in
            [places.entry(core.seq).or_default(), requests.entry(core.request_id).or_default()]
        {
            place.entry(hash).or_insert((core, Vec::new())).1.push(file);
        }
    }
    let mut judged = Judgement::default();
    for (worker_id, places) in &workers {
        let chain = chain(*worker_id, places, &mut judged.findings);
        judged.chains.extend(chain);
    }
    for (request_id, place) in &requests {
        if place.len() > 1 {
            let finding = Finding::Duplicate { request_id: *request_id, files: files(place) };
            judged.findings.push(finding);
        }
        // What was charged twice is in the findings; the totals say what may be charged.
        if let Some((core, _)) = place.values().next() {
            judged.totals.add(core);
        }
    }
    judged
}

fn chain(
    worker_id: WorkerId,
    places: &BTreeMap<u64, Place<'_>>,
    findings: &mut Vec<Finding>,
) -> Option<Chain> {
    let (first_seq, last_seq) = (*places.first_key_value()?.0, *places.last_key_value()?.0);
    let mut totals = Totals::default();
    let mut before: Option<(u64, &Place<'_>)> = None;
    for (seq, place) in places {
        let seq = *seq;
        if place.len() > 1 {
            findings.push(Finding::Fork { worker_id, seq, files: files(place) });
        }
        let next = before.map_or(0, |(seq, _)| seq.saturating_add(1));
        if next < seq {
            let last_seq = seq - 1;
            findings.push(Finding::Missing { worker_id, first_seq: next, last_seq });
        } else if !follows(place, before.map(|(_, place)| place)) {
            findings.push(Finding::BrokenLink { worker_id, seq, files: files(place) });
        }
        for (core, _) in place.values() {
            totals.add(core);
        }
        before = Some((seq, place));
    }
    Some(Chain { worker_id, first_seq, last_seq, totals })
}

/// Whether every receipt here names one of those before it; the first of a worker names none.
fn follows(place: &Place<'_>, before: Option<&Place<'_>>) -> bool {
    place.values().all(|(core, _)| match before {
        Some(before) => before.contains_key(&core.prev),
        None => core.prev == [0; 32],
    })
}

fn files(place: &Place<'_>) -> Vec<String> {
    place.values().flat_map(|(_, files)| files).map(|file| (*file).to_owned()).collect()
}

/// What the next receipt's `prev` is; a core has one encoding.
fn hash(core: &ReceiptCore) -> [u8; 32] {
    Sha256::digest(core.encode()).into()
}
