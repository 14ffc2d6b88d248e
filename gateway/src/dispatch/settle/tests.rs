use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use cocoon_attest::receipt::batch;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_primitives::{MockClock, Timestamp, WalletAddress};
use cocoon_runtime::Drained;
use cocoon_store::Standing;
use ed25519_dalek::SigningKey;

use super::*;
use crate::dispatch::fixture;
use crate::dispatch::fixture::{
    COMPLETION_MAX, LAST, Ledger, PROMPT, Worker, agreement, clock, fleet, payee, ticket, wallet,
};
use crate::dispatch::live::Offer;
use crate::dispatch::ticket::Ticket;
use crate::jobs::{self, JobParts};

const PATIENCE: Duration = Duration::from_secs(20);

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
            recounter: fixture::recounter(),
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
        if case.verdict == Verdict::Completed {
            ticket.set_last(LAST.into());
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
        ("overstated whole", Case { in_stream: Some(5), ..whole }, Closing::Disagreed, 0),
        ("understated whole", Case { in_stream: Some(1), ..whole }, Closing::Disagreed, 0),
        ("over the limit whole", Case { in_stream: Some(99), ..whole }, Closing::Disagreed, 0),
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

/// Embeddings generate nothing: their prompt is all that there is to pay.
#[tokio::test]
async fn an_answer_without_completion_tokens_costs_its_prompt() {
    for (stated, closing, charge) in
        [(0, Closing::Settled, PROMPT), (1, Closing::Disagreed, 0), (99, Closing::Disagreed, 0)]
    {
        let rig = Rig::new().await;
        let agreement = fixture::agreement_with(1, false, |agreement| {
            (agreement.endpoint, agreement.completion_max) = (Endpoint::Embeddings, 0);
        });
        rig.ledger.reserve(&agreement).await;
        let rates = fixture::rates();
        let (sender, mut endings) = mpsc::channel(1);
        let seat = rig.live.enter(agreement.request_id).unwrap();
        let tokens = rates.tokens(wallet(), agreement.prompt_max).unwrap();
        let slot = sender.try_reserve_owned().unwrap();
        let mut ticket = Ticket::new(agreement.clone(), seat, tokens, slot);
        ticket.assign(Some(rig.worker.service(&agreement)));
        ticket.set_receipt(rig.worker.receipt(&agreement, stated).to_bytes().into());
        ticket.set_last(LAST.into());
        let reply = ticket.close(Verdict::Completed);
        rig.settler.settle(endings.try_recv().unwrap()).await;
        assert_eq!(reply.await, Ok(closing));
        assert_eq!(rig.ledger.charged().await, (charge, 0), "{stated}");
        let mut head = http::HeaderMap::new();
        rates.write_head(wallet(), &mut head);
        let left = fixture::TOKENS_PER_MINUTE - charge;
        assert_eq!(head["x-ratelimit-remaining-tokens"], left.to_string(), "the rate is corrected");
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
async fn a_receipt_for_other_bytes_or_another_number_of_frames_is_no_bill() {
    for (payloads, closing, standing) in [
        (&[&b"one"[..], LAST][..], Closing::Settled, Standing::Settled),
        (&[&b"oneend"[..]], Closing::Disagreed, Standing::Late),
        (&[&b"one"[..]], Closing::Disagreed, Standing::Late),
        (&[&b"two"[..], LAST], Closing::Disagreed, Standing::Late),
        (&[&b"one"[..], b"enD"], Closing::Disagreed, Standing::Late),
        (&[&b"one"[..], LAST, b""], Closing::Disagreed, Standing::Late),
    ] {
        let rig = Rig::new().await;
        let agreement = agreement(1, true);
        rig.ledger.reserve(&agreement).await;
        let (mut ticket, mut endings) = ticket(&rig.live, &agreement);
        ticket.assign(Some(rig.worker.service(&agreement)));
        ticket.set_completion(4);
        ticket.forwarded(&Bytes::from_static(b"one"));
        ticket.set_receipt(rig.worker.receipt_of(&agreement, 4, payloads).to_bytes().into());
        ticket.set_last(LAST.into());
        let reply = ticket.close(Verdict::Completed);
        rig.settler.settle(endings.try_recv().unwrap()).await;
        assert_eq!(reply.await, Ok(closing), "{payloads:?}");
        assert_eq!(rig.ledger.charged().await, (16, 0));
        let row = rig.ledger.store.receipt(wallet(), agreement.request_id).await.unwrap().unwrap();
        assert_eq!(row.standing, standing, "{payloads:?}");
    }
}

/// The receipt of a worker that was lost comes while, or after, the request is settled without.
#[tokio::test]
async fn a_late_receipt_changes_no_charge_and_is_the_bill_where_it_states_it() {
    let lost = Case { verdict: Verdict::WorkerLost, ..STREAM };
    for (stated, standing) in [(4, Standing::Settled), (6, Standing::Late), (3, Standing::Late)] {
        let rig = Rig::new().await;
        let case = Case { late: Some(stated), ..lost };
        assert_eq!(rig.end(case).await, (Closing::Settled, (16, 0)));
        let id = agreement(1, true).request_id;
        let row = rig.ledger.store.receipt(wallet(), id).await.unwrap().unwrap();
        assert_eq!(row.standing, standing, "{stated}");
        assert_eq!(rig.lifecycle.drain(PATIENCE).await, Drained::Finished);
        assert_eq!(*rig.worker.acknowledged.lock().unwrap(), [id]);
    }
}

#[tokio::test]
async fn a_receipt_that_was_not_recorded_is_not_acknowledged() {
    let mut rig = Rig::new().await;
    rig.settler.clock =
        Arc::new(MockClock::at(clock().now().saturating_add(Duration::from_secs(900))));
    let case = Case { in_stream: Some(4), ..STREAM };
    assert_eq!(rig.end(case).await, (Closing::Unrecorded, (0, 0)), "it had expired");
    assert_eq!(rig.lifecycle.drain(PATIENCE).await, Drained::Finished);
    assert!(rig.worker.acknowledged.lock().unwrap().is_empty());
}

/// The second assignment never reached the store: the row names the first worker.
#[tokio::test]
async fn an_assignment_that_was_never_written_does_not_lock_the_reservation() {
    for verdict in [Verdict::Refused, Verdict::ClientGone] {
        let rig = Rig::new().await;
        let (agreement, first) = (agreement(1, true), Worker::new(2));
        rig.ledger.reserve(&agreement).await;
        let store = &rig.ledger.store;
        assert!(store.assign(agreement.request_id, first.id(), payee(), 0).await.unwrap());
        let (mut ticket, mut endings) = ticket(&rig.live, &agreement);
        ticket.assign(Some(rig.worker.service(&agreement)));
        let closing = ticket.close(verdict);
        rig.settler.settle(endings.try_recv().unwrap()).await;
        assert_eq!(closing.await, Ok(Closing::Settled));
        assert_eq!(rig.ledger.charged().await, (0, 0), "{verdict:?}");
    }
}

/// Panics when it is asked for the first time.
#[derive(Debug)]
struct Trap(AtomicBool);

impl Clock for Trap {
    fn now(&self) -> Timestamp {
        assert!(self.0.swap(true, Ordering::SeqCst), "the trap");
        clock().now()
    }
}

#[tokio::test]
async fn a_panic_ends_one_settlement_and_no_other() {
    let mut rig = Rig::new().await;
    rig.settler.clock = Arc::new(Trap(AtomicBool::new(false)));
    let Rig { settler, lifecycle, ledger, live, .. } = rig;
    let (sender, endings) = mpsc::channel(2);
    start(settler, endings, &lifecycle);
    for (number, is_answered) in [(1, false), (2, true)] {
        let agreement = agreement(number, true);
        ledger.reserve(&agreement).await;
        let slot = sender.clone().try_reserve_owned().unwrap();
        let seat = live.enter(agreement.request_id).unwrap();
        let tokens = fixture::tokens(&fixture::rates());
        let closing = Ticket::new(agreement, seat, tokens, slot).close(Verdict::Refused).await;
        assert_eq!(closing.is_ok(), is_answered, "{closing:?}");
    }
    assert!(live.is_empty());
    assert_eq!(ledger.charged().await, (0, 120), "the one that panicked is held until it expires");
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

/// Clients choose the ids of their sealed requests, and may take one that a crash left open: what
/// never was reserved ends nothing of it, whether another wallet or the same one sent it.
#[tokio::test]
async fn an_ending_without_a_reservation_leaves_anothers_alone() {
    let rig = Rig::new().await;
    let (open, store) = (agreement(1, true), &rig.ledger.store);
    rig.ledger.reserve(&open).await;
    assert!(store.assign(open.request_id, rig.worker.id(), payee(), 0).await.unwrap());
    type Change = fn(&mut Agreement);
    let changes: [Change; 3] = [
        |agreement| agreement.wallet = WalletAddress::new(0, [8; 32]),
        |agreement| agreement.pay_blind = [9; 32],
        |agreement| agreement.begun_at = clock().now().saturating_add(Duration::from_millis(1)),
    ];
    for change in changes {
        for verdict in [Verdict::ClientGone, Verdict::Refused] {
            let other = fixture::agreement_with(1, true, change);
            let (ticket, mut endings) = ticket(&rig.live, &other);
            drop(ticket.close(verdict));
            rig.settler.settle(endings.try_recv().unwrap()).await;
            assert_eq!(rig.ledger.charged().await, (0, 120), "it is still held");
        }
    }
    // Its own ends it.
    let (ticket, mut endings) = ticket(&rig.live, &open);
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

/// A receipt of the first worker, taken while the second gets the request, is not the second's.
#[tokio::test]
async fn a_receipt_that_was_taken_before_a_retry_is_not_used_after_it() {
    let rig = Rig::new().await;
    let (agreement, first) = (agreement(1, true), Worker::new(2));
    rig.ledger.reserve(&agreement).await;
    let (mut ticket, mut endings) = ticket(&rig.live, &agreement);
    ticket.assign(Some(first.service(&agreement)));
    let offer = rig.live.offer((agreement.request_id, first.id(), 0), first.receipt(&agreement, 9));
    assert_eq!(offer, Offer::Taken);
    ticket.assign(Some(rig.worker.service(&agreement)));
    ticket.set_completion(4);
    let closing = ticket.close(Verdict::ClientGone);
    rig.settler.settle(endings.try_recv().unwrap()).await;
    assert_eq!(closing.await, Ok(Closing::Settled));
    assert_eq!(rig.ledger.charged().await, (16, 0));
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
    ticket.set_last(LAST.into());
    let Rig { settler, lifecycle, ledger, worker, .. } = rig;
    start(settler, endings, &lifecycle);
    let draining = lifecycle.drain(PATIENCE);
    let closing = async { ticket.close(Verdict::Completed).await };
    let (drained, closing) = tokio::join!(draining, closing);
    assert_eq!(drained, Drained::Finished);
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
