//! Many callers at once, and more than one process on the file.

use cocoon_primitives::Nano;
use cocoon_store::{ReserveOutcome, SettleOutcome, Store, StoreError};
use tokio::task::JoinSet;

use crate::fixture::{Fixture, WALLET, keyed, nano, reservation, settlement};

/// Sixty-four callers over two handles, which are two connections to the file, as of two
/// processes.
fn handles(fixture: &Fixture) -> [Store; 2] {
    let second = Store::open(&fixture.path()).expect("a second handle opens");
    [fixture.store.clone(), second]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_never_overspend_a_balance() {
    let fixture = Fixture::with_credit(1000).await;
    let handles = handles(&fixture);
    let mut tasks = JoinSet::new();
    for (number, store) in (0..200).zip(handles.iter().cycle()) {
        let store = store.clone();
        tasks.spawn(async move { store.reserve(reservation(number, 10)).await.unwrap() });
    }
    let outcomes = tasks.join_all().await;
    let held = outcomes.iter().filter(|outcome| **outcome == ReserveOutcome::Reserved).count();
    assert_eq!(held, 100);
    let refused = ReserveOutcome::InsufficientFunds { available: Nano::ZERO };
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == refused).count(), 100);
    assert_eq!(fixture.balance().await.available, Nano::ZERO);
    fixture.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_never_pass_a_keys_cap() {
    let fixture = Fixture::with_credit(100_000).await;
    fixture.key(Some(500)).await;
    let mut tasks = JoinSet::new();
    for number in 0..200 {
        let store = fixture.store.clone();
        tasks.spawn(async move {
            let outcome = store.reserve(keyed(number, 10)).await.unwrap();
            if outcome != ReserveOutcome::Reserved {
                return Nano::ZERO;
            }
            // Half of what is held is charged, so that room comes back while others ask.
            match store.settle(settlement(number, 5)).await.unwrap() {
                SettleOutcome::Settled { charge, .. } => charge,
                other => panic!("{other:?}"),
            }
        });
    }
    let charges = tasks.join_all().await;
    let spent: u64 = charges.iter().map(|charge| charge.get()).sum();
    let key = &fixture.store.list_keys(WALLET).await.unwrap()[0];
    assert_eq!((key.spent, key.reserved), (nano(spent), Nano::ZERO));
    assert!((250..=500).contains(&spent), "{spent}");
    fixture.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_settlements_of_a_request_one_charges() {
    let fixture = Fixture::with_credit(1000).await;
    assert_eq!(fixture.store.reserve(reservation(1, 100)).await.unwrap(), ReserveOutcome::Reserved);
    let handles = handles(&fixture);
    let mut tasks = JoinSet::new();
    for (tokens, store) in (1..=50).zip(handles.iter().cycle()) {
        let store = store.clone();
        tasks.spawn(async move { store.settle(settlement(1, tokens)).await.unwrap() });
    }
    let outcomes = tasks.join_all().await;
    let charges = outcomes.iter().filter_map(|outcome| match outcome {
        SettleOutcome::Settled { charge, .. } => Some(*charge),
        _ => None,
    });
    let charges: Vec<_> = charges.collect();
    assert_eq!(charges, [fixture.balance().await.charged]);
    fixture.assert_clean().await;
}

#[tokio::test]
async fn a_process_that_keeps_the_lock_costs_a_transient_error() {
    let fixture = Fixture::with_credit(1000).await;
    let mut other = fixture.raw();
    let lock = rusqlite::TransactionBehavior::Immediate;
    let held = other.transaction_with_behavior(lock).expect("the lock is free");
    let refused = fixture.store.reserve(reservation(1, 10)).await;
    assert!(matches!(refused, Err(StoreError::Busy { .. })), "{refused:?}");
    assert!(refused.is_err_and(|error| error.transient()));
    // Reads go on meanwhile.
    assert_eq!(fixture.balance().await.available, nano(1000));
    held.rollback().expect("nothing was done");
    let again = fixture.store.reserve(reservation(1, 10)).await.unwrap();
    assert_eq!(again, ReserveOutcome::Reserved);
}
