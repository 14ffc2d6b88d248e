//! The log over a real store: what is recorded is proved, what is not is refused.

use cocoon_attest::enrol::evidence_digest;
use cocoon_attest::log::{leaf_hash, verify_consistency, verify_inclusion};
use cocoon_attest::policy::Policy;
use cocoon_primitives::{Assurance, Digest, MockClock, Timestamp, WalletAddress, WorkerId};
use cocoon_store::{AppendOutcome, LogKind, NewLogEntry};
use tempfile::TempDir;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

struct Fixture {
    folder: TempDir,
    store: Store,
    clock: Arc<MockClock>,
    lifecycle: Lifecycle,
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("store.sqlite")).expect("a new store opens");
        Self { folder, store, clock: Arc::new(MockClock::at(NOW)), lifecycle: Lifecycle::new() }
    }

    async fn log(&self) -> Arc<Transparency> {
        let opened =
            Transparency::open(self.store.clone(), self.clock.clone(), key(), &self.lifecycle);
        opened.await.expect("the log is read")
    }
}

/// The policy of this text, as far as the log knows.
fn policy(text: &[u8]) -> Arc<InForce> {
    let file = b"schema = 1\nversion = 1\nnot_after = \"2999-01-01T00:00:00Z\"\n\
        mode = \"development\"\n";
    let policy = Policy::parse(file).expect("a policy");
    Arc::new(InForce { policy, text: text.to_vec(), signatures: Vec::new() })
}

fn under() -> Arc<InForce> {
    policy(b"policy")
}

fn lease(number: u8) -> Lease {
    Lease {
        lease_id: LeaseId::from_bytes([number; 16]),
        worker_id: WorkerId::from_bytes([number; 32]),
        receipt_key: [1; 32],
        tls_spki_sha256: Digest::from_bytes([2; 32]),
        payee: WalletAddress::new(0, [3; 32]),
        models: Vec::new(),
        assurance: Assurance::Software,
        evidence_digest: Digest::from_bytes([number; 32]),
        policy_digest: Digest::from_bytes([5; 32]),
        issued: NOW,
        expires: NOW,
        hpke_key: [6; 32],
        image: "image".into(),
    }
}

#[tokio::test]
async fn what_is_recorded_is_proved_to_whoever_has_a_head() {
    let fixture = Fixture::new();
    let log = fixture.log().await;
    let empty = log.head();
    assert!(empty.verify(&key().verifying_key().to_bytes()));
    assert_eq!((empty.size, empty.at), (0, NOW));
    log.record_policy(b"policy").await.expect("recorded");
    let first = log.head();
    for number in 1..6 {
        log.record_renewal(&lease(number), &[number; 10], &under()).await.expect("recorded");
    }
    let head = log.head();
    assert_eq!((first.size, head.size), (1, 6));
    assert!(head.verify(&key().verifying_key().to_bytes()));
    let rows = fixture.store.log_entries(0, 10).await.expect("entries");
    for row in &rows {
        let (hash, path) = log.inclusion(row.index, head.size).expect("a proof");
        assert_eq!(hash, leaf_hash(&row.entry));
        assert_eq!(verify_inclusion(&hash, row.index, head.size, &path, &head.root), Ok(()));
    }
    let path = log.consistency(first.size, head.size).expect("a proof");
    let verdict = verify_consistency(first.size, head.size, &path, &first.root, &head.root);
    assert_eq!(verdict, Ok(()));
    let kept = fixture.store.evidence(evidence_digest(&[3; 10])).await.expect("it answers");
    assert_eq!(kept, Some(vec![3; 10]));
    assert_eq!((log.inclusion(6, 6), log.consistency(0, 7)), (None, None));
}

#[tokio::test]
async fn a_restart_goes_on_from_the_same_root() {
    let fixture = Fixture::new();
    let log = fixture.log().await;
    log.record_policy(b"policy").await.expect("recorded");
    log.record_renewal(&lease(1), b"evidence", &under()).await.expect("recorded");
    let before = log.head();
    drop(log);
    let log = fixture.log().await;
    let after = log.head();
    assert_eq!((after.size, after.root), (before.size, before.root));
    // The policy that was in force still is.
    log.record_policy(b"policy").await.expect("nothing to do");
    assert_eq!(log.size(), 2);
    log.record_policy(b"another").await.expect("recorded");
    log.record_policy(b"policy").await.expect("recorded");
    assert_eq!(log.size(), 4);
}

#[tokio::test]
async fn a_head_is_signed_anew_when_it_ages_or_the_log_grows() {
    let fixture = Fixture::new();
    let log = fixture.log().await;
    let first = log.head();
    fixture.clock.advance(Duration::from_millis(999));
    assert_eq!(log.head(), first);
    fixture.clock.advance(Duration::from_millis(1));
    assert_eq!(log.head().at, NOW.saturating_add(Duration::from_secs(1)));
    log.record_policy(b"policy").await.expect("recorded");
    assert_eq!(log.head().size, 1);
}

#[tokio::test]
async fn what_the_store_refuses_is_not_recorded() {
    let fixture = Fixture::new();
    let log = fixture.log().await;
    log.record_policy(b"policy").await.expect("recorded");
    let large = vec![0; (1 << 20) + 1];
    log.record_renewal(&lease(1), &large, &under()).await.expect_err("it is over the bound");
    assert_eq!(log.size(), 1);
    log.record_renewal(&lease(2), b"evidence", &under()).await.expect("recorded");
    assert_eq!(log.size(), 2);
    fixture.store.clone().close().await;
    log.record_renewal(&lease(3), b"evidence", &under()).await.expect_err("the store is closed");
    assert_eq!(log.size(), 2);
}

/// A policy may be in force for a moment that only an enrolment falls into.
#[tokio::test]
async fn a_policy_stands_before_the_first_lease_under_it() {
    let fixture = Fixture::new();
    let log = fixture.log().await;
    log.record_policy(b"policy").await.expect("recorded");
    log.record_renewal(&lease(1), b"evidence", &policy(b"fleeting")).await.expect("recorded");
    log.record_renewal(&lease(2), b"more", &policy(b"fleeting")).await.expect("recorded");
    log.record_renewal(&lease(3), b"again", &policy(b"policy")).await.expect("recorded");
    drop(log);
    // A restart knows them too.
    let log = fixture.log().await;
    log.record_renewal(&lease(4), b"late", &policy(b"fleeting")).await.expect("recorded");
    let rows = fixture.store.log_entries(0, 10).await.expect("entries");
    let kinds: Vec<_> = rows.iter().map(|row| row.kind).collect();
    let renewals = [LogKind::Renewal; 4];
    assert_eq!(kinds, [&[LogKind::Policy; 2], &renewals[..]].concat());
    let fleeting = Entry::decode(&rows[1].entry).expect("an entry").record;
    assert_eq!(fleeting, Record::Policy { policy: b"fleeting".to_vec() });
    assert_eq!(log.size(), 6);
}

/// As after a failure that left open whether the entry was kept.
#[tokio::test]
async fn an_entry_that_memory_does_not_know_is_found() {
    let fixture = Fixture::new();
    let log = fixture.log().await;
    log.record_policy(b"policy").await.expect("recorded");
    let entry = Entry { at: NOW, record: Record::Policy { policy: b"unseen".to_vec() } };
    let new = NewLogEntry {
        index: 1,
        at: NOW,
        kind: LogKind::Policy,
        entry: entry.encode(),
        evidence: None,
    };
    let outcome = fixture.store.append_log(new).await.expect("it answers");
    assert_eq!(outcome, AppendOutcome::Appended);
    log.record_renewal(&lease(1), b"evidence", &under()).await.expect("recorded");
    let head = log.head();
    assert_eq!(head.size, 3);
    let reread = fixture.log().await.head();
    assert_eq!((reread.size, reread.root), (head.size, head.root));
}

#[tokio::test]
async fn a_drain_ends_the_writer() {
    let fixture = Fixture::new();
    let log = fixture.log().await;
    log.record_policy(b"policy").await.expect("recorded");
    let drained = fixture.lifecycle.drain(Duration::from_secs(5)).await;
    assert_eq!(drained, cocoon_runtime::Drained::Finished);
    log.record_policy(b"another").await.expect_err("nothing is recorded any more");
    assert!(fixture.folder.path().exists());
}

#[test]
fn the_places_of_leases_are_bounded() {
    let mut leases = grown::Leases::default();
    for number in 0..20_000_u64 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        leases.insert(LeaseId::from_bytes(id), number);
    }
    assert_eq!(leases.get(LeaseId::from_bytes([0; 16])), None);
    let mut last = [0; 16];
    last[..8].copy_from_slice(&19_999_u64.to_be_bytes());
    assert_eq!(leases.get(LeaseId::from_bytes(last)), Some(19_999));
}
