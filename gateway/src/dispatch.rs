//! From an authenticated request to a worker's answer that is metered and paid.
//!
//! Flow: peek at the body → price and limits → the wallet's rate → a place in the outcome channel →
//! reserve the worst case → ask workers until one begins to answer → forward its bytes as they are
//! → settle before the last of them. [`ticket`] is what makes exactly one outcome leave for each
//! reservation, [`relay`] judges a worker's frames, [`body`] is the streamed answer, [`failure`]
//! how it says that it broke, [`settle`] turns outcomes into charges. All endpoints go the same
//! way; [`plan`] and [`failure`] are where they differ.
//!
//! Cost per request: one reservation and one settlement in the store, an assignment beside the
//! worker's own latency, and no wait for the disk.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use cocoon_fleet::ServedModel;
use cocoon_metering::PriceRow;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::peek;
use cocoon_primitives::{
    Assurance, Clock, ModelKind, ModelName, Nano, RequestId, Timestamp, TokenCount, WalletAddress,
};
use cocoon_runtime::{Lifecycle, semconv};
use cocoon_store::{Reservation, ReserveOutcome, Store};
use http::{HeaderValue, Response, header};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::auth::principal::Principal;
use crate::jobs::Jobs;
use crate::rates::Rates;
use crate::recount::{Recounter, Sample};
use crate::uplink::{SharedFleet, lock};

mod attempt;
mod body;
mod error;
mod failure;
#[cfg(test)]
pub(crate) mod fixture;
mod frames;
mod limits;
mod live;
mod place;
mod plan;
mod prices;
mod relay;
mod sealed;
mod settle;
mod stream;
mod ticket;
mod whole;

pub use error::{DispatchError, FundsError};
pub use limits::DispatchLimits;
pub use live::LiveRequests;
pub use prices::{ModelPrice, PriceList};
pub use sealed::SealedCall;

pub(crate) use body::KEEP_ALIVE;
pub(crate) use live::Offer;
pub(crate) use settle::{new_receipt, settle_patiently, usage_of};
pub(crate) use ticket::{PayTerms, terms};

use body::{MeteredBody, Opening};
use stream::{Chosen, Pace};
use ticket::{Agreement, Ticket, Verdict};

/// The id of the receipt that this request will have: its own.
const RECEIPT_ID: &str = "cocoon-receipt-id";
const ASSURANCE: &str = "cocoon-assurance";
/// Absent where the status had to be sent before a worker answered.
const WORKER: &str = "cocoon-worker";
/// Absent where nothing was left out, and where the status had to be sent before.
const DROPPED_TOOLS: &str = cocoon_uplink_wire::headers::DROPPED_TOOLS;

/// A request for inference whose sender is known.
#[derive(Debug, Clone)]
pub struct Call {
    pub endpoint: Endpoint,
    pub request_id: RequestId,
    pub principal: Principal,
    pub body: Bytes,
    /// The clear part of a request whose body is sealed to workers. Its id is `request_id`.
    pub sealed: Option<Arc<SealedCall>>,
}

/// A model as clients may use it now.
#[derive(Debug, Clone)]
pub struct OfferedModel {
    pub served: ServedModel,
    pub price: PriceRow,
    /// Completion tokens of one choice; `None` where the model generates none.
    pub completion_max: Option<u64>,
}

/// What a dispatcher is made of.
pub struct DispatchParts {
    pub store: Store,
    pub fleet: SharedFleet,
    pub prices: Arc<PriceList>,
    pub clock: Arc<dyn Clock>,
    pub lifecycle: Lifecycle,
    pub limits: DispatchLimits,
    pub rates: Arc<Rates>,
    pub recounter: Arc<Recounter>,
    pub jobs: Jobs,
}

/// Carries requests to workers.
pub struct Dispatcher {
    store: Store,
    fleet: SharedFleet,
    prices: Arc<PriceList>,
    clock: Arc<dyn Clock>,
    limits: DispatchLimits,
    rates: Arc<Rates>,
    recounter: Arc<Recounter>,
    live: LiveRequests,
    endings: mpsc::Sender<ticket::Ending>,
}

impl Dispatcher {
    /// A dispatcher, its settlement running as a tracked task.
    pub fn new(parts: DispatchParts) -> Arc<Self> {
        let DispatchParts {
            store,
            fleet,
            prices,
            clock,
            lifecycle,
            limits,
            rates,
            recounter,
            jobs,
        } = parts;
        let (endings, outcomes) = mpsc::channel(limits.requests_open_max);
        let settler = settle::Settler {
            store: store.clone(),
            fleet: fleet.clone(),
            clock: clock.clone(),
            countersigner: jobs.countersigner,
            live: jobs.live.clone(),
            recounter: recounter.clone(),
            receipt_wait: limits.receipt_wait,
            soft: lifecycle.soft().clone(),
        };
        settle::start(settler, outcomes, &lifecycle);
        let live = jobs.live;
        Arc::new(Self { store, fleet, prices, clock, limits, rates, recounter, live, endings })
    }

    /// Answers a request, streamed or whole as it asks.
    ///
    /// Dropping the future, or later the response's body, cancels the request: the worker is told
    /// at once, and what was generated until then is settled.
    pub async fn answer(self: &Arc<Self>, call: Call) -> Result<Response<Body>, DispatchError> {
        let (ticket, facts) = self.reserve(&call).await?;
        let agreement = ticket.agreement().clone();
        let fleet = self.clone();
        let choose = move |agreement: &Agreement, asked: &[_]| fleet.choose(agreement, asked);
        let mut opening: Opening = Box::pin(attempt::open(self.clone(), call.body, ticket, choose));
        if !facts.is_streamed {
            let stream = opening.await?;
            let chosen = stream.chosen();
            let answer = whole::collect(stream, self.limits.whole_bytes_max).await?;
            let mut response = Response::new(Body::from(answer));
            facts.write_head(&mut response, Some(chosen), "application/json");
            return Ok(response);
        }
        let (body, chosen) = match timeout(self.limits.keep_alive, &mut opening).await {
            Ok(stream) => {
                let stream = stream?;
                let chosen = stream.chosen();
                (MeteredBody::relaying(stream, self.pace()), Some(chosen))
            }
            // Proxies and clients give up on a silent connection: from here on comments flow, and
            // an error can only come as an event.
            Err(_) => (MeteredBody::waiting(opening, &agreement, self.pace()), None),
        };
        self.live.watch(facts.request_id, body.cell());
        let mut response = Response::new(Body::new(body));
        facts.write_head(&mut response, chosen, "text/event-stream; charset=utf-8");
        Ok(response)
    }

    /// Prices a request and sets its worst case aside.
    async fn reserve(&self, call: &Call) -> Result<(Ticket, Facts), DispatchError> {
        let now = self.clock.now();
        let Asked { model, assurance, is_streamed, plan, sample } = self.asked(call, now)?;
        let mut work = plan.work_max();
        if call.sealed.is_some() {
            work = work.min(self.rates.tokens_max().max(plan.work_stated()));
        }
        let tokens = self.rates.tokens(call.principal.wallet, work)?;
        let saturated = || DispatchError::Saturated { retry_after_ms: attempt::RETRY_AFTER_MS };
        let slot = self.endings.clone().try_reserve_owned().map_err(|_| saturated())?;
        let Some(seat) = self.live.enter(call.request_id) else {
            return Err(self.duplicate(call).await);
        };
        let mut pay_blind = [0; 32];
        match &call.sealed {
            Some(sealed) => pay_blind = sealed.pay_blind,
            None => getrandom::fill(&mut pay_blind).map_err(|_| saturated())?,
        }
        let opened = Instant::now();
        let agreement = Arc::new(Agreement {
            endpoint: call.endpoint,
            request_id: call.request_id,
            wallet: call.principal.wallet,
            model,
            assurance,
            price: plan.price,
            prompt_max: plan.prompt_max,
            completion_max: plan.completion_max,
            readings: plan.readings,
            is_streamed,
            sealed: call.sealed.clone(),
            pay_blind,
            commission_bp: self.limits.commission_bp,
            begun_at: now,
            not_after: now.saturating_add(self.limits.request_timeout),
            opened,
            deadline: opened + self.limits.request_timeout,
            span: tracing::Span::current(),
        });
        let reservation = Reservation {
            request_id: call.request_id,
            wallet: call.principal.wallet,
            key: call.principal.key,
            model: agreement.model.clone(),
            price: plan.price,
            amount: plan.amount,
            max_prompt: TokenCount::new(plan.prompt_max),
            max_completion: TokenCount::new(u64::from(plan.completion_max)),
            streamed: is_streamed,
            created_at: now,
            expires_at: now.saturating_add(self.limits.reservation_lifetime()),
            pay_blind,
            commission_bp: self.limits.commission_bp,
        };
        let is_sealed = call.sealed.is_some();
        let facts = Facts { request_id: call.request_id, assurance, is_streamed, is_sealed };
        let ticket = Ticket::new(agreement, seat, tokens, slot).with_sample(sample);
        Ok((self.hold(call, ticket, reservation).await?, facts))
    }

    /// What is asked for, of whom, and the worst case of it: from the body, or, where that is
    /// sealed, from the headers that the seal binds.
    fn asked(&self, call: &Call, now: Timestamp) -> Result<Asked, DispatchError> {
        let unknown = |model: &str| DispatchError::UnknownModel { model: model.to_owned() };
        let find = |name: &str| {
            let model: ModelName = name.parse().map_err(|_| unknown(name))?;
            let price = self.prices.row(&model).ok_or_else(|| unknown(name))?;
            match self.served(&model, now) {
                Some(served) if served.kind == kind(call.endpoint) => Ok((model, price, served)),
                Some(served) => Err(wrong_kind(&served, call.endpoint)),
                None if self.is_known(&model) => Err(DispatchError::NoWorker),
                None => Err(unknown(name)),
            }
        };
        if let Some(sealed) = &call.sealed {
            sealed.check(&call.principal.wallet, now)?;
            let (model, price, served) = find(sealed.head.model.as_str())?;
            let plan = sealed.plan(price, &served, call.body.len(), &self.limits)?;
            let (assurance, is_streamed) = (served.assurance, sealed.head.is_stream);
            // What is sealed cannot be read here.
            return Ok(Asked { model, assurance, is_streamed, plan, sample: None });
        }
        let peek = peek::read(call.endpoint, &call.body)?;
        self.limits.check(call.endpoint, &peek)?;
        let (model, price, served) = find(&peek.model)?;
        let (context, body_bytes) = (served.context_length, call.body.len());
        let plan = plan::plan(&peek, body_bytes, price, context, &self.limits);
        let sample = self.recounter.draw(&model, &peek);
        Ok(Asked { model, assurance: served.assurance, is_streamed: peek.stream, plan, sample })
    }

    /// The ticket exists before the money is set aside: a caller that goes away meanwhile leaves
    /// an outcome behind, and the store handles it after the reservation. Where there never was
    /// one the store sees that too: an outcome shows whose reservation it ends.
    async fn hold(
        &self,
        call: &Call,
        ticket: Ticket,
        reservation: Reservation,
    ) -> Result<Ticket, DispatchError> {
        let needed = reservation.amount;
        let principal = Principal { wallet: reservation.wallet, key: reservation.key };
        let span = tracing::info_span!(
            "chat.reserve",
            request.id = %reservation.request_id, amount_nano = needed.get(),
            { semconv::GEN_AI_REQUEST_MODEL } = %reservation.model,
        );
        let refused = match self.store.reserve(reservation).instrument(span).await {
            Ok(ReserveOutcome::Reserved) => return Ok(ticket),
            Ok(ReserveOutcome::InsufficientFunds { available }) => {
                let held = self.held_of_wallet(principal.wallet).await;
                FundsError::Balance { needed, available, held }.into()
            }
            Ok(ReserveOutcome::KeyCapReached { remaining }) => {
                let held = self.held_of_key(principal).await;
                FundsError::KeyCap { needed, remaining, held }.into()
            }
            Ok(ReserveOutcome::Duplicate) => self.duplicate(call).await,
            Err(error) => {
                // It may have been set aside all the same.
                drop(ticket.close(Verdict::Refused));
                return Err(error.into());
            }
        };
        ticket.withdraw();
        Err(refused)
    }

    /// A sealed request has its client's id: the second one of a wallet is a repeat. Who meets
    /// another wallet's id learns nothing of that request. Any other id is ours.
    async fn duplicate(&self, call: &Call) -> DispatchError {
        if call.sealed.is_none() {
            return DispatchError::InvalidRequest {
                message: "This request id was used before.".to_owned(),
                param: None,
                code: "duplicate_request_id",
            };
        }
        match self.store.request(call.request_id).await {
            Ok(Some(row)) if row.wallet == call.principal.wallet => {
                DispatchError::SealedRepeat { receipt: call.request_id }
            }
            Ok(Some(_)) => sealed::taken(),
            // It is just being reserved, and then it is known whose it is.
            Ok(None) => DispatchError::Saturated { retry_after_ms: attempt::RETRY_AFTER_MS },
            Err(error) => error.into(),
        }
    }

    /// Refuses a wallet that has nothing to spend before its large body is read; whether a request
    /// can be paid for is decided by its reservation.
    pub async fn check_funds(&self, wallet: WalletAddress) -> Result<(), DispatchError> {
        let balance = self.store.balance(wallet).await?;
        if balance.available > Nano::ZERO || self.prices.has_free() {
            return Ok(());
        }
        Err(FundsError::Nothing { held: balance.reserved }.into())
    }

    /// What can be asked for now: models that are served and have a price, by name.
    pub fn offers(&self) -> Vec<OfferedModel> {
        let served = lock(&self.fleet).models(self.clock.now());
        let offer = |served: ServedModel| {
            let price = self.prices.row(&served.name)?;
            let choice_max = plan::choice_max(price, served.context_length, &self.limits);
            let completion_max = (served.kind == ModelKind::Chat).then_some(choice_max);
            Some(OfferedModel { served, price: price.row, completion_max })
        };
        served.into_iter().filter_map(offer).collect()
    }

    /// What the wallet's running requests may still give back; for a refusal, so a store that does
    /// not say counts as nothing.
    async fn held_of_wallet(&self, wallet: WalletAddress) -> Nano {
        self.store.balance(wallet).await.map_or(Nano::ZERO, |balance| balance.reserved)
    }

    /// The same of the key's own cap.
    async fn held_of_key(&self, principal: Principal) -> Nano {
        let keys = self.store.list_keys(principal.wallet).await.unwrap_or_default();
        let key = keys.iter().find(|key| Some(key.id) == principal.key);
        key.map_or(Nano::ZERO, |key| key.reserved)
    }

    fn served(&self, model: &ModelName, now: Timestamp) -> Option<ServedModel> {
        let fleet = lock(&self.fleet);
        fleet.models(now).into_iter().find(|served| served.name == *model)
    }

    /// Whether a model that nobody serves now exists at all. While no worker is connected nobody
    /// can tell: a gateway that has just started must not deny what its workers bring back.
    fn is_known(&self, model: &ModelName) -> bool {
        let fleet = lock(&self.fleet);
        self.prices.names(model) || fleet.is_empty() || fleet.knows(model)
    }

    fn pace(&self) -> Pace {
        Pace {
            silence_max: self.limits.silence_max,
            keep_alive: self.limits.keep_alive,
            client_stall_max: self.limits.client_stall_max,
        }
    }
}

/// What a request asks for.
struct Asked {
    model: ModelName,
    assurance: Assurance,
    is_streamed: bool,
    plan: plan::Plan,
    /// Of the few answers whose tokens are counted again.
    sample: Option<Sample>,
}

/// What the response's head says.
#[derive(Debug, Clone, Copy)]
struct Facts {
    request_id: RequestId,
    /// What the request was promised. Every worker that it is given to has it.
    assurance: Assurance,
    is_streamed: bool,
    is_sealed: bool,
}

impl Facts {
    fn write_head(
        &self,
        response: &mut Response<Body>,
        chosen: Option<Chosen>,
        content_type: &'static str,
    ) {
        let text = |value: String| HeaderValue::try_from(value).expect("an id is visible ASCII");
        let head = response.headers_mut();
        let content_type = if self.is_sealed { cocoon_seal::CONTENT_TYPE } else { content_type };
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        head.insert(RECEIPT_ID, text(self.request_id.to_string()));
        let assurance = chosen.as_ref().map_or(self.assurance, |chosen| chosen.assurance);
        head.insert(ASSURANCE, HeaderValue::from_static(assurance.as_str()));
        if let Some(Chosen { worker, dropped_tools, .. }) = chosen {
            head.insert(WORKER, text(worker.to_string()));
            if let Some(dropped_tools) = dropped_tools {
                head.insert(DROPPED_TOOLS, dropped_tools);
            }
        }
        if self.is_streamed {
            head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            head.insert("x-accel-buffering", HeaderValue::from_static("no"));
        }
    }
}

/// What a model has to make to answer at this endpoint.
pub(crate) fn kind(endpoint: Endpoint) -> ModelKind {
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Completions => ModelKind::Chat,
        Endpoint::Embeddings => ModelKind::Embedding,
    }
}

fn wrong_kind(served: &ServedModel, endpoint: Endpoint) -> DispatchError {
    let made = match served.kind {
        ModelKind::Chat => "generates text",
        ModelKind::Embedding => "makes embeddings",
    };
    let message = format!("The model '{}' {made}: it is not for {}.", served.name, endpoint.path());
    let (param, code) = (Some("model".to_owned()), "model_not_supported");
    DispatchError::InvalidRequest { message, param, code }
}
