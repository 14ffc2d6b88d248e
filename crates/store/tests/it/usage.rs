//! Listings: order, pages, ranges, totals.

use std::time::Duration;

use cocoon_primitives::{Nano, Timestamp};
use cocoon_store::{Outcome, RequestState, Reservation, Settlement, UsageCursor, UsageRow};

use crate::fixture::{
    EXPIRY, Fixture, NOW, OTHER_WALLET, WALLET, id, nano, reservation, settlement,
};

const END: Timestamp = Timestamp::from_millis(u64::MAX);

fn at(second: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(second))
}

/// Requests 0 to 9, two to a second, settled for as many tokens as their number.
async fn ten() -> Fixture {
    let fixture = Fixture::with_credit(1000).await;
    for number in 0..10 {
        let created_at = at(number / 2);
        let asked = Reservation { created_at, ..reservation(number, 50) };
        let _ = fixture.store.reserve(asked).await.expect("it answers");
        let done = Settlement { settled_at: at(100), ..settlement(number, number) };
        let _ = fixture.store.settle(done).await.expect("it answers");
    }
    fixture
}

fn numbers(rows: &[UsageRow]) -> Vec<u64> {
    let number = |row: &UsageRow| {
        let bytes = row.request_id.as_bytes().first_chunk::<8>().expect("sixteen bytes");
        u64::from_be_bytes(*bytes)
    };
    rows.iter().map(number).collect()
}

#[tokio::test]
async fn pages_follow_each_other_newest_first() {
    let fixture = ten().await;
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = fixture.store.usage(WALLET, NOW, END, cursor, 3).await.unwrap();
        assert_eq!((page.totals.requests, page.totals.charge), (10, nano(45)));
        seen.extend(numbers(&page.rows));
        // What arrives while a client turns pages does not shift them.
        let number = 100 + u64::try_from(seen.len()).expect("few rows");
        let newer = Reservation { created_at: NOW, wallet: OTHER_WALLET, ..reservation(number, 0) };
        let _ = fixture.store.reserve(newer).await.unwrap();
        let Some(next) = page.next else { break };
        let text = next.to_string();
        cursor = Some(text.parse::<UsageCursor>().expect("a cursor reads back"));
    }
    assert_eq!(seen, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
}

#[tokio::test]
async fn ranges_hold_their_start_and_not_their_end() {
    let fixture = ten().await;
    for (from, to, expected) in [
        (at(1), at(3), vec![5, 4, 3, 2]),
        (at(4), END, vec![9, 8]),
        (at(5), END, vec![]),
        (at(3), at(3), vec![]),
        (at(3), at(1), vec![]),
    ] {
        let page = fixture.store.usage(WALLET, from, to, None, 100).await.unwrap();
        assert_eq!(numbers(&page.rows), expected);
        let total = u64::try_from(expected.len()).expect("few rows");
        assert_eq!(page.totals.requests, total);
        assert_eq!(page.totals.charge, nano(expected.iter().sum()));
        assert_eq!(page.next, None);
    }
    // A cursor from elsewhere does not lead out of the range or the wallet.
    let foreign: UsageCursor = format!("{}.{}", u64::MAX, id(5)).parse().unwrap();
    let page = fixture.store.usage(WALLET, at(1), at(2), Some(foreign), 100).await.unwrap();
    assert_eq!(numbers(&page.rows), [3, 2]);
    let page = fixture.store.usage(OTHER_WALLET, NOW, END, Some(foreign), 100).await.unwrap();
    assert!(page.rows.is_empty());
}

#[tokio::test]
async fn rows_say_how_requests_ended() {
    let fixture = Fixture::with_credit(1000).await;
    let outcomes = [
        Outcome::Completed,
        Outcome::ClientGone,
        Outcome::WorkerLost,
        Outcome::Failed,
        Outcome::Refused,
    ];
    for (number, outcome) in (0..).zip(outcomes) {
        let _ = fixture.store.reserve(reservation(number, 10)).await.unwrap();
        let _ =
            fixture.store.settle(Settlement { outcome, ..settlement(number, 1) }).await.unwrap();
    }
    let _ = fixture.store.reserve(reservation(5, 10)).await.unwrap();
    let _ = fixture.store.expire_reservations(EXPIRY, 10).await.unwrap();
    let _ = fixture.store.reserve(reservation(6, 10)).await.unwrap();
    let page = fixture.store.usage(WALLET, NOW, END, None, 100).await.unwrap();
    let states: Vec<_> = page.rows.iter().rev().map(|row| row.state).collect();
    let mut expected: Vec<_> = outcomes.map(RequestState::Settled).to_vec();
    expected.extend([RequestState::Expired, RequestState::Open]);
    assert_eq!(states, expected);
    assert_eq!(states[1].as_str(), "client_gone");
    assert_eq!(page.rows[0].charge, Nano::ZERO);
}

#[test]
fn cursors_that_nobody_made_are_refused() {
    for text in
        ["", ".", "5", "5.", ".req_00", "x.req_00000000000000000000000000000000", "-1.req_0"]
    {
        assert!(text.parse::<UsageCursor>().is_err(), "{text:?} was read as a cursor");
    }
}
