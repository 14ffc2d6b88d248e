use cocoon_attest::receipt::batch;
use cocoon_primitives::Timestamp;
use ed25519_dalek::SigningKey;

use super::*;
use crate::dispatch::fixture::{
    COMPLETION_MAX, Ledger, PROMPT, Worker, agreement, clock, fleet, ticket, wallet,
};
use crate::dispatch::live::Offer;
use crate::jobs::{self, JobParts};

/// A ledger, a settlement and the jobs behind it, all running.
struct Rig {
    ledger: Ledger,
    live: LiveRequests,
    settler: Settler,
    lifecycle: Lifecycle,
    worker: Worker,
}

impl Rig {
    async fn new() -> Self {
        let ledger = Ledger::funded().await;
        let lifecycle = Lifecycle::new();
        let (_, late_receipts) = mpsc::channel(1);
        let jobs = jobs::start(JobParts {
            store: ledger.store.clone(),
            fleet: fleet(),
            clock: Arc::new(clock()),
            lifecycle: lifecycle.clone(),
            late_receipts,
            gateway_key: SigningKey::from_bytes(&[3; 32]),
        });
        let settler = Settler {
            store: ledger.store.clone(),
            fleet: fleet(),
            clock: Arc::new(clock()),
            countersigner: jobs.countersigner,
            live: jobs.live.clone(),
            receipt_wait: Duration::from_millis(20),
            soft: lifecycle.soft().clone(),
        };
        Self { ledger, live: jobs.live, settler, lifecycle, worker: Worker::new(1) }
    }

    /// Ends one reserved request as `verdict`, after `completion` tokens.
    async fn end(&self, case: Case) -> (Closing, (u64, u64)) {
        let agreement = agreement(1, case.is_streamed);
        self.ledger.reserve(&agreement).await;
        let (mut ticket, mut endings) = ticket(&self.live, &agreement);
        if case.is_served {
            ticket.assign(Some(self.worker.service(&agreement)));
        }
        ticket.set_completion(case.completion);
        if let Some(stated) = case.in_stream {
            ticket.set_receipt(self.worker.receipt(&agreement, stated).to_bytes().into());
        }
        if let Some(stated) = case.late {
            let receipt = self.worker.receipt(&agreement, stated);
            let offer = self.live.offer((agreement.request_id, self.worker.id(), 0), receipt);
            assert_eq!(offer, Offer::Taken);
        }
        let closing = ticket.close(case.verdict);
        self.settler.settle(endings.try_recv().unwrap()).await;
        assert!(self.live.is_empty());
        (closing.await.unwrap(), self.ledger.charged().await)
    }
}

#[derive(Clone, Copy)]
struct Case {
    verdict: Verdict,
    is_streamed: bool,
    is_served: bool,
    completion: u32,
    in_stream: Option<u64>,
    late: Option<u64>,
}

const STREAM: Case = Case {
    verdict: Verdict::Completed,
    is_streamed: true,
    is_served: true,
    completion: 4,
    in_stream: None,
    late: None,
};

#[tokio::test]
async fn each_ending_charges_what_was_agreed_and_leaves_nothing_reserved() {
    let whole = Case { is_streamed: false, ..STREAM };
    let gone = Case { verdict: Verdict::ClientGone, ..STREAM };
    let lost = Case { verdict: Verdict::WorkerLost, ..STREAM };
    for (what, case, closing, charge) in [
        ("completed", Case { in_stream: Some(4), ..STREAM }, Closing::Settled, 16),
        ("completed whole", Case { in_stream: Some(4), ..whole }, Closing::Settled, 16),
        ("overstated", Case { in_stream: Some(5), ..STREAM }, Closing::Disagreed, 16),
        ("understated", Case { in_stream: Some(1), ..STREAM }, Closing::Disagreed, 10),
        ("over the limit", Case { in_stream: Some(99), ..STREAM }, Closing::Disagreed, 16),
        ("gone with a late receipt", Case { late: Some(6), ..gone }, Closing::Settled, 20),
        ("gone, receipt in hand", Case { in_stream: Some(4), ..gone }, Closing::Settled, 16),
        ("gone, late over limit", Case { late: Some(11), ..gone }, Closing::Disagreed, 16),
        ("gone without a receipt", gone, Closing::Settled, 16),
        ("gone unserved", Case { is_served: false, completion: 0, ..gone }, Closing::Settled, 0),
        ("lost stream", lost, Closing::Settled, 16),
        ("lost whole", Case { is_streamed: false, ..lost }, Closing::Settled, 0),
        ("failed stream", Case { verdict: Verdict::Failed, ..STREAM }, Closing::Settled, 16),
        ("failed whole", Case { verdict: Verdict::Failed, ..whole }, Closing::Settled, 0),
        ("refused", Case { verdict: Verdict::Refused, ..STREAM }, Closing::Settled, 0),
    ] {
        let rig = Rig::new().await;
        assert_eq!(rig.end(case).await, (closing, (charge, 0)), "{what}");
    }
}

#[tokio::test]
async fn a_receipt_that_was_signed_for_another_request_is_not_used() {
    let rig = Rig::new().await;
    let (one, other) = (agreement(1, true), agreement(2, true));
    rig.ledger.reserve(&one).await;
    let (mut ticket, mut endings) = ticket(&rig.live, &one);
    ticket.assign(Some(rig.worker.service(&one)));
    ticket.set_completion(4);
    ticket.set_receipt(rig.worker.receipt(&other, 4).to_bytes().into());
    let closing = ticket.close(Verdict::Completed);
    rig.settler.settle(endings.try_recv().unwrap()).await;
    assert_eq!(closing.await, Ok(Closing::Disagreed));
    assert_eq!(rig.ledger.charged().await, (PROMPT + 8, 0));
    assert_eq!(rig.ledger.store.receipt(wallet(), one.request_id).await.unwrap(), None);
}

#[tokio::test]
async fn garbage_for_a_receipt_charges_what_was_delivered() {
    let rig = Rig::new().await;
    let agreement = agreement(1, true);
    rig.ledger.reserve(&agreement).await;
    let (mut ticket, mut endings) = ticket(&rig.live, &agreement);
    ticket.assign(Some(rig.worker.service(&agreement)));
    ticket.set_completion(COMPLETION_MAX);
    ticket.set_receipt(vec![0xff; 40].into());
    let closing = ticket.close(Verdict::Completed);
    rig.settler.settle(endings.try_recv().unwrap()).await;
    assert_eq!(closing.await, Ok(Closing::Disagreed));
    assert_eq!(rig.ledger.charged().await, (28, 0));
}

#[tokio::test]
async fn an_ending_before_its_reservation_changes_nothing() {
    let rig = Rig::new().await;
    let (ticket, mut endings) = ticket(&rig.live, &agreement(1, true));
    drop(ticket);
    rig.settler.settle(endings.try_recv().unwrap()).await;
    assert_eq!(rig.ledger.charged().await, (0, 0));
}

#[tokio::test]
async fn a_stale_attempts_receipt_is_not_handed_over() {
    let live = LiveRequests::default();
    let (worker, agreement) = (Worker::new(1), agreement(1, true));
    let (mut ticket, _endings) = ticket(&live, &agreement);
    let receipt = worker.receipt(&agreement, 1);
    let offer = |attempt| live.offer((agreement.request_id, worker.id(), attempt), receipt.clone());
    assert_eq!(offer(0), Offer::Stale);
    ticket.assign(Some(worker.service(&agreement)));
    assert_eq!(offer(1), Offer::Stale);
    assert_eq!(offer(0), Offer::Taken);
    drop(ticket);
}

#[tokio::test]
async fn a_drain_settles_what_is_open_then_countersigns_and_acknowledges() {
    let rig = Rig::new().await;
    let agreement = agreement(1, true);
    rig.ledger.reserve(&agreement).await;
    let (mut ticket, endings) = ticket(&rig.live, &agreement);
    ticket.assign(Some(rig.worker.service(&agreement)));
    ticket.set_completion(4);
    ticket.set_receipt(rig.worker.receipt(&agreement, 4).to_bytes().into());
    let Rig { settler, lifecycle, ledger, worker, .. } = rig;
    start(settler, endings, &lifecycle);
    let draining = lifecycle.drain(Duration::from_secs(20));
    let closing = async { ticket.close(Verdict::Completed).await };
    let (drained, closing) = tokio::join!(draining, closing);
    assert_eq!(drained, cocoon_runtime::Drained::Finished);
    assert_eq!(closing, Ok(Closing::Settled));
    assert_eq!(*worker.acknowledged.lock().unwrap(), [agreement.request_id]);

    let row = ledger.store.receipt(wallet(), agreement.request_id).await.unwrap().unwrap();
    let signed = row.countersignature.expect("countersigned before it was acknowledged");
    let leaf = batch::leaf(&row.core, &row.signature);
    let proof = batch::Proof::from_bytes(&signed.proof).unwrap();
    assert!(batch::verify(&leaf, &proof, &signed.root));
    assert!(batch::verify_countersignature(&signed.gateway_key, &signed.root, &signed.signature));
    assert!(row.received_at > Timestamp::EPOCH);
}
