//! The file: its mode, its versions, opening and closing, and what it refuses by itself.

use std::os::unix::fs::PermissionsExt;

use cocoon_store::{ReserveOutcome, Store, StoreError};

use crate::fixture::{EXPIRY, Fixture, NOW, WALLET, id, nano, reservation, settlement};

#[tokio::test]
async fn files_and_their_folder_are_their_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made").join("store.sqlite");
    let store = Store::open(&path).unwrap();
    store.credit(WALLET, nano(1), [1; 16], NOW).await.unwrap();
    let mode = |name: &str| {
        let file = path.with_file_name(name);
        std::fs::metadata(&file).expect(name).permissions().mode() & 0o777
    };
    for name in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let parent = path.parent().expect("a folder");
    assert_eq!(std::fs::metadata(parent).unwrap().permissions().mode() & 0o777, 0o700);
    store.close().await;
    assert!(!path.with_file_name("store.sqlite-wal").exists(), "an orderly end leaves one file");
}

#[tokio::test]
async fn a_store_goes_on_where_it_was_dropped() {
    let fixture = Fixture::with_credit(1000).await;
    let _ = fixture.store.reserve(reservation(1, 100)).await.unwrap();
    let _ = fixture.store.reserve(reservation(2, 100)).await.unwrap();
    let _ = fixture.store.settle(settlement(1, 30)).await.unwrap();
    let before = fixture.balance().await;
    let path = fixture.path();
    // Dropped without being closed; its threads may still be at it while the file opens again.
    let Fixture { folder: _folder, store } = fixture;
    drop(store);
    let reopened = Store::open(&path).unwrap();
    assert_eq!(reopened.balance(WALLET).await.unwrap(), before);
    let row = reopened.request(id(2)).await.unwrap().expect("it was reserved");
    assert_eq!(row.state, cocoon_store::RequestState::Open);
    assert_eq!(reopened.expire_reservations(EXPIRY, 10).await.unwrap(), [id(2)]);
    let report = reopened.check().await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let fixture = Fixture::with_credit(10).await;
    let clone = fixture.store.clone();
    clone.durable_barrier().await.unwrap();
    fixture.store.close().await;
    for refused in [
        clone.balance(WALLET).await.map(drop),
        clone.credit(WALLET, nano(1), [2; 16], NOW).await.map(drop),
        clone.durable_barrier().await,
    ] {
        assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
    }
    // Closing twice is no harm.
    clone.close().await;
}

#[tokio::test]
async fn what_was_queued_is_done_before_a_store_closes() {
    let fixture = Fixture::with_credit(1000).await;
    let path = fixture.path();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50 {
        let store = fixture.store.clone();
        tasks.spawn(async move { store.reserve(reservation(number, 1)).await });
    }
    fixture.store.clone().close().await;
    let outcomes = tasks.join_all().await;
    let held = outcomes.iter().filter(|one| matches!(one, Ok(ReserveOutcome::Reserved))).count();
    let reopened = Store::open(&path).unwrap();
    let reserved = reopened.balance(WALLET).await.unwrap().reserved;
    assert_eq!(reserved, nano(u64::try_from(held).expect("at most fifty")));
}

#[tokio::test]
async fn newer_and_foreign_files_are_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let newer = folder.path().join("newer.sqlite");
    Store::open(&newer).unwrap().close().await;
    let foreign = folder.path().join("foreign.sqlite");
    for (path, change) in [
        (&newer, "PRAGMA user_version = 99"),
        (&foreign, "CREATE TABLE theirs (row INTEGER); INSERT INTO theirs VALUES (1)"),
    ] {
        let raw = rusqlite::Connection::open(path).unwrap();
        raw.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).unwrap();
        raw.execute_batch(change).unwrap();
        raw.close().unwrap();
    }
    let before = [&newer, &foreign].map(|path| std::fs::read(path).unwrap());
    let refused = Store::open(&newer).map(drop);
    let Err(StoreError::NewerSchema { found: 99, known }) = refused else { panic!("{refused:?}") };
    assert!(refused.unwrap_err().to_string().contains(&format!("versions up to {known}")));
    let refused = Store::open(&foreign).map(drop);
    assert!(matches!(refused, Err(StoreError::ForeignFile { .. })), "{refused:?}");
    assert_eq!([&newer, &foreign].map(|path| std::fs::read(path).unwrap()), before);

    let text = folder.path().join("text.sqlite");
    std::fs::write(&text, "certainly not a database, but long enough to be looked at".repeat(40))
        .unwrap();
    let refused = Store::open(&text).map(drop);
    assert!(matches!(refused, Err(StoreError::Sql { .. })), "{refused:?}");
    let nowhere = folder.path().join("text.sqlite").join("store.sqlite");
    let refused = Store::open(&nowhere).map(drop);
    assert!(matches!(refused, Err(StoreError::File { .. })), "{refused:?}");
}

#[tokio::test]
async fn the_database_itself_refuses_what_the_ledger_would() {
    let fixture = Fixture::with_credit(1000).await;
    let _ = fixture.store.reserve(reservation(1, 100)).await.unwrap();
    let _ = fixture.store.settle(settlement(1, 30)).await.unwrap();
    let raw = fixture.raw();
    for change in [
        "UPDATE accounts SET debits_posted = 1001 WHERE kind = 1",
        "UPDATE accounts SET debits_pending = -1",
        "UPDATE transfers SET amount = 1",
        "DELETE FROM transfers",
        "UPDATE requests SET charge = 101",
        "UPDATE requests SET state = 0",
        "INSERT INTO transfers (id, debit, credit, amount, kind, pending, at)
         SELECT randomblob(16), debit, credit, 0, 4, pending, at FROM transfers WHERE kind = 3",
        "INSERT INTO transfers (id, debit, credit, amount, kind, at)
         SELECT randomblob(16), debit, randomblob(16), 0, 1, at FROM transfers",
    ] {
        raw.pragma_update(None, "foreign_keys", true).unwrap();
        raw.execute(change, ()).expect_err(change);
    }
    fixture.assert_clean().await;
}

#[tokio::test]
async fn an_audit_finds_what_was_changed_behind_the_ledgers_back() {
    for (change, word) in [
        (
            "UPDATE accounts SET credits_posted = credits_posted + 1 WHERE kind = 1",
            "wallet account",
        ),
        ("UPDATE requests SET charge = charge - 1", "charges"),
        ("UPDATE requests SET state = 0, settled_at = NULL, charge = 0, worker_share = 0", "hold"),
        ("UPDATE api_keys SET spent = spent + 1", "key_"),
        (
            "INSERT INTO transfers (id, debit, credit, amount, kind, at)
             SELECT randomblob(16), debit, credit, 1, 1, at FROM transfers WHERE kind = 3",
            "clearing account",
        ),
    ] {
        let fixture = Fixture::with_credit(1000).await;
        fixture.key(None).await;
        let _ = fixture.store.reserve(crate::fixture::keyed(1, 100)).await.unwrap();
        let _ = fixture.store.settle(settlement(1, 30)).await.unwrap();
        fixture.assert_clean().await;
        assert_ne!(fixture.raw().execute(change, ()).expect(change), 0);
        let report = fixture.store.check().await.unwrap();
        assert!(!report.is_clean());
        let found = report.problems.iter().any(|problem| problem.contains(word));
        assert!(found, "{change}: {report:#?}");
    }
}
