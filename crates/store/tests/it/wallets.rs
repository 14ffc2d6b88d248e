//! Balances, development credit, nonces.

use std::time::Duration;

use cocoon_ledger::{Field, Rejection};
use cocoon_primitives::Timestamp;
use cocoon_store::{Balance, StoreError};

use crate::fixture::{Fixture, NOW, OTHER_WALLET, WALLET, nano};

#[tokio::test]
async fn a_wallet_that_nobody_credited_has_nothing() {
    let fixture = Fixture::open();
    assert_eq!(fixture.balance().await, Balance::default());
    fixture.store.ensure_wallet(WALLET, [1; 32], NOW).await.unwrap();
    fixture.store.ensure_wallet(WALLET, [1; 32], NOW).await.unwrap();
    assert_eq!(fixture.balance().await, Balance::default());
    fixture.assert_clean().await;
}

#[tokio::test]
async fn credit_is_given_once_for_each_reference() {
    let fixture = Fixture::with_credit(100).await;
    let again = fixture.store.credit(WALLET, nano(100), [1; 16], NOW).await.unwrap();
    assert_eq!(again.credited, nano(100));
    let more = fixture.store.credit(WALLET, nano(5), [2; 16], NOW).await.unwrap();
    assert_eq!(more, Balance { credited: nano(105), available: nano(105), ..Balance::default() });
    for (wallet, amount, field) in
        [(WALLET, 99, Field::Amount), (OTHER_WALLET, 100, Field::Accounts)]
    {
        let other = fixture.store.credit(wallet, nano(amount), [1; 16], NOW).await;
        let Err(StoreError::Ledger { source, .. }) = other else { panic!("{other:?}") };
        assert_eq!(source, Rejection::ExistsWithDifferent(field));
    }
    assert_eq!(fixture.balance().await.credited, nano(105));
    fixture.assert_clean().await;
}

#[tokio::test]
async fn a_nonce_is_fresh_once_and_never_after_it_expired() {
    let fixture = Fixture::open();
    let store = &fixture.store;
    let end = NOW.saturating_add(Duration::from_secs(60));
    assert!(store.consume_nonce([1; 16], end, NOW).await.unwrap());
    assert!(!store.consume_nonce([1; 16], end, NOW).await.unwrap());
    assert!(store.consume_nonce([2; 16], end, NOW).await.unwrap());
    // At its end it is forgotten, and is no longer fresh either.
    assert!(store.consume_nonce([3; 16], Timestamp::from_millis(u64::MAX), end).await.unwrap());
    assert!(!store.consume_nonce([1; 16], end, end).await.unwrap());
    assert!(!store.consume_nonce([3; 16], Timestamp::from_millis(u64::MAX), end).await.unwrap());
}

#[tokio::test]
async fn of_many_that_consume_a_nonce_at_once_one_succeeds() {
    let fixture = Fixture::open();
    let end = NOW.saturating_add(Duration::from_secs(60));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = fixture.store.clone();
        tasks.spawn(async move { store.consume_nonce([1; 16], end, NOW).await.unwrap() });
    }
    let fresh = tasks.join_all().await.into_iter().filter(|fresh| *fresh).count();
    assert_eq!(fresh, 1);
}
