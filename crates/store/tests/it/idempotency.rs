//! Idempotency keys: who gets one, what a repeat gets, and what the ledger says of the rest.

use std::sync::Arc;
use std::time::Duration;

use cocoon_primitives::{Timestamp, WalletAddress};
use cocoon_store::{
    Claim, ClaimOutcome, Conclusion, ConclusionOutcome, Outcome, ReserveOutcome, SettleOutcome,
    Settlement, Store,
};
use tokio::task::JoinSet;

use crate::fixture::{EXPIRY, Fixture, NOW, OTHER_WALLET, WALLET, id, reservation, settlement};

/// When every claim of [`claim`] expires.
const END: Timestamp = Timestamp::from_seconds(1_800_086_400);
const ROOM: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn lookup(key: u8) -> [u8; 32] {
    [key; 32]
}

/// Request `number` under `key`, with the digest that all requests of this page share.
fn claim(key: u8, number: u64) -> Claim {
    Claim {
        lookup: lookup(key),
        wallet: WALLET,
        request_mac: [7; 32],
        request_id: id(number),
        now: NOW,
        expires_at: END,
        claims_max: 1000,
    }
}

fn conclusion(key: u8, number: u64, answer: Option<&[u8]>) -> Conclusion {
    Conclusion {
        lookup: lookup(key),
        request_id: id(number),
        answer: answer.map(|bytes| Arc::new(bytes.to_vec())),
        bytes_per_account: ROOM,
        bytes_total: ROOM,
    }
}

async fn claimed(store: &Store, key: u8, number: u64) -> ClaimOutcome {
    store.claim(claim(key, number), |_| false).await.expect("it answers")
}

/// Reserves and settles request `number` with this end.
async fn run(store: &Store, number: u64, tokens: u64, outcome: Outcome) {
    let held = store.reserve(reservation(number, 100)).await.expect("it answers");
    assert_eq!(held, ReserveOutcome::Reserved);
    let ended = Settlement { outcome, ..settlement(number, tokens) };
    let settled = store.settle(ended).await.expect("it answers");
    assert!(matches!(settled, SettleOutcome::Settled { .. }), "{settled:?}");
}

/// What the triggers count for an account: claims, bytes, and bytes of all.
fn counted(fixture: &Fixture, wallet: &WalletAddress) -> (i64, i64, i64) {
    let raw = fixture.raw();
    let total = raw.query_row("SELECT bytes FROM idempotency_total", (), |row| row.get(0));
    let account = raw.query_row(
        "SELECT claims, bytes FROM idempotency_accounts WHERE wallet = ?1",
        (wallet.to_bytes().to_vec(),),
        |row| Ok((row.get(0)?, row.get(1)?)),
    );
    let (claims, bytes) = account.unwrap_or((0, 0));
    (claims, bytes, total.expect("there is a total"))
}

#[tokio::test]
async fn a_repeat_gets_the_answer_and_another_request_does_not() {
    let fixture = Fixture::with_credit(1000).await;
    let store = &fixture.store;
    assert!(!store.has_claim(lookup(1)).await.unwrap());
    assert_eq!(claimed(store, 1, 1).await, ClaimOutcome::Claimed);
    assert!(store.has_claim(lookup(1)).await.unwrap());
    let held = store.reserve(reservation(1, 100)).await.expect("it answers");
    assert_eq!(held, ReserveOutcome::Reserved);
    assert_eq!(claimed(store, 1, 2).await, ClaimOutcome::Running { request_id: id(1) });

    let settled = store.settle(settlement(1, 30)).await.expect("it answers");
    assert!(matches!(settled, SettleOutcome::Settled { .. }));
    let kept = store.conclude_claim(conclusion(1, 1, Some(b"sealed"))).await.unwrap();
    assert_eq!(kept, ConclusionOutcome::Kept);
    assert_eq!(claimed(store, 1, 3).await, ClaimOutcome::Kept { request_id: id(1) });
    let answer = store.kept_answer(lookup(1), id(1)).await.unwrap();
    assert_eq!(answer.as_deref(), Some(&b"sealed"[..]));
    assert_eq!(store.kept_answer(lookup(1), id(2)).await.unwrap(), None);
    // The first answer stays.
    let again = store.conclude_claim(conclusion(1, 1, Some(b"other"))).await.unwrap();
    assert_eq!(again, ConclusionOutcome::Gone);

    let other = Claim { request_mac: [8; 32], ..claim(1, 4) };
    assert_eq!(store.claim(other, |_| false).await.unwrap(), ClaimOutcome::Mismatch);
    assert_eq!(claimed(store, 2, 5).await, ClaimOutcome::Claimed);
    assert_eq!(counted(&fixture, &WALLET), (2, 6, 6));
}

#[tokio::test]
async fn a_claim_without_an_answer_stands_as_its_request_does() {
    let fixture = Fixture::with_credit(10_000).await;
    let store = &fixture.store;
    for (key, tokens, outcome, is_spent) in [
        (1, 30, Outcome::Completed, true),
        (2, 30, Outcome::ClientGone, true),
        (3, 30, Outcome::WorkerLost, true),
        (4, 0, Outcome::Failed, false),
        (5, 0, Outcome::Refused, false),
    ] {
        let number = u64::from(key);
        assert_eq!(claimed(store, key, number).await, ClaimOutcome::Claimed);
        run(store, number, tokens, outcome).await;
        // As after `kill -9`: nobody concludes it.
        let expected = if is_spent {
            ClaimOutcome::Spent { request_id: id(number) }
        } else {
            ClaimOutcome::Claimed
        };
        assert_eq!(claimed(store, key, 100 + number).await, expected, "{outcome:?}");
    }
    // Never reserved.
    assert_eq!(claimed(store, 6, 6).await, ClaimOutcome::Claimed);
    assert_eq!(claimed(store, 6, 7).await, ClaimOutcome::Claimed);
    // Reserved, and expired back to its owner.
    let held = store.reserve(reservation(7, 100)).await.expect("it answers");
    assert_eq!(held, ReserveOutcome::Reserved);
    assert_eq!(claimed(store, 6, 8).await, ClaimOutcome::Running { request_id: id(7) });
    assert_eq!(store.expire_reservations(EXPIRY, 10).await.unwrap(), [id(7)]);
    assert_eq!(claimed(store, 6, 9).await, ClaimOutcome::Claimed);
    fixture.assert_clean().await;
}

#[tokio::test]
async fn a_live_request_keeps_its_claim_whatever_the_ledger_says() {
    let fixture = Fixture::with_credit(1000).await;
    let store = &fixture.store;
    let again = async |number| {
        let is_live = |request| request == id(1);
        store.claim(claim(1, number), is_live).await.expect("it answers")
    };
    let running = ClaimOutcome::Running { request_id: id(1) };
    assert_eq!(claimed(store, 1, 1).await, ClaimOutcome::Claimed);
    // About to be reserved.
    assert_eq!(again(2).await, running);
    // Settled, its answer on the way.
    run(store, 1, 30, Outcome::Completed).await;
    assert_eq!(again(3).await, running);
    let other = Claim { request_mac: [8; 32], ..claim(1, 4) };
    assert_eq!(store.claim(other, |_| true).await.unwrap(), ClaimOutcome::Mismatch);
    let kept = store.conclude_claim(conclusion(1, 1, Some(b"sealed"))).await.unwrap();
    assert_eq!(kept, ConclusionOutcome::Kept);
    assert_eq!(again(5).await, ClaimOutcome::Kept { request_id: id(1) });
}

#[tokio::test]
async fn a_conclusion_frees_keeps_or_spends() {
    let fixture = Fixture::with_credit(10_000).await;
    let store = &fixture.store;
    let end = async |key: u8, answer: Option<&[u8]>| {
        store.conclude_claim(conclusion(key, u64::from(key), answer)).await.expect("it answers")
    };
    for key in 1..=7 {
        assert_eq!(claimed(store, key, u64::from(key)).await, ClaimOutcome::Claimed);
    }
    // Refused before it was reserved.
    assert_eq!(end(1, None).await, ConclusionOutcome::Freed);
    assert_eq!(end(1, None).await, ConclusionOutcome::Gone);
    // Still open.
    let held = store.reserve(reservation(2, 100)).await.expect("it answers");
    assert_eq!(held, ReserveOutcome::Reserved);
    assert_eq!(end(2, Some(b"early")).await, ConclusionOutcome::Open);
    // Broken off: nothing of it is kept, whatever the caller has.
    run(store, 3, 30, Outcome::WorkerLost).await;
    assert_eq!(end(3, Some(b"half")).await, ConclusionOutcome::Spent);
    run(store, 4, 0, Outcome::Failed).await;
    assert_eq!(end(4, Some(b"nothing")).await, ConclusionOutcome::Freed);
    // Complete, with and without an answer to keep.
    run(store, 5, 30, Outcome::Completed).await;
    assert_eq!(end(5, None).await, ConclusionOutcome::Spent);
    run(store, 6, 30, Outcome::Completed).await;
    assert_eq!(end(6, Some(b"whole")).await, ConclusionOutcome::Kept);
    // Complete at no price.
    run(store, 7, 0, Outcome::Completed).await;
    assert_eq!(end(7, Some(b"free")).await, ConclusionOutcome::Kept);
    assert_eq!(counted(&fixture, &WALLET), (5, 9, 9));
}

#[tokio::test]
async fn an_answer_without_room_leaves_its_claim_spent() {
    let fixture = Fixture::with_credit(10_000).await;
    let store = &fixture.store;
    for key in 1..=4 {
        assert_eq!(claimed(store, key, u64::from(key)).await, ClaimOutcome::Claimed);
        run(store, u64::from(key), 30, Outcome::Completed).await;
    }
    let end = async |key: u8, account: u64, total: u64| {
        let asked = conclusion(key, u64::from(key), Some(&[9; 100]));
        let asked = Conclusion { bytes_per_account: account, bytes_total: total, ..asked };
        store.conclude_claim(asked).await.expect("it answers")
    };
    assert_eq!(end(1, 99, ROOM).await, ConclusionOutcome::Spent);
    assert_eq!(end(2, 100, ROOM).await, ConclusionOutcome::Kept);
    assert_eq!(end(3, 199, ROOM).await, ConclusionOutcome::Spent);
    assert_eq!(end(4, ROOM, 199).await, ConclusionOutcome::Spent);
    assert_eq!(claimed(store, 1, 5).await, ClaimOutcome::Spent { request_id: id(1) });
    assert_eq!(counted(&fixture, &WALLET), (4, 100, 100));
}

#[tokio::test]
async fn an_account_holds_a_bounded_number_of_claims() {
    let fixture = Fixture::open();
    let store = &fixture.store;
    for number in 0..3 {
        assert_eq!(claimed(store, number, u64::from(number)).await, ClaimOutcome::Claimed);
    }
    let full = Claim { claims_max: 3, ..claim(9, 9) };
    assert_eq!(store.claim(full.clone(), |_| false).await.unwrap(), ClaimOutcome::LimitReached);
    // One that is free again makes no further claim.
    let again = Claim { claims_max: 3, ..claim(0, 10) };
    assert_eq!(store.claim(again, |_| false).await.unwrap(), ClaimOutcome::Claimed);
    let others = Claim { wallet: OTHER_WALLET, ..full };
    assert_eq!(store.claim(others, |_| false).await.unwrap(), ClaimOutcome::Claimed);
}

#[tokio::test]
async fn claims_expire_and_are_forgotten_in_steps() {
    let fixture = Fixture::with_credit(100_000).await;
    let store = &fixture.store;
    let big = vec![3; 6 << 20];
    for key in 1..=5 {
        let number = u64::from(key);
        assert_eq!(claimed(store, key, number).await, ClaimOutcome::Claimed);
        run(store, number, 30, Outcome::Completed).await;
        let room = Conclusion {
            bytes_per_account: u64::MAX,
            bytes_total: u64::MAX,
            ..conclusion(key, number, Some(&big))
        };
        assert_eq!(store.conclude_claim(room).await.unwrap(), ConclusionOutcome::Kept);
    }
    assert_eq!(claimed(store, 6, 6).await, ClaimOutcome::Claimed);
    let late = reservation(6, 100);
    let late = cocoon_store::Reservation { expires_at: END.saturating_add(DAY), ..late };
    assert_eq!(store.reserve(late).await.unwrap(), ReserveOutcome::Reserved);

    assert_eq!(store.forget_claims(NOW).await.unwrap(), (0, false));
    // An expired claim may be taken before anybody has forgotten it, and lasts anew.
    let next = Claim { now: END, expires_at: END.saturating_add(DAY), ..claim(1, 11) };
    assert_eq!(store.claim(next, |_| false).await.unwrap(), ClaimOutcome::Claimed);
    // Of four answers three are as many as one call takes; the open request's claim stays.
    assert_eq!(store.forget_claims(END).await.unwrap(), (3, true));
    assert_eq!(store.forget_claims(END).await.unwrap(), (1, false));
    assert_eq!(counted(&fixture, &WALLET), (2, 0, 0));
    let open = Claim { now: END, ..claim(6, 12) };
    assert_eq!(
        store.claim(open, |_| false).await.unwrap(),
        ClaimOutcome::Running { request_id: id(6) }
    );
    fixture.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_equal_claims_one_wins() {
    let fixture = Fixture::with_credit(10_000).await;
    let second = Store::open(&fixture.path()).expect("a second handle opens");
    let mut tasks = JoinSet::new();
    for (number, store) in (1..=64).zip([&fixture.store, &second].into_iter().cycle()) {
        let store = store.clone();
        tasks.spawn(async move {
            // A process with two handles would hold its own requests apart; here the reservation
            // has to come first.
            let held = store.reserve(reservation(number, 10)).await.unwrap();
            assert_eq!(held, ReserveOutcome::Reserved);
            store.claim(claim(1, number), |_| false).await.unwrap()
        });
    }
    let outcomes = tasks.join_all().await;
    let won = outcomes.iter().filter(|outcome| **outcome == ClaimOutcome::Claimed);
    assert_eq!(won.count(), 1);
    let running = |outcome: &&ClaimOutcome| matches!(outcome, ClaimOutcome::Running { .. });
    assert_eq!(outcomes.iter().filter(running).count(), 63);
}

#[tokio::test]
async fn a_store_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch(include_str!("../../src/schema/0001.sql")).unwrap();
    raw.pragma_update(None, "application_id", 0x636f_636e).unwrap();
    raw.pragma_update(None, "user_version", 1).unwrap();
    raw.execute(
        "INSERT INTO wallets (address, public_key, created_at) VALUES (?1, ?2, 1)",
        (WALLET.to_bytes().to_vec(), [2; 32]),
    )
    .unwrap();
    raw.close().unwrap();

    let store = Store::open(&path).unwrap();
    assert_eq!(claimed(&store, 1, 1).await, ClaimOutcome::Claimed);
    let known = store.create_key(crate::fixture::new_key(crate::fixture::KEY, None)).await;
    assert_eq!(known.unwrap(), cocoon_store::CreateKeyOutcome::Created, "the wallet is there");
    store.close().await;
    // Once.
    let again = Store::open(&path).unwrap();
    let version: i64 = rusqlite::Connection::open(&path)
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 3);
    assert!(again.check().await.unwrap().is_clean());
}

#[tokio::test]
async fn the_database_itself_keeps_the_counts() {
    let fixture = Fixture::with_credit(1000).await;
    assert_eq!(claimed(&fixture.store, 1, 1).await, ClaimOutcome::Claimed);
    let raw = fixture.raw();
    for change in [
        "UPDATE idempotency_claims SET bytes = 5",
        "UPDATE idempotency_claims SET answer = x'00'",
        "UPDATE idempotency_claims SET lookup = x'00'",
        "INSERT INTO idempotency_claims (lookup, wallet, request_mac, request, expires_at, bytes,
           answer) SELECT randomblob(32), wallet, request_mac, request, 0, 1, x'00'
         FROM idempotency_claims",
        "UPDATE idempotency_total SET bytes = -1",
        "UPDATE idempotency_accounts SET claims = -1",
    ] {
        raw.execute(change, ()).expect_err(change);
    }
    // Another request cannot end this one's claim.
    let stranger = conclusion(1, 2, None);
    let ended = fixture.store.conclude_claim(stranger).await.unwrap();
    assert_eq!(ended, ConclusionOutcome::Gone);
    assert_eq!(counted(&fixture, &WALLET), (1, 0, 0));
}
