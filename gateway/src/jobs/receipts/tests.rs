use cocoon_primitives::TokenCount;
use cocoon_store::Standing;
use tokio::sync::mpsc;

use super::*;
use crate::dispatch::fixture::{Ledger, Worker, agreement, clock, payee, wallet};
use crate::jobs::{JobParts, start as start_jobs};

async fn receipts(ledger: &Ledger, lifecycle: &Lifecycle) -> Receipts {
    let (_, late_receipts) = mpsc::channel(1);
    let jobs = start_jobs(JobParts {
        store: ledger.store.clone(),
        fleet: crate::dispatch::fixture::fleet(),
        clock: Arc::new(clock()),
        lifecycle: lifecycle.clone(),
        late_receipts,
        gateway_key: ed25519_dalek::SigningKey::from_bytes(&[3; 32]),
    });
    Receipts {
        store: ledger.store.clone(),
        clock: Arc::new(clock()),
        live: jobs.live,
        countersigner: jobs.countersigner,
    }
}

#[tokio::test]
async fn a_replayed_receipt_settles_a_stream_once_and_a_whole_answer_for_nothing() {
    for (is_streamed, charge, standing) in
        [(true, 8 + 2 * 5, Standing::Settled), (false, 0, Standing::Late)]
    {
        let (ledger, lifecycle) = (Ledger::funded().await, Lifecycle::new());
        let (worker, agreement) = (Worker::new(1), agreement(1, is_streamed));
        ledger.reserve(&agreement).await;
        let assigned = ledger.store.assign(agreement.request_id, worker.id(), payee(), 0).await;
        assert!(assigned.unwrap());
        let receipts = receipts(&ledger, &lifecycle).await;
        let receipt = worker.receipt(&agreement, 5);
        let core = ReceiptCore::decode(&receipt.core).unwrap();
        for _ in 0..2 {
            receipts.settle(worker.id(), core.clone(), receipt.clone()).await.unwrap();
            assert_eq!(ledger.charged().await, (charge, 0));
        }
        let row = ledger.store.receipt(wallet(), agreement.request_id).await.unwrap().unwrap();
        assert_eq!(row.standing, standing, "a bill states the charge that was made");
    }
}

#[tokio::test]
async fn a_receipt_with_other_terms_worker_or_attempt_settles_nothing() {
    let (ledger, lifecycle) = (Ledger::funded().await, Lifecycle::new());
    let (worker, agreement) = (Worker::new(1), agreement(1, true));
    ledger.reserve(&agreement).await;
    let receipts = receipts(&ledger, &lifecycle).await;
    let offer = async |by: &Worker, receipt: SignedReceipt| {
        let core = ReceiptCore::decode(&receipt.core).unwrap();
        receipts.settle(by.id(), core, receipt).await.unwrap();
        assert_eq!(ledger.charged().await, (0, 120));
    };

    let dearer = crate::dispatch::fixture::agreement_with(1, true, |agreement| {
        agreement.commission_bp = 0;
    });
    offer(&worker, worker.receipt(&dearer, 5)).await;
    let mut forged = worker.receipt(&agreement, 5);
    forged.signature[0] ^= 1;
    offer(&worker, forged).await;

    let assigned = ledger.store.assign(agreement.request_id, worker.id(), payee(), 1).await;
    assert!(assigned.unwrap());
    offer(&worker, worker.receipt(&agreement, 5)).await;
    let other = Worker::new(2);
    offer(&other, other.receipt(&agreement, 5)).await;
}

#[tokio::test]
async fn a_receipt_behind_its_settlement_pays_nobody_and_is_the_bill_where_it_states_it() {
    for (stated, standing) in [(5, Standing::Late), (1, Standing::Late), (2, Standing::Settled)] {
        kept_as(stated, standing).await;
    }
}

/// A worker was lost after a prompt of 8 tokens and 2 tokens of an answer; its receipt comes then.
async fn kept_as(stated: u64, standing: Standing) {
    let (ledger, lifecycle) = (Ledger::funded().await, Lifecycle::new());
    let (worker, agreement) = (Worker::new(1), agreement(1, true));
    ledger.reserve(&agreement).await;
    let lost = Settlement {
        request_id: agreement.request_id,
        holder: None,
        worker: Some(worker.id()),
        payee: Some(payee()),
        outcome: Outcome::WorkerLost,
        usage: Usage {
            prompt: TokenCount::new(8),
            completion: TokenCount::new(2),
            ..Usage::default()
        },
        settled_at: clock().now(),
        receipt: None,
    };
    let _ = ledger.store.settle(lost).await.unwrap();
    let receipts = receipts(&ledger, &lifecycle).await;
    let receipt = worker.receipt(&agreement, stated);
    let core = ReceiptCore::decode(&receipt.core).unwrap();
    receipts.settle(worker.id(), core, receipt).await.unwrap();
    assert_eq!(ledger.charged().await, (12, 0));
    let row = ledger.store.receipt(wallet(), agreement.request_id).await.unwrap().unwrap();
    assert_eq!(row.standing, standing, "{stated}");
}

#[tokio::test]
async fn a_worker_that_was_started_again_brings_what_its_earlier_run_signed() {
    let (ledger, lifecycle) = (Ledger::funded().await, Lifecycle::new());
    let (earlier, now, agreement) = (Worker::new(1), Worker::new(2), agreement(1, true));
    ledger.reserve(&agreement).await;
    let receipts = receipts(&ledger, &lifecycle).await;
    let receipt = earlier.receipt(&agreement, 5);
    let core = ReceiptCore::decode(&receipt.core).unwrap();
    assert_eq!(signer(now.id(), &core, &receipt).await, Some(earlier.id()));

    // Nobody was given the request yet: then only the bearer itself can have done it.
    receipts.settle(now.id(), core.clone(), receipt.clone()).await.unwrap();
    assert_eq!(ledger.charged().await, (0, 120));

    let assigned = ledger.store.assign(agreement.request_id, earlier.id(), payee(), 0).await;
    assert!(assigned.unwrap());
    let by_bearer = now.receipt(&agreement, 5);
    let of_bearer = ReceiptCore::decode(&by_bearer.core).unwrap();
    receipts.settle(now.id(), of_bearer, by_bearer).await.unwrap();
    assert_eq!(ledger.charged().await, (0, 120), "the request was not given to this key");
    receipts.settle(now.id(), core, receipt).await.unwrap();
    assert_eq!(ledger.charged().await, (18, 0));
    let row = ledger.store.request(agreement.request_id).await.unwrap().unwrap();
    assert_eq!(row.worker, Some(earlier.id()));
}

#[tokio::test]
async fn nobody_speaks_for_a_worker_without_its_key() {
    let (victim, bearer) = (Worker::new(1), Worker::new(2));
    let mut forged = victim.receipt(&agreement(1, true), 5);
    forged.signature[0] ^= 1;
    let core = ReceiptCore::decode(&forged.core).unwrap();
    assert_eq!(signer(bearer.id(), &core, &forged).await, None);
    // Its own receipts are judged where they are settled.
    assert_eq!(signer(victim.id(), &core, &forged).await, Some(victim.id()));
}
