//! One request, charged at most once and at most its reservation, whatever is repeated.

use cocoon_primitives::{Nano, RequestId, TokenCount};
use cocoon_store::{
    Holder, Outcome, RequestState, Reservation, ReserveOutcome, SettleOutcome, Settlement, Standing,
};

use crate::fixture::{
    EXPIRY, Fixture, NOW, OTHER_WORKER, PAYEE, WALLET, WORKER, id, nano, receipt, reservation,
    settlement, usage,
};

/// With 1000 in the wallet and 100 of it held for request 1.
async fn reserved() -> Fixture {
    let fixture = Fixture::with_credit(1000).await;
    let outcome = fixture.store.reserve(reservation(1, 100)).await.expect("it answers");
    assert_eq!(outcome, ReserveOutcome::Reserved);
    fixture
}

async fn state(fixture: &Fixture) -> RequestState {
    fixture.store.request(id(1)).await.expect("it answers").expect("request 1 is there").state
}

#[tokio::test]
async fn a_reservation_is_refused_without_funds_and_the_second_time() {
    let fixture = Fixture::open();
    let store = &fixture.store;
    let poor = store.reserve(reservation(1, 1)).await.unwrap();
    assert_eq!(poor, ReserveOutcome::InsufficientFunds { available: Nano::ZERO });
    store.credit(WALLET, nano(100), [1; 16], NOW).await.unwrap();
    let poor = store.reserve(reservation(1, 101)).await.unwrap();
    assert_eq!(poor, ReserveOutcome::InsufficientFunds { available: nano(100) });
    assert_eq!(store.reserve(reservation(1, 100)).await.unwrap(), ReserveOutcome::Reserved);
    assert_eq!(store.reserve(reservation(1, 100)).await.unwrap(), ReserveOutcome::Duplicate);
    let poor = store.reserve(reservation(2, 1)).await.unwrap();
    assert_eq!(poor, ReserveOutcome::InsufficientFunds { available: Nano::ZERO });
    assert_eq!(fixture.balance().await.reserved, nano(100));
    fixture.assert_clean().await;
}

#[tokio::test]
async fn a_settlement_charges_and_divides() {
    let fixture = reserved().await;
    let settled = fixture.store.settle(settlement(1, 55)).await.unwrap();
    // The commission is a tenth, and what rounding leaves.
    assert_eq!(settled, SettleOutcome::Settled { charge: nano(55), worker_share: nano(49) });
    let balance = fixture.balance().await;
    assert_eq!((balance.charged, balance.reserved), (nano(55), Nano::ZERO));
    assert_eq!(balance.available, nano(945));
    let row = fixture.store.request(id(1)).await.unwrap().expect("request 1 is there");
    assert_eq!(row.state, RequestState::Settled(Outcome::Completed));
    assert_eq!((row.charge, row.worker_share), (nano(55), nano(49)));
    assert_eq!((row.worker, row.payee), (Some(WORKER), Some(PAYEE)));
    assert_eq!(row.usage, usage(0, 55));
    fixture.assert_clean().await;
}

#[tokio::test]
async fn a_charge_stays_within_zero_and_the_reservation() {
    for (tokens, charge, worker_share) in
        [(0, 0, 0), (1, 1, 0), (100, 100, 90), (101, 100, 90), (1 << 62, 100, 90)]
    {
        let fixture = reserved().await;
        let settled = fixture.store.settle(settlement(1, tokens)).await.unwrap();
        let expected =
            SettleOutcome::Settled { charge: nano(charge), worker_share: nano(worker_share) };
        assert_eq!(settled, expected, "{tokens} tokens");
        assert_eq!(fixture.balance().await.available, nano(1000 - charge));
        fixture.assert_clean().await;
    }
}

#[tokio::test]
async fn usage_beyond_the_column_changes_nothing() {
    let fixture = reserved().await;
    fixture.store.settle(settlement(1, u64::MAX)).await.expect_err("64 bits do not fit");
    assert_eq!(state(&fixture).await, RequestState::Open);
    assert_eq!(fixture.balance().await.reserved, nano(100));
    fixture.assert_clean().await;
}

#[tokio::test]
async fn without_a_payee_all_of_the_charge_is_commission() {
    let fixture = reserved().await;
    let unpaid = Settlement { worker: None, payee: None, receipt: None, ..settlement(1, 50) };
    let settled = fixture.store.settle(unpaid).await.unwrap();
    assert_eq!(settled, SettleOutcome::Settled { charge: nano(50), worker_share: Nano::ZERO });
    fixture.assert_clean().await;
}

/// What each second step finds after each first one. `tokens` of the second differ, so that a
/// second charge would show.
#[tokio::test]
async fn repeats_charge_nobody_again() {
    let late = |tokens| Settlement { settled_at: EXPIRY, ..settlement(1, tokens) };
    let already = |charge| SettleOutcome::AlreadySettled { charge: nano(charge) };
    for (first, charge, expected) in [
        (Some(settlement(1, 40)), 40, already(40)),
        (Some(settlement(1, 0)), 0, already(0)),
        (Some(late(40)), 0, SettleOutcome::Expired),
        (None, 0, SettleOutcome::Expired),
    ] {
        let fixture = reserved().await;
        match first {
            Some(first) => drop(fixture.store.settle(first).await.unwrap()),
            None => {
                let expired = fixture.store.expire_reservations(EXPIRY, 10).await.unwrap();
                assert_eq!(expired, [id(1)]);
            }
        }
        let before = state(&fixture).await;
        for again in [settlement(1, 70), settlement(1, 0), late(70)] {
            assert_eq!(fixture.store.settle(again).await.unwrap(), expected);
        }
        assert!(fixture.store.expire_reservations(EXPIRY, 10).await.unwrap().is_empty());
        assert!(!fixture.store.assign(id(1), WORKER, PAYEE, 0).await.unwrap());
        assert_eq!(
            fixture.store.reserve(reservation(1, 100)).await.unwrap(),
            ReserveOutcome::Duplicate
        );
        assert_eq!(state(&fixture).await, before);
        let balance = fixture.balance().await;
        assert_eq!((balance.charged, balance.reserved), (nano(charge), Nano::ZERO));
        assert_ne!(state(&fixture).await, RequestState::Open);
        fixture.assert_clean().await;
    }
}

#[tokio::test]
async fn a_late_receipt_is_kept_and_pays_nobody() {
    let fixture = reserved().await;
    fixture.store.expire_reservations(EXPIRY, 10).await.unwrap();
    assert_eq!(fixture.store.settle(settlement(1, 40)).await.unwrap(), SettleOutcome::Expired);
    let kept = fixture.store.receipt(WALLET, id(1)).await.unwrap().expect("it is kept");
    assert_eq!(kept.standing, Standing::Late);
    assert!(fixture.store.uncountersigned(10).await.unwrap().is_empty());
    let row = fixture.store.request(id(1)).await.unwrap().expect("request 1 is there");
    assert_eq!((row.charge, row.worker_share), (Nano::ZERO, Nano::ZERO));
    fixture.assert_clean().await;
}

#[tokio::test]
async fn an_unknown_request_is_not_settled() {
    let fixture = reserved().await;
    let unknown = Settlement { request_id: RequestId::from_bytes([9; 16]), ..settlement(1, 1) };
    assert_eq!(fixture.store.settle(unknown).await.unwrap(), SettleOutcome::Unknown);
}

#[tokio::test]
async fn only_the_assigned_attempt_settles() {
    let fixture = reserved().await;
    let store = &fixture.store;
    assert!(store.assign(id(1), OTHER_WORKER, PAYEE, 0).await.unwrap());
    // The next attempt goes elsewhere; what the first one still sends no longer counts.
    assert!(store.assign(id(1), WORKER, PAYEE, 1).await.unwrap());
    let stale = Settlement { worker: Some(OTHER_WORKER), ..settlement(1, 10) };
    assert_eq!(store.settle(stale).await.unwrap(), SettleOutcome::NotAssigned);
    assert_eq!(store.settle(settlement(1, 10)).await.unwrap(), SettleOutcome::NotAssigned);
    assert_eq!(state(&fixture).await, RequestState::Open);
    let open = store.request(id(1)).await.unwrap().expect("it is open");
    assert_eq!((open.worker, open.payee, open.attempt), (Some(WORKER), Some(PAYEE), Some(1)));
    // The assignment's payee is paid, whatever the settlement says.
    let diverted =
        Settlement { payee: Some(WALLET), receipt: Some(receipt(1)), ..settlement(1, 10) };
    let settled = store.settle(diverted).await.unwrap();
    assert_eq!(settled, SettleOutcome::Settled { charge: nano(10), worker_share: nano(9) });
    assert_eq!(store.request(id(1)).await.unwrap().unwrap().payee, Some(PAYEE));
    fixture.assert_clean().await;
}

/// Clients choose the ids of their sealed requests: an ending that names nobody has to show that
/// the reservation is its own.
#[tokio::test]
async fn only_the_holder_ends_what_a_worker_has() {
    let fixture = reserved().await;
    let store = &fixture.store;
    assert!(store.assign(id(1), WORKER, PAYEE, 0).await.unwrap());
    let Reservation { wallet, pay_blind, created_at, .. } = reservation(1, 100);
    let own = Holder { wallet, pay_blind, created_at };
    let nobody = |holder| Settlement {
        holder,
        worker: None,
        payee: None,
        receipt: None,
        outcome: Outcome::ClientGone,
        ..settlement(1, 0)
    };
    for (holder, expected) in [
        (None, SettleOutcome::NotAssigned),
        (Some(Holder { wallet: PAYEE, ..own }), SettleOutcome::Unknown),
        (Some(Holder { pay_blind: [9; 32], ..own }), SettleOutcome::Unknown),
        (Some(Holder { created_at: EXPIRY, ..own }), SettleOutcome::Unknown),
    ] {
        assert_eq!(store.settle(nobody(holder)).await.unwrap(), expected, "{holder:?}");
        let stranger = Settlement { holder, ..settlement(1, 40) };
        if holder.is_some() {
            assert_eq!(store.settle(stranger).await.unwrap(), SettleOutcome::Unknown);
        }
        assert_eq!(state(&fixture).await, RequestState::Open);
        assert_eq!(fixture.balance().await.reserved, nano(100));
    }
    let settled = store.settle(nobody(Some(own))).await.unwrap();
    assert_eq!(settled, SettleOutcome::Settled { charge: Nano::ZERO, worker_share: Nano::ZERO });
    fixture.assert_clean().await;
}

#[tokio::test]
async fn expiry_takes_what_is_due_in_order_and_no_more() {
    let fixture = Fixture::with_credit(1000).await;
    let at = |second: u64| cocoon_primitives::Timestamp::from_seconds(1_800_000_000 + second);
    for (number, second) in [(1, 30), (2, 10), (3, 20), (4, 40)] {
        let due = Reservation { expires_at: at(second), ..reservation(number, 10) };
        assert_eq!(fixture.store.reserve(due).await.unwrap(), ReserveOutcome::Reserved);
    }
    assert!(fixture.store.expire_reservations(at(9), 10).await.unwrap().is_empty());
    assert_eq!(fixture.store.expire_reservations(at(30), 2).await.unwrap(), [id(2), id(3)]);
    assert_eq!(fixture.store.expire_reservations(at(30), 2).await.unwrap(), [id(1)]);
    let report = fixture.store.check().await.unwrap();
    assert_eq!(report.open_reservations.len(), 1);
    assert_eq!(report.open_reservations[0].request_id, id(4));
    assert!(report.is_clean(), "{report:#?}");
}

#[tokio::test]
async fn a_free_model_needs_no_balance() {
    let fixture = Fixture::open();
    let free = Reservation { price: cocoon_metering::PriceRow::default(), ..reservation(1, 0) };
    assert_eq!(fixture.store.reserve(free).await.unwrap(), ReserveOutcome::Reserved);
    let settled = fixture.store.settle(settlement(1, 500)).await.unwrap();
    assert_eq!(settled, SettleOutcome::Settled { charge: Nano::ZERO, worker_share: Nano::ZERO });
    let row = fixture.store.request(id(1)).await.unwrap().unwrap();
    assert_eq!(row.usage.completion, TokenCount::new(500));
    fixture.assert_clean().await;
}
