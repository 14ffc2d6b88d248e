//! Receipts and their countersignatures.

use cocoon_primitives::RequestId;
use cocoon_store::{Countersignature, NewReceipt, SettleOutcome, Settlement, Standing, StoreError};

use crate::fixture::{Fixture, OTHER_WALLET, WALLET, id, receipt, reservation, settlement, usage};

fn signed(request_id: RequestId, root: u8) -> Countersignature {
    Countersignature {
        request_id,
        root: [root; 32],
        signature: [root; 64],
        gateway_key: [7; 32],
        proof: vec![root; 100],
    }
}

async fn settled(numbers: std::ops::Range<u64>) -> Fixture {
    let fixture = Fixture::with_credit(1000).await;
    for number in numbers {
        let _ = fixture.store.reserve(reservation(number, 10)).await.expect("it answers");
        let outcome = fixture.store.settle(settlement(number, 5)).await.expect("it answers");
        assert!(matches!(outcome, SettleOutcome::Settled { .. }));
    }
    fixture
}

#[tokio::test]
async fn a_receipt_is_its_payers_alone() {
    let fixture = settled(1..2).await;
    let store = &fixture.store;
    assert_eq!(store.receipt(OTHER_WALLET, id(1)).await.unwrap(), None);
    assert_eq!(store.receipt(WALLET, id(2)).await.unwrap(), None);
    let found = store.receipt(WALLET, id(1)).await.unwrap().expect("the payer's receipt");
    let sent = receipt(0);
    assert_eq!((found.core, found.signature), (sent.core, sent.signature));
    assert_eq!((found.salt, found.worker_key), (sent.salt, sent.worker_key));
    assert_eq!((found.pay_blind, found.wallet, found.attempt), ([8; 32], WALLET, 0));
    assert_eq!((found.standing, found.countersignature), (Standing::Settled, None));
}

#[tokio::test]
async fn receipts_wait_in_order_and_keep_their_first_countersignature() {
    let fixture = settled(1..5).await;
    let store = &fixture.store;
    let waiting = store.uncountersigned(3).await.unwrap();
    assert_eq!(waiting.iter().map(|one| one.request_id).collect::<Vec<_>>(), [id(1), id(2), id(3)]);
    assert_eq!(waiting[0].core, receipt(0).core);
    store.countersign(vec![signed(id(1), 1), signed(id(2), 1)]).await.unwrap();
    store.countersign(vec![signed(id(2), 9), signed(id(3), 9)]).await.unwrap();
    let waiting = store.uncountersigned(3).await.unwrap();
    assert_eq!(waiting.iter().map(|one| one.request_id).collect::<Vec<_>>(), [id(4)]);
    for (number, root) in [(1, 1), (2, 1), (3, 9)] {
        let found = store.receipt(WALLET, id(number)).await.unwrap().expect("a receipt");
        assert_eq!(found.countersignature, Some(signed(id(number), root)));
    }
}

#[tokio::test]
async fn oversized_parts_are_refused_whole() {
    let fixture = settled(1..2).await;
    let store = &fixture.store;
    let mut large = signed(id(1), 1);
    large.proof = vec![0; 4097];
    let refused = store.countersign(vec![large]).await;
    assert!(matches!(refused, Err(StoreError::Sql { .. })), "{refused:?}");
    let refused = store.countersign(vec![signed(id(1), 1); 1001]).await;
    assert!(matches!(refused, Err(StoreError::OutOfRange { .. })), "{refused:?}");

    let _ = store.reserve(reservation(2, 10)).await.unwrap();
    let mut large = settlement(2, 5);
    large.receipt.as_mut().expect("it has one").core = vec![0; 4097];
    let refused = store.settle(large).await;
    assert!(matches!(refused, Err(StoreError::Sql { .. })), "{refused:?}");
    // Neither charge nor row is left of it.
    let row = store.request(id(2)).await.unwrap().expect("it was reserved");
    assert_eq!(row.state, cocoon_store::RequestState::Open);
    fixture.assert_clean().await;
}

/// A file is made only of what is countersigned, so none claims a charge that was not made.
#[tokio::test]
async fn only_a_receipt_that_states_the_charge_is_countersigned() {
    let fixture = Fixture::with_credit(1000).await;
    let store = &fixture.store;
    for (number, stated, is_late, standing) in [
        (1, Some(5), false, Standing::Settled),
        (2, Some(5), true, Standing::Settled),
        (3, Some(6), false, Standing::Late),
        (4, Some(6), true, Standing::Late),
        (5, None, false, Standing::Late),
        (6, None, true, Standing::Late),
    ] {
        let _ = store.reserve(reservation(number, 10)).await.unwrap();
        let stated = stated.map(|tokens| usage(0, tokens));
        let with = Settlement {
            receipt: Some(NewReceipt { stated, ..receipt(0) }),
            ..settlement(number, 5)
        };
        if is_late {
            let without = Settlement { receipt: None, ..settlement(number, 5) };
            let _ = store.settle(without).await.unwrap();
        }
        let _ = store.settle(with).await.unwrap();
        let row = store.receipt(WALLET, id(number)).await.unwrap().expect("it is kept");
        assert_eq!(row.standing, standing, "{number}");
        let charge = store.request(id(number)).await.unwrap().expect("it is there").charge;
        assert_eq!(charge.get(), 5);
    }
    let waiting = store.uncountersigned(10).await.unwrap();
    assert_eq!(waiting.iter().map(|one| one.request_id).collect::<Vec<_>>(), [id(1), id(2)]);
    fixture.assert_clean().await;
}
