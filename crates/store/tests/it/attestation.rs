//! The log of leases: order, atomicity, and what the database itself refuses.

use cocoon_primitives::{Digest, Timestamp};
use cocoon_store::{AppendOutcome, LogKind, LogRow, NewEvidence, NewLogEntry, StoreError};

use crate::fixture::{Fixture, NOW};

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

/// A lease on the evidence of this number, or without one a policy.
fn entry(index: u64, evidence: Option<u8>) -> NewLogEntry {
    NewLogEntry {
        index,
        at: NOW,
        kind: if evidence.is_some() { LogKind::Lease } else { LogKind::Policy },
        entry: format!("entry {index}").into_bytes(),
        evidence: evidence
            .map(|number| NewEvidence { digest: digest(number), bytes: vec![number; 100] }),
    }
}

async fn appended(fixture: &Fixture, new: NewLogEntry) {
    let outcome = fixture.store.append_log(new).await.expect("it answers");
    assert_eq!(outcome, AppendOutcome::Appended);
}

#[tokio::test]
async fn entries_are_read_back_in_pages() {
    let fixture = Fixture::open();
    assert_eq!(fixture.store.log_entries(0, 10).await.unwrap(), []);
    appended(&fixture, entry(0, None)).await;
    for index in 1..5 {
        appended(&fixture, entry(index, Some(7))).await;
    }
    let all = fixture.store.log_entries(0, 10).await.unwrap();
    assert_eq!(all.iter().map(|row| row.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let policy = LogRow {
        index: 0,
        kind: LogKind::Policy,
        at: NOW,
        entry: b"entry 0".to_vec(),
        evidence_digest: None,
    };
    assert_eq!(all[0], policy);
    assert_eq!((all[1].kind, all[1].evidence_digest), (LogKind::Lease, Some(digest(7))));
    for (start, limit, from, to) in
        [(0, 2, 0, 2), (2, 2, 2, 4), (4, 9, 4, 5), (5, 9, 5, 5), (u64::MAX, 9, 5, 5), (0, 0, 0, 0)]
    {
        let page = fixture.store.log_entries(start, limit).await.unwrap();
        assert_eq!(page, all[from..to], "{start} {limit}");
    }
    assert_eq!(fixture.store.evidence(digest(7)).await.unwrap(), Some(vec![7; 100]));
    assert_eq!(fixture.store.evidence(digest(8)).await.unwrap(), None);
    let kept: i64 =
        fixture.raw().query_row("SELECT count(*) FROM evidence", (), |row| row.get(0)).unwrap();
    assert_eq!(kept, 1, "the same evidence is kept once");
}

#[tokio::test]
async fn a_page_ends_before_it_is_too_large() {
    let fixture = Fixture::open();
    for index in 0..6 {
        let large = NewLogEntry { entry: vec![1; 1_048_000], ..entry(index, None) };
        appended(&fixture, large).await;
    }
    let page = fixture.store.log_entries(0, 1000).await.unwrap();
    assert_eq!(page.len(), 4);
    assert_eq!(fixture.store.log_entries(4, 1000).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_entry_is_the_next_one_or_none() {
    let fixture = Fixture::open();
    let ahead = fixture.store.append_log(entry(1, Some(1))).await.unwrap();
    assert_eq!(ahead, AppendOutcome::Elsewhere { next: 0 });
    // Its evidence is not there either.
    assert_eq!(fixture.store.evidence(digest(1)).await.unwrap(), None);
    appended(&fixture, entry(0, None)).await;
    let behind = fixture.store.append_log(entry(0, Some(1))).await.unwrap();
    assert_eq!(behind, AppendOutcome::Elsewhere { next: 1 });
    assert_eq!(fixture.store.log_entries(0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn oversized_and_mismatched_parts_are_refused_whole() {
    let fixture = Fixture::open();
    let large = |bytes| Some(NewEvidence { digest: digest(1), bytes: vec![0; bytes] });
    for new in [
        NewLogEntry { evidence: large((1 << 20) + 1), ..entry(0, Some(1)) },
        NewLogEntry { entry: vec![0; (1 << 20) + 129], ..entry(0, Some(1)) },
        NewLogEntry { entry: Vec::new(), ..entry(0, Some(1)) },
        NewLogEntry { kind: LogKind::Policy, ..entry(0, Some(1)) },
        NewLogEntry { kind: LogKind::Renewal, ..entry(0, None) },
    ] {
        let refused = fixture.store.append_log(new).await;
        assert!(matches!(refused, Err(StoreError::Sql { .. })), "{refused:?}");
    }
    assert_eq!(fixture.store.evidence(digest(1)).await.unwrap(), None);
    assert_eq!(fixture.store.log_entries(0, 1).await.unwrap(), []);
    appended(&fixture, entry(0, Some(1))).await;
}

#[tokio::test]
async fn the_log_goes_on_after_a_restart() {
    let fixture = Fixture::open();
    appended(&fixture, entry(0, Some(1))).await;
    let path = fixture.path();
    fixture.store.clone().close().await;
    let reopened = cocoon_store::Store::open(&path).unwrap();
    assert_eq!(reopened.log_entries(0, 10).await.unwrap().len(), 1);
    assert_eq!(reopened.evidence(digest(1)).await.unwrap(), Some(vec![1; 100]));
    let later = NewLogEntry { at: Timestamp::from_seconds(1), ..entry(1, Some(1)) };
    assert_eq!(reopened.append_log(later).await.unwrap(), AppendOutcome::Appended);
}

#[tokio::test]
async fn the_database_itself_keeps_the_log() {
    let fixture = Fixture::open();
    for index in 0..3 {
        appended(&fixture, entry(index, Some(1))).await;
    }
    let raw = fixture.raw();
    raw.pragma_update(None, "foreign_keys", true).unwrap();
    for change in [
        "UPDATE attestation_log SET entry = x'00' WHERE idx = 1",
        "DELETE FROM attestation_log WHERE idx = 2",
        "INSERT INTO attestation_log (idx, at, kind, entry) VALUES (4, 0, 3, x'00')",
        "INSERT INTO attestation_log (idx, at, kind, entry) VALUES (-1, 0, 3, x'00')",
        "INSERT INTO attestation_log (idx, at, kind, entry, evidence_digest)
         VALUES (3, 0, 1, x'00', zeroblob(32))",
        "UPDATE evidence SET bytes = x'00'",
        "DELETE FROM evidence",
    ] {
        raw.execute(change, ()).expect_err(change);
    }
    assert_eq!(fixture.store.log_entries(0, 10).await.unwrap().len(), 3);
}
