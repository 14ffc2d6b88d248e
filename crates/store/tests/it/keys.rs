//! API keys: their life, their caps, what they count.

use std::time::Duration;

use cocoon_primitives::{KeyId, Nano};
use cocoon_store::{
    CreateKeyOutcome, KEYS_PER_DAY_MAX, KEYS_PER_WALLET_MAX, NewKey, ReserveOutcome, SettleOutcome,
    StoreError,
};

use crate::fixture::{
    EXPIRY, Fixture, KEY, NOW, OTHER_WALLET, WALLET, keyed, nano, new_key, settlement,
};

#[tokio::test]
async fn a_key_lives_until_it_is_revoked_or_expires() {
    let fixture = Fixture::open();
    let store = &fixture.store;
    let unknown = store.create_key(new_key(KEY, None)).await.unwrap();
    assert_eq!(unknown, CreateKeyOutcome::UnknownWallet);
    fixture.key(Some(50)).await;
    let short = KeyId::from_bytes([7; 8]);
    let created = store
        .create_key(NewKey {
            expires_at: Some(EXPIRY),
            created_at: NOW.saturating_add(Duration::from_secs(1)),
            ..new_key(short, None)
        })
        .await;
    assert_eq!(created.unwrap(), CreateKeyOutcome::Created);

    let ids = |keys: Vec<cocoon_store::KeyRow>| keys.iter().map(|key| key.id).collect::<Vec<_>>();
    let listed = store.list_keys(WALLET).await.unwrap();
    assert_eq!(listed[1].spend_cap, Some(nano(50)));
    assert_eq!(listed[1].name, "a key");
    assert_eq!(ids(listed), [short, KEY]);
    assert!(store.list_keys(OTHER_WALLET).await.unwrap().is_empty());
    assert_eq!(store.live_keys(NOW).await.unwrap().len(), 2);
    assert_eq!(ids(store.live_keys(EXPIRY).await.unwrap()), [KEY]);

    assert!(!store.revoke_key(OTHER_WALLET, KEY, NOW).await.unwrap());
    assert!(store.revoke_key(WALLET, KEY, NOW).await.unwrap());
    assert!(!store.revoke_key(WALLET, KEY, NOW).await.unwrap());
    assert_eq!(ids(store.live_keys(NOW).await.unwrap()), [short]);
    assert_eq!(store.list_keys(WALLET).await.unwrap()[1].revoked_at, Some(NOW));
}

#[tokio::test]
async fn the_last_use_only_moves_forward() {
    let fixture = Fixture::open();
    fixture.key(None).await;
    for (used_at, expected) in [(NOW, NOW), (EXPIRY, EXPIRY), (NOW, EXPIRY)] {
        fixture.store.touch_keys(vec![(KEY, used_at)]).await.unwrap();
        let key = &fixture.store.list_keys(WALLET).await.unwrap()[0];
        assert_eq!(key.last_used_at, Some(expected));
    }
}

#[tokio::test]
async fn a_wallet_has_a_bounded_number_of_live_keys() {
    let fixture = Fixture::open();
    fixture.key(None).await;
    for number in 1..u64::from(KEYS_PER_WALLET_MAX) {
        let key = new_key(KeyId::from_bytes(number.to_be_bytes()), None);
        let created = fixture.store.create_key(key).await.unwrap();
        assert_eq!(created, CreateKeyOutcome::Created);
    }
    let more = || new_key(KeyId::from_bytes([0xff; 8]), None);
    let refused = fixture.store.create_key(more()).await.unwrap();
    assert_eq!(refused, CreateKeyOutcome::LimitReached);
    assert!(fixture.store.revoke_key(WALLET, KEY, NOW).await.unwrap());
    assert_eq!(fixture.store.create_key(more()).await.unwrap(), CreateKeyOutcome::Created);
}

#[tokio::test]
async fn keys_that_die_at_once_are_bounded_by_the_day() {
    let fixture = Fixture::open();
    fixture.key(None).await;
    let second = Duration::from_secs(1);
    let mint = |number: u64, now: cocoon_primitives::Timestamp| {
        let key = NewKey {
            created_at: now,
            expires_at: Some(now.saturating_add(second)),
            ..new_key(KeyId::from_bytes(number.to_be_bytes()), None)
        };
        fixture.store.create_key(key)
    };
    let mut now = NOW;
    for number in 1..u64::from(KEYS_PER_DAY_MAX) {
        now = now.saturating_add(second);
        assert_eq!(mint(number, now).await.unwrap(), CreateKeyOutcome::Created);
    }
    now = now.saturating_add(second);
    assert_eq!(mint(1000, now).await.unwrap(), CreateKeyOutcome::TooManyToday);
    let dead = fixture.store.dead_keys(now, 3).await.unwrap();
    let ids: Vec<_> = dead.iter().map(|key| key.id).collect();
    let last = u64::from(KEYS_PER_DAY_MAX) - 1;
    assert_eq!(ids, [last, last - 1, last - 2].map(|n| KeyId::from_bytes(n.to_be_bytes())));
    let tomorrow = NOW.saturating_add(Duration::from_secs(24 * 60 * 60));
    assert_eq!(mint(1000, tomorrow).await.unwrap(), CreateKeyOutcome::Created);
}

#[tokio::test]
async fn dead_keys_that_never_served_are_forgotten() {
    let fixture = Fixture::with_credit(1000).await;
    fixture.key(None).await;
    let store = &fixture.store;
    let [revoked, expired, alive] = [7, 8, 9].map(|byte| KeyId::from_bytes([byte; 8]));
    for (id, expires_at) in [(revoked, None), (expired, Some(EXPIRY)), (alive, None)] {
        let key = NewKey { expires_at, ..new_key(id, None) };
        assert_eq!(store.create_key(key).await.unwrap(), CreateKeyOutcome::Created);
    }
    // The first one serves a request, at no charge.
    assert_eq!(store.reserve(keyed(1, 10)).await.unwrap(), ReserveOutcome::Reserved);
    let _ = store.settle(settlement(1, 0)).await.unwrap();
    assert!(store.revoke_key(WALLET, KEY, NOW).await.unwrap());
    assert!(store.revoke_key(WALLET, revoked, NOW).await.unwrap());

    let before = NOW.saturating_sub(Duration::from_secs(1));
    assert_eq!(store.forget_keys(before).await.unwrap(), 0);
    assert_eq!(store.forget_keys(NOW).await.unwrap(), 1);
    assert_eq!(store.forget_keys(EXPIRY).await.unwrap(), 1);
    assert_eq!(store.forget_keys(EXPIRY).await.unwrap(), 0);
    let mut left: Vec<_> =
        store.list_keys(WALLET).await.unwrap().iter().map(|key| key.id).collect();
    left.sort_unstable();
    assert_eq!(left, [KEY, alive]);
    fixture.assert_clean().await;
}

#[tokio::test]
async fn an_operation_that_fails_leaves_its_neighbours_alone() {
    let fixture = Fixture::open();
    fixture.key(None).await;
    // The same secret under another id breaks a constraint, in the middle of a shared commit.
    let twin = NewKey { id: KeyId::from_bytes([9; 8]), ..new_key(KEY, None) };
    let long = NewKey { name: "x".repeat(201), ..new_key(KeyId::from_bytes([10; 8]), None) };
    let (first, twin, long, second) = tokio::join!(
        fixture.store.credit(WALLET, nano(1), [1; 16], NOW),
        fixture.store.create_key(twin),
        fixture.store.create_key(long),
        fixture.store.credit(WALLET, nano(2), [2; 16], NOW),
    );
    first.unwrap();
    second.unwrap();
    for refused in [twin, long] {
        assert!(matches!(refused, Err(StoreError::Sql { .. })), "{refused:?}");
    }
    assert_eq!(fixture.balance().await.available, nano(3));
    assert_eq!(fixture.store.list_keys(WALLET).await.unwrap().len(), 1);
    fixture.assert_clean().await;
}

#[tokio::test]
async fn what_is_in_flight_counts_against_the_cap() {
    let fixture = Fixture::with_credit(1000).await;
    fixture.key(Some(100)).await;
    let store = &fixture.store;
    assert_eq!(store.reserve(keyed(1, 60)).await.unwrap(), ReserveOutcome::Reserved);
    let over = store.reserve(keyed(2, 41)).await.unwrap();
    assert_eq!(over, ReserveOutcome::KeyCapReached { remaining: nano(40) });
    assert_eq!(store.reserve(keyed(2, 40)).await.unwrap(), ReserveOutcome::Reserved);

    // Settled for 10 of its 60, the first request frees 50; the second expires and frees 40.
    let settled = store.settle(settlement(1, 10)).await.unwrap();
    assert_eq!(settled, SettleOutcome::Settled { charge: nano(10), worker_share: nano(9) });
    let key = &store.list_keys(WALLET).await.unwrap()[0];
    assert_eq!((key.spent, key.reserved), (nano(10), nano(40)));
    store.expire_reservations(EXPIRY, 10).await.unwrap();
    let key = &store.list_keys(WALLET).await.unwrap()[0];
    assert_eq!((key.spent, key.reserved), (nano(10), Nano::ZERO));
    let over = store.reserve(keyed(3, 91)).await.unwrap();
    assert_eq!(over, ReserveOutcome::KeyCapReached { remaining: nano(90) });
    fixture.assert_clean().await;
}

#[tokio::test]
async fn a_key_spends_from_its_own_wallet_only() {
    let fixture = Fixture::with_credit(1000).await;
    fixture.key(None).await;
    let mut stolen = keyed(1, 10);
    stolen.wallet = OTHER_WALLET;
    let refused = fixture.store.reserve(stolen).await;
    assert!(matches!(refused, Err(StoreError::Missing { .. })), "{refused:?}");
    fixture.assert_clean().await;
}
