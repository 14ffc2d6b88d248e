//! One reserved request, from its reservation to its outcome.
//!
//! Invariant: exactly one [`Ending`] leaves for each reserved request. [`Ticket::close`] sends
//! it; where nobody closes the ticket, because a future or a body was dropped in the middle of
//! whatever it did, `Drop` sends it. Both are synchronous and cannot fail for want of room: the
//! place in the channel was taken before anything was reserved.

use std::sync::Arc;

use bytes::Bytes;
use cocoon_attest::receipt::{Commitment, LeaseFacts, Terms, pay_commitment};
use cocoon_fleet::Unavailable;
use cocoon_metering::PriceRow;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_primitives::{Assurance, ModelName, RequestId, Timestamp, WalletAddress, WorkerId};
use cocoon_store::{Holder, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::error::DispatchError;
use super::live::Seat;
use super::sealed::SealedCall;
use crate::jobs::Acknowledge;
use crate::rates::TokenHold;
use crate::recount::Sample;

/// What was agreed when the money was set aside.
#[derive(Debug)]
pub(crate) struct Agreement {
    pub(crate) endpoint: Endpoint,
    pub(crate) request_id: RequestId,
    pub(crate) wallet: WalletAddress,
    pub(crate) model: ModelName,
    /// What serves this request, whichever worker it is and however often it is tried.
    pub(crate) assurance: Assurance,
    pub(crate) price: PriceRow,
    pub(crate) prompt_max: u64,
    /// All choices, reasoning included.
    pub(crate) completion_max: u32,
    /// How often a worker reads each prompt: once for each of its choices. It is charged once.
    pub(crate) readings: u32,
    pub(crate) is_streamed: bool,
    /// The clear part of a sealed request.
    pub(crate) sealed: Option<Arc<SealedCall>>,
    pub(crate) pay_blind: [u8; 32],
    pub(crate) commission_bp: u16,
    pub(crate) begun_at: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) opened: Instant,
    pub(crate) deadline: Instant,
    /// The client's request, as traces show it.
    pub(crate) span: tracing::Span,
}

impl Agreement {
    /// What a worker with this payee has to agree to.
    pub(crate) fn terms(&self, payee: WalletAddress) -> Terms {
        terms(self.pay_terms(), payee, self.not_after)
    }

    /// What its reservation is known by.
    pub(crate) fn holder(&self) -> Holder {
        Holder { wallet: self.wallet, pay_blind: self.pay_blind, created_at: self.begun_at }
    }

    /// Of the workers of a sealed request, none being here means that it has to be sealed anew.
    pub(crate) fn unavailable(&self, unavailable: Unavailable) -> DispatchError {
        match unavailable {
            Unavailable::NoWorker if self.sealed.is_some() => DispatchError::SealKeys,
            other => other.into(),
        }
    }

    fn pay_terms(&self) -> PayTerms<'_> {
        PayTerms {
            wallet: &self.wallet,
            request_id: self.request_id,
            pay_blind: &self.pay_blind,
            price: &self.price,
            commission_bp: self.commission_bp,
            prompt_max: self.prompt_max,
            completion_max: u64::from(self.completion_max),
        }
    }
}

/// The part of the terms that the reservation fixes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PayTerms<'a> {
    pub(crate) wallet: &'a WalletAddress,
    pub(crate) request_id: RequestId,
    pub(crate) pay_blind: &'a [u8; 32],
    pub(crate) price: &'a PriceRow,
    pub(crate) commission_bp: u16,
    pub(crate) prompt_max: u64,
    pub(crate) completion_max: u64,
}

pub(crate) fn terms(pay: PayTerms<'_>, payee: WalletAddress, not_after: Timestamp) -> Terms {
    Terms {
        pay_commit: pay_commitment(pay.wallet, 0, pay.request_id, None, pay.pay_blind),
        price: cocoon_attest::receipt::PriceRow {
            prompt: pay.price.prompt,
            cached: pay.price.cached,
            completion: pay.price.completion,
        },
        registry_version: 0,
        payee,
        commission_bp: pay.commission_bp,
        max_prompt_tokens: pay.prompt_max,
        max_completion_tokens: pay.completion_max,
        not_after,
    }
}

/// The worker that holds a request.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) worker: WorkerId,
    pub(crate) lease: LeaseFacts,
    /// Counted from 0.
    pub(crate) attempt: u32,
    pub(crate) terms: Terms,
    /// From the response head; `None` before it, and where the engine cannot know.
    pub(crate) prompt: Option<u64>,
    pub(crate) acknowledge: Acknowledge,
}

/// What was taken from a worker for the client, to be compared with the receipt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// Over every payload but the last.
    pub(crate) forwarded: Commitment,
    /// Not hashed yet: a whole answer is one payload of up to 32 MiB, too much work for the
    /// runtime's threads.
    pub(crate) last: Option<Bytes>,
    /// Of the few answers whose tokens are counted again.
    pub(crate) sample: Option<Sample>,
}

impl Answer {
    fn keep(&mut self, payload: &Bytes) {
        if let Some(sample) = &mut self.sample
            && !sample.push(payload)
        {
            self.sample = None;
        }
    }
}

/// How a request ended, as far as the one who watched it could tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The last data frame is here, and so is the receipt.
    Completed,
    ClientGone,
    WorkerLost,
    /// The worker's error or fault, or our deadline, after the answer had begun.
    Failed,
    /// Nothing was delivered.
    Refused,
}

/// What the settlement makes of an ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    Settled,
    /// The receipt is not the one that the answer was owed: of a stream the lower count was
    /// charged, a whole answer costs nothing, because it does not reach the client.
    Disagreed,
    /// The outcome could not be recorded.
    Unrecorded,
}

impl Closing {
    /// Whether the end of the answer may reach the client.
    pub(crate) fn released(self) -> Result<(), DispatchError> {
        match self {
            Self::Settled => Ok(()),
            Self::Disagreed => Err(DispatchError::ReceiptMismatch),
            Self::Unrecorded => Err(StoreError::Broken { operation: "settlement.post" }.into()),
        }
    }
}

/// One request's outcome on its way to the settlement.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) agreement: Arc<Agreement>,
    /// `None` where no worker had the request.
    pub(crate) service: Option<Service>,
    /// Completion tokens that the worker's frames had counted.
    pub(crate) completion: u32,
    pub(crate) answer: Answer,
    pub(crate) verdict: Verdict,
    /// The receipt from the stream, unread.
    pub(crate) receipt: Option<Bytes>,
    pub(crate) ended: Instant,
    pub(crate) seat: Seat,
    /// Of the wallet's rate.
    pub(crate) tokens: TokenHold,
    pub(crate) reply: oneshot::Sender<Closing>,
}

/// A request's claim to its one outcome.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// `None` once the outcome has left.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    agreement: Arc<Agreement>,
    service: Option<Service>,
    completion: u32,
    answer: Answer,
    receipt: Option<Bytes>,
    seat: Seat,
    tokens: TokenHold,
    slot: mpsc::OwnedPermit<Ending>,
}

impl Ticket {
    pub(crate) fn new(
        agreement: Arc<Agreement>,
        seat: Seat,
        tokens: TokenHold,
        slot: mpsc::OwnedPermit<Ending>,
    ) -> Self {
        let open = Open {
            agreement,
            service: None,
            completion: 0,
            answer: Answer::default(),
            receipt: None,
            seat,
            tokens,
            slot,
        };
        Self { open: Some(open) }
    }

    /// Keeps the answer for a second count of its tokens.
    pub(crate) fn with_sample(mut self, sample: Option<Sample>) -> Self {
        self.open_mut().answer.sample = sample;
        self
    }

    /// A worker is about to get the request, or (`None`) has given it back untouched.
    pub(crate) fn assign(&mut self, service: Option<Service>) {
        let open = self.open_mut();
        open.seat.assign(service.as_ref().map(|service| (service.worker, service.attempt)));
        open.service = service;
    }

    pub(crate) fn set_prompt(&mut self, tokens: Option<u64>) {
        if let Some(service) = &mut self.open_mut().service {
            service.prompt = tokens;
        }
    }

    pub(crate) fn set_completion(&mut self, tokens: u32) {
        self.open_mut().completion = tokens;
    }

    /// Of what the request holds of its wallet's rate, nothing goes back: there was work that
    /// nobody pays for.
    pub(crate) fn use_up_rate(&mut self) {
        self.open_mut().tokens.settle(u64::MAX);
    }

    /// This payload goes to the client now.
    pub(crate) fn forwarded(&mut self, payload: &Bytes) {
        let answer = &mut self.open_mut().answer;
        answer.forwarded.push(payload);
        answer.keep(payload);
    }

    /// This payload goes to the client once the request is settled.
    pub(crate) fn set_last(&mut self, payload: Bytes) {
        let answer = &mut self.open_mut().answer;
        answer.keep(&payload);
        answer.last = Some(payload);
    }

    pub(crate) fn set_receipt(&mut self, receipt: Bytes) {
        self.open_mut().receipt = Some(receipt);
    }

    pub(crate) fn agreement(&self) -> &Arc<Agreement> {
        &self.open.as_ref().expect("a ticket is open until it is consumed").agreement
    }

    pub(crate) fn service(&self) -> Option<&Service> {
        self.open.as_ref().expect("a ticket is open until it is consumed").service.as_ref()
    }

    /// Sends the outcome; the answer says what was made of it.
    pub(crate) fn close(mut self, verdict: Verdict) -> oneshot::Receiver<Closing> {
        self.open.take().expect("a ticket is open until it is consumed").send(verdict)
    }

    /// Ends a request for which nothing was reserved: there is no outcome.
    pub(crate) fn withdraw(mut self) {
        self.open = None;
    }

    fn open_mut(&mut self) -> &mut Open {
        self.open.as_mut().expect("a ticket is open until it is consumed")
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            drop(open.send(Verdict::ClientGone));
        }
    }
}

impl Open {
    fn send(self, verdict: Verdict) -> oneshot::Receiver<Closing> {
        let (reply, closing) = oneshot::channel();
        let Self { agreement, service, completion, answer, receipt, seat, tokens, slot } = self;
        let ended = Instant::now();
        slot.send(Ending {
            agreement,
            service,
            completion,
            answer,
            verdict,
            receipt,
            ended,
            seat,
            tokens,
            reply,
        });
        closing
    }
}
