use cocoon_primitives::Clock;
use cocoon_store::Settlement;

use super::*;
use crate::dispatch::fixture::{Ledger, Worker, agreement, clock, payee, wallet};
use crate::dispatch::new_receipt;

/// The answer to the payer of request 1: `Ok` for a file.
async fn answer(ledger: &Ledger) -> Result<(), Problem> {
    let id = agreement(1, true).request_id.to_string();
    let principal = Principal { wallet: wallet(), key: None };
    get(principal, PathText(id), State(ledger.store.clone())).await.map(|_| ())
}

/// Ends request 1, for nothing.
async fn settle(ledger: &Ledger, outcome: Outcome, is_signed: bool) {
    let (worker, agreement) = (Worker::new(1), agreement(1, true));
    let signed = || {
        let receipt = worker.receipt(&agreement, 5);
        let core = cocoon_attest::receipt::ReceiptCore::decode(&receipt.core).unwrap();
        new_receipt(receipt, &core)
    };
    let settlement = Settlement {
        request_id: agreement.request_id,
        holder: None,
        worker: Some(worker.id()),
        payee: Some(payee()),
        outcome,
        usage: cocoon_metering::Usage::default(),
        settled_at: clock().now(),
        receipt: is_signed.then(signed),
    };
    let _ = ledger.store.settle(settlement).await.unwrap();
}

#[tokio::test]
async fn a_payer_without_a_receipt_is_told_which_case_it_is() {
    let ledger = Ledger::funded().await;
    assert!(matches!(answer(&ledger).await, Err(Problem::NotFound { .. })));
    ledger.reserve(&agreement(1, true)).await;
    assert!(matches!(answer(&ledger).await, Err(Problem::ReceiptPending)), "it runs");
    settle(&ledger, Outcome::WorkerLost, false).await;
    let lost = answer(&ledger).await;
    let expected = "the worker was lost before it signed";
    assert!(matches!(lost, Err(Problem::ReceiptNone { why }) if why == expected), "{lost:?}");
    settle(&ledger, Outcome::WorkerLost, true).await;
    let late = answer(&ledger).await;
    assert!(
        matches!(late, Err(Problem::ReceiptLate { charged }) if charged.get() == 0),
        "{late:?}"
    );
}

#[tokio::test]
async fn every_ending_without_a_receipt_has_its_reason() {
    for outcome in [Outcome::ClientGone, Outcome::Failed, Outcome::Refused, Outcome::Completed] {
        let ledger = Ledger::funded().await;
        ledger.reserve(&agreement(1, true)).await;
        settle(&ledger, outcome, false).await;
        let none = answer(&ledger).await;
        assert!(matches!(none, Err(Problem::ReceiptNone { .. })), "{outcome:?}: {none:?}");
    }
}
