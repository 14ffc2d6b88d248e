//! The settlement of requests: outcomes in, charges and receipts into the store.
//!
//! One tracked task takes every [`Ending`]. A cancelled request waits a bounded time for its
//! worker's receipt, the others are settled at once; all of them run side by side and share the
//! store's group commits. Everything here may run twice: the store settles a request once. One
//! that panics ends alone: its reservation stays until it expires.
//!
//! A worker is told that it may forget a receipt only where the receipt was seen here, and was
//! recorded or refused. One that comes after its request was settled, for example of a worker
//! that was lost for a while, changes no charge; it is kept, and is the request's bill where it
//! states what was charged.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use cocoon_attest::receipt::{ReceiptCore, SignedReceipt};
use cocoon_metering::Usage;
use cocoon_primitives::{Clock, TokenCount};
use cocoon_runtime::{CancellationToken, Lifecycle, semconv};
use cocoon_store::{NewReceipt, Outcome, SettleOutcome, Settlement, Store, StoreError};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::Instrument;

use super::live::LiveRequests;
use super::place::strike;
use super::plan;
use super::ticket::{Agreement, Closing, Ending, Service, Verdict};
use crate::jobs::Countersigner;
use crate::recount::{Recounter, Sample};
use crate::uplink::SharedFleet;

mod overcount;
mod proof;

pub(crate) use proof::{new_receipt, usage_of};

use proof::{Contradiction, Seen, Verified, check};

/// Settlements that wait or run at a time; more stay in the channel, and a full channel sheds
/// new requests.
const SETTLING_MAX: usize = 4096;
/// How often a store that answers "later" is asked again, and how long between.
const STORE_ATTEMPTS_MAX: u32 = 5;
const STORE_RETRY: Duration = Duration::from_millis(200);
/// How long a cancelled request waits for its receipt once the process is to end.
const RECEIPT_WAIT_DRAINING: Duration = Duration::from_millis(500);
/// How often a draining task looks whether the last request has left.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// What settling needs.
pub(crate) struct Settler {
    pub(crate) store: Store,
    pub(crate) fleet: SharedFleet,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) countersigner: Countersigner,
    pub(crate) live: LiveRequests,
    pub(crate) recounter: Arc<Recounter>,
    pub(crate) receipt_wait: Duration,
    pub(crate) soft: CancellationToken,
}

/// What is charged, and what proves it.
struct Judgement {
    outcome: Outcome,
    usage: Usage,
    receipt: Option<NewReceipt>,
    proof: Proof,
}

/// Whether a receipt was seen, and what it was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Unseen,
    Agrees,
    /// It contradicts the answer that it came with.
    Contradicts,
}

/// Settles endings until the process drains and no request is live, as a tracked task.
pub(crate) fn start(settler: Settler, endings: mpsc::Receiver<Ending>, lifecycle: &Lifecycle) {
    lifecycle.spawn("settlement", run(Arc::new(settler), endings));
}

async fn run(settler: Arc<Settler>, mut endings: mpsc::Receiver<Ending>) {
    let mut settling = FuturesUnordered::new();
    let mut drain_tick = interval(DRAIN_TICK);
    drain_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ending = endings.recv(), if settling.len() < SETTLING_MAX => match ending {
                Some(ending) => settling.push(settler.settle_alone(ending)),
                None => break,
            },
            Some(()) = settling.next(), if !settling.is_empty() => {}
            _ = drain_tick.tick(), if settler.soft.is_cancelled() => {
                if settler.live.is_empty() {
                    break;
                }
            }
            () = settler.soft.cancelled(), if !settler.soft.is_cancelled() => {}
        }
    }
    while settling.next().await.is_some() {}
}

impl Settler {
    /// Settles one request; a panic in it is its own.
    async fn settle_alone(&self, ending: Ending) {
        let request = ending.agreement.request_id;
        if AssertUnwindSafe(self.settle(ending)).catch_unwind().await.is_err() {
            metrics::counter!("cocoon_settlements_panicked_total").increment(1);
            tracing::error!(
                request.id = %request,
                "settlement of {request} panicked: its reservation is held until it expires"
            );
        }
    }

    /// Settles one request. The seat leaves the list of live requests last, so that a receipt
    /// that comes meanwhile still finds its owner.
    async fn settle(&self, mut ending: Ending) {
        let span = tracing::info_span!(
            parent: &ending.agreement.span,
            "chat.settle",
            request.id = %ending.agreement.request_id,
            { semconv::GEN_AI_USAGE_INPUT_TOKENS } = tracing::field::Empty,
            { semconv::GEN_AI_USAGE_OUTPUT_TOKENS } = tracing::field::Empty,
        );
        async {
            let judgement = self.judge(&mut ending).await;
            let proof = judgement.proof;
            let Usage { prompt, completion, .. } = judgement.usage;
            let readings = ending.readings(completion.get());
            let used = plan::work(prompt.get(), readings, completion.get());
            let closing = self.record(&ending, judgement).await;
            let Ending { agreement, service, reply, seat, mut tokens, .. } = ending;
            // Before the client hears: its next request finds what this one left.
            tokens.settle(used);
            drop(tokens);
            // Nobody listens where the client is gone.
            let _ = reply.send(closing);
            let Some(service) = service else { return };
            if closing == Closing::Unrecorded {
                // What the worker signed is recorded nowhere: it brings it again.
                return;
            }
            if proof == Proof::Unseen {
                if let Some(receipt) = seat.leave() {
                    self.attach(&agreement, service, receipt).await;
                }
                return;
            }
            // Before the seat is left: a drain ends once nobody is live.
            self.countersigner.settled(agreement.request_id, service.acknowledge);
            drop(seat);
        }
        .instrument(span)
        .await;
    }

    async fn judge(&self, ending: &mut Ending) -> Judgement {
        let delivered = ending.delivered();
        let outcome = outcome(ending.verdict);
        let Some(service) = ending.service.clone() else {
            return Judgement::without_receipt(outcome, Usage::default());
        };
        let is_ours = matches!(ending.verdict, Verdict::WorkerLost | Verdict::Failed);
        if ending.verdict == Verdict::Refused || (is_ours && !ending.agreement.is_streamed) {
            // Our side failed and nothing was delivered.
            return Judgement::without_receipt(outcome, Usage::default());
        }
        let mut sample = None;
        // What the stream counted is exact, unless the worker went on after it was cancelled.
        let (receipt, seen) = match (ending.receipt.take(), ending.verdict) {
            (Some(bytes), verdict) => {
                let completion = Some(u64::from(ending.completion));
                // Only of a whole answer is every payload here.
                let is_whole = verdict == Verdict::Completed;
                sample = ending.answer.sample.take().filter(|_| is_whole);
                let answer = is_whole.then(|| std::mem::take(&mut ending.answer));
                (SignedReceipt::from_bytes(&bytes), Seen { completion, answer })
            }
            (None, Verdict::ClientGone) => match self.late_receipt(ending).await {
                Some(receipt) => (Ok(receipt), Seen::default()),
                None => return Judgement::without_receipt(outcome, delivered),
            },
            (None, _) => return Judgement::without_receipt(outcome, delivered),
        };
        match receipt {
            Ok(receipt) => self.weigh(ending, &service, receipt, seen, sample).await,
            Err(error) => self.contradiction(ending, &service, &error.into(), None),
        }
    }

    /// What a receipt is worth: its usage where all of it is as it should be.
    async fn weigh(
        &self,
        ending: &Ending,
        service: &Service,
        receipt: SignedReceipt,
        seen: Seen,
        sample: Option<Sample>,
    ) -> Judgement {
        let stated = ReceiptCore::decode(&receipt.core).ok();
        match check(&ending.agreement, service, receipt, seen).await {
            Ok(Verified { core, receipt, mismatch: None }) => {
                let judgement = Judgement {
                    outcome: outcome(ending.verdict),
                    usage: usage_of(&core),
                    receipt: Some(new_receipt(receipt, &core)),
                    proof: Proof::Agrees,
                };
                match self.overcount(ending, &core, sample).await {
                    None => judgement,
                    Some(counted) => self.overcounted(ending, service, judgement, counted),
                }
            }
            // Its worker did sign it: kept as evidence, and no bill whatever it states.
            Ok(Verified { core, receipt, mismatch: Some(error) }) => Judgement {
                receipt: Some(NewReceipt { stated: None, ..new_receipt(receipt, &core) }),
                ..self.contradiction(ending, service, &error, Some(&core))
            },
            Err(error) => self.contradiction(ending, service, &error, stated.as_ref()),
        }
    }

    /// A receipt that cannot be used: of a stream the lower of the two counts is charged, of a
    /// whole answer nothing, because the client does not get it.
    fn contradiction(
        &self,
        ending: &Ending,
        service: &Service,
        error: &Contradiction,
        core: Option<&ReceiptCore>,
    ) -> Judgement {
        let (request, worker) = (ending.agreement.request_id, service.worker);
        tracing::error!(
            request.id = %request, worker.id = %worker, cause = %error,
            "receipt of {request} from {worker} is refused"
        );
        strike(&self.fleet, worker, &*self.clock);
        metrics::counter!("cocoon_receipts_refused_total").increment(1);
        let proof = Proof::Contradicts;
        if !ending.agreement.is_streamed {
            let usage = Usage::default();
            return Judgement { outcome: Outcome::Failed, usage, receipt: None, proof };
        }
        let delivered = ending.delivered();
        let stated = core.map_or(delivered, usage_of);
        let usage = Usage {
            prompt: delivered.prompt.min(stated.prompt),
            cached: stated.cached,
            completion: delivered.completion.min(stated.completion),
            reasoning: TokenCount::ZERO,
        };
        Judgement { outcome: Outcome::Failed, usage, receipt: None, proof }
    }

    /// The receipt that a cancelled worker sends on the event channel, for a bounded time.
    async fn late_receipt(&self, ending: &mut Ending) -> Option<SignedReceipt> {
        let draining = async {
            self.soft.cancelled().await;
            sleep_until(Instant::now() + RECEIPT_WAIT_DRAINING).await;
        };
        tokio::select! {
            // First what is there: a receipt that came counts even when time is up.
            biased;
            receipt = timeout(self.receipt_wait, &mut ending.seat.receipt) => receipt.ok()?.ok(),
            () = draining => None,
        }
    }

    /// Keeps a receipt that came while its request was being settled without one.
    async fn attach(&self, agreement: &Arc<Agreement>, service: Service, receipt: SignedReceipt) {
        let request = agreement.request_id;
        match check(agreement, &service, receipt, Seen::default()).await {
            Ok(Verified { core, receipt, mismatch: None }) => {
                let settlement = Settlement {
                    request_id: request,
                    holder: Some(agreement.holder()),
                    worker: Some(service.worker),
                    payee: Some(service.terms.payee),
                    // The request is settled: of this only the receipt is used.
                    outcome: Outcome::Failed,
                    usage: Usage::default(),
                    settled_at: self.clock.now(),
                    receipt: Some(new_receipt(receipt, &core)),
                };
                if let Err(error) = settle_patiently(&self.store, settlement).await {
                    tracing::error!(
                        request.id = %request, cause = %error,
                        "receipt of {request} is put off: its worker replays it"
                    );
                    return;
                }
            }
            Ok(Verified { mismatch: Some(error), .. }) | Err(error) => {
                metrics::counter!("cocoon_receipts_refused_total").increment(1);
                tracing::warn!(
                    request.id = %request, worker.id = %service.worker, cause = %error,
                    "late receipt of {request} is refused"
                );
            }
        }
        self.countersigner.settled(request, service.acknowledge);
    }

    async fn record(&self, ending: &Ending, judgement: Judgement) -> Closing {
        let agreement = &ending.agreement;
        let Judgement { outcome, usage, receipt, proof } = judgement;
        let span = tracing::Span::current();
        span.record(semconv::GEN_AI_USAGE_INPUT_TOKENS, usage.prompt.get());
        span.record(semconv::GEN_AI_USAGE_OUTPUT_TOKENS, usage.completion.get());
        let settlement = Settlement {
            request_id: agreement.request_id,
            holder: Some(agreement.holder()),
            worker: ending.service.as_ref().map(|service| service.worker),
            payee: ending.service.as_ref().map(|service| service.terms.payee),
            outcome,
            usage,
            settled_at: self.clock.now(),
            receipt,
        };
        let mut settled = settle_patiently(&self.store, settlement.clone()).await;
        if let Ok(SettleOutcome::NotAssigned) = settled {
            // The assignment was never written, and nothing is forwarded before it is: nobody
            // did anything for this request.
            let (worker, payee, receipt) = (None, None, None);
            let usage = Usage::default();
            let unserved = Settlement { worker, payee, usage, receipt, ..settlement };
            settled = settle_patiently(&self.store, unserved).await;
        }
        observe(ending, outcome, &usage);
        match settled {
            Ok(SettleOutcome::Settled { .. }) if proof == Proof::Contradicts => Closing::Disagreed,
            Ok(SettleOutcome::Settled { .. }) => Closing::Settled,
            // Settled by what the worker replayed: for this request, and only once.
            Ok(SettleOutcome::AlreadySettled { .. }) => Closing::Settled,
            // Nothing was reserved, or it is somebody else's.
            Ok(SettleOutcome::Unknown) if ending.service.is_none() => Closing::Settled,
            Ok(other) => {
                tracing::error!(
                    request.id = %agreement.request_id,
                    "settlement of {} found it {other:?}", agreement.request_id
                );
                Closing::Unrecorded
            }
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                let source = cause.source().map(ToString::to_string).unwrap_or_default();
                tracing::error!(
                    request.id = %agreement.request_id, cause = %error, source,
                    "settlement of {} failed", agreement.request_id
                );
                Closing::Unrecorded
            }
        }
    }
}

impl Ending {
    /// How often its prompt was read. Of a sealed answer that is whole, each choice that nobody
    /// can count here has one token at least.
    fn readings(&self, completion: u64) -> u32 {
        let readings = self.agreement.readings;
        if self.agreement.sealed.is_none() || self.verdict != Verdict::Completed {
            return readings;
        }
        readings.min(u32::try_from(completion.max(1)).unwrap_or(u32::MAX))
    }

    /// What the client had of it, as the gateway counted.
    fn delivered(&self) -> Usage {
        let prompt = self.service.as_ref().and_then(|service| service.prompt).unwrap_or(0);
        Usage {
            prompt: TokenCount::new(prompt),
            completion: TokenCount::new(u64::from(self.completion)),
            ..Usage::default()
        }
    }
}

impl Judgement {
    fn without_receipt(outcome: Outcome, usage: Usage) -> Self {
        Self { outcome, usage, receipt: None, proof: Proof::Unseen }
    }
}

/// Settles, asking again while the store says that it may succeed later.
pub(crate) async fn settle_patiently(
    store: &Store,
    settlement: Settlement,
) -> Result<SettleOutcome, StoreError> {
    let mut attempt = 1;
    loop {
        match store.settle(settlement.clone()).await {
            Err(error) if error.transient() && attempt < STORE_ATTEMPTS_MAX => {
                sleep_until(Instant::now() + STORE_RETRY * attempt).await;
                attempt += 1;
            }
            settled => return settled,
        }
    }
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Completed => Outcome::Completed,
        Verdict::ClientGone => Outcome::ClientGone,
        Verdict::WorkerLost => Outcome::WorkerLost,
        Verdict::Failed => Outcome::Failed,
        Verdict::Refused => Outcome::Refused,
    }
}

fn observe(ending: &Ending, outcome: Outcome, usage: &Usage) {
    let (request, outcome) = (ending.agreement.request_id, outcome.as_str());
    let duration = ending.ended.duration_since(ending.agreement.opened);
    metrics::counter!("cocoon_chat_outcomes_total", "outcome" => outcome).increment(1);
    metrics::counter!("cocoon_chat_prompt_tokens_total").increment(usage.prompt.get());
    metrics::counter!("cocoon_chat_completion_tokens_total").increment(usage.completion.get());
    metrics::histogram!("cocoon_chat_duration_seconds").record(duration);
    tracing::info!(
        request.id = %request, outcome,
        prompt_tokens = usage.prompt.get(), completion_tokens = usage.completion.get(),
        duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        "request {request} ended: {outcome}"
    );
}

#[cfg(test)]
mod tests;
