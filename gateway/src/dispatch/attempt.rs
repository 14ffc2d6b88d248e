//! From a reserved request to a worker whose answer has begun.
//!
//! A few workers are asked, one after the other, and only while nothing was forwarded. What each
//! is asked is the same: the client's bytes, unchanged, under the same request id.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use cocoon_attest::receipt::LeaseFacts;
use cocoon_fleet::{Pick, Unavailable};
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::error::ErrorBody;
use cocoon_primitives::{RequestId, WalletAddress, WorkerId};
use cocoon_runtime::{propagation, semconv};
use cocoon_uplink_wire::{Frame, FrameKind, frame, headers};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use super::Dispatcher;
use super::error::DispatchError;
use super::frames::{Break, Frames, Reset, Upstream};
use super::place::{Place, strike};
use super::relay::{Fault, WorkerError};
use super::stream::Stream;
use super::ticket::{Agreement, Service, Ticket, Verdict};
use crate::jobs::Acknowledge;
use crate::uplink::{LinkError, WorkerLink, lock};

/// What a full worker is assumed to need where it does not say.
pub(crate) const RETRY_AFTER_MS: u64 = 1000;
/// The longest list of left-out tools that is passed on.
const DROPPED_TOOLS_BYTES_MAX: usize = 1024;
/// How long a refusal's body may take.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(10);

/// A worker that may be asked.
pub(crate) struct Candidate {
    pub(crate) worker: WorkerId,
    pub(crate) lease: LeaseFacts,
    pub(crate) payee: WalletAddress,
    pub(crate) acknowledge: Acknowledge,
    pub(crate) send: Send,
}

/// Sends one request to one worker; dropping the future, or the body, resets the stream.
pub(crate) type Send = Box<dyn FnOnce(Request<Full<Bytes>>) -> Sending + std::marker::Send>;
pub(crate) type Sending = BoxFuture<'static, Result<Response<Upstream>, LinkError>>;

impl Candidate {
    pub(crate) fn new(pick: Pick<Arc<WorkerLink>>) -> Self {
        let Pick { worker, lease, link } = pick;
        let acknowledge = Acknowledge::through(&link);
        let send = move |request| -> Sending {
            Box::pin(async move {
                let response = link.send(request).await?;
                Ok(response.map(|body| body.map_err(|cause| Reset(cause.into())).boxed_unsync()))
            })
        };
        let (lease, payee) = (lease.facts(), lease.payee);
        Self { worker, lease, payee, acknowledge, send: Box::new(send) }
    }
}

/// Why one worker did not begin an answer.
enum Refusal {
    /// It is full: another worker may do better.
    Busy(DispatchError),
    /// It is at fault: another worker may do better.
    Fault(DispatchError),
    /// Its engine crashed, by its own fault or by the request's.
    Crash(Crash),
    /// No worker would do better.
    Final(DispatchError),
}

/// What came of the workers that were asked so far.
#[derive(Default)]
struct Trail {
    asked: Vec<WorkerId>,
    last_error: Option<DispatchError>,
    /// Whose engine crashed over the request. The next worker shows whose fault it was.
    crashed: Option<(WorkerId, Crash)>,
}

/// How a worker told of its engine's end.
#[derive(Clone)]
enum Crash {
    Clear(WorkerError),
    /// The reason is sealed; of a sealed request every failure of the worker may be one.
    Sealed {
        status: u16,
        body: Bytes,
    },
}

impl Trail {
    /// Notes a refusal; false where nobody else is to be asked. A request whose second worker
    /// fails too after a crash has had its chance, and two crashes are the request's own doing:
    /// a client that knows such a request must not have every worker passed over with it.
    fn note(&mut self, refusal: Refusal, place: &Place, request: RequestId) -> bool {
        let worker = place.worker();
        let (error, goes_on) = match (refusal, &mut self.crashed) {
            (Refusal::Final(error), _) => (error, false),
            (Refusal::Busy(error), _) => (error, true),
            (Refusal::Crash(_), crashed @ Some(_)) => (last_crash(crashed.take()), false),
            (Refusal::Crash(error), crashed @ None) => {
                *crashed = Some((worker, error.clone()));
                (error.told(false), true)
            }
            (Refusal::Fault(error), crashed) => {
                place.strike();
                match crashed {
                    Some(_) => (last_crash(crashed.clone()), false),
                    None => (error, true),
                }
            }
        };
        if goes_on {
            tracing::warn!(
                request.id = %request, worker.id = %worker, cause = %error,
                "worker {worker} did not answer {request}"
            );
            metrics::counter!("cocoon_chat_retries_total").increment(1);
        }
        self.last_error = Some(error);
        goes_on
    }

    /// Nobody else crashed over the request, so the one who did is at fault.
    fn blame(&mut self, dispatcher: &Dispatcher) {
        if let Some((worker, _)) = self.crashed.take() {
            strike(&dispatcher.fleet, worker, &*dispatcher.clock);
        }
    }
}

/// What a client is told that must not send the request again.
fn last_crash(crashed: Option<(WorkerId, Crash)>) -> DispatchError {
    crashed.map_or(DispatchError::WorkerLost, |(_, error)| error.told(true))
}

impl Crash {
    /// A sealed refusal is final whoever asks: its id is used.
    fn told(self, is_final: bool) -> DispatchError {
        match self {
            Self::Clear(error) => {
                WorkerError { retryable: error.retryable && !is_final, ..error }.into()
            }
            Self::Sealed { status, body } => DispatchError::SealedRefused { status, body },
        }
    }
}

/// Asks the workers that `choose` names, given who was asked before, until one begins to answer.
/// Owns the ticket: dropped anywhere, it closes it.
pub(crate) async fn open(
    dispatcher: Arc<Dispatcher>,
    body: Bytes,
    mut ticket: Ticket,
    mut choose: impl FnMut(&Agreement, &[WorkerId]) -> Result<Candidate, Unavailable>,
) -> Result<Stream, DispatchError> {
    let agreement = ticket.agreement().clone();
    let mut trail = Trail::default();
    for attempt in 0..dispatcher.limits.attempts_max {
        if Instant::now() >= dispatcher.first_token_end(&agreement) {
            // Nobody is asked for what cannot come in time.
            break;
        }
        let candidate = match choose(&agreement, &trail.asked) {
            Ok(candidate) => candidate,
            Err(unavailable) => {
                trail.last_error.get_or_insert_with(|| agreement.unavailable(unavailable));
                break;
            }
        };
        let Candidate { worker, lease, payee, acknowledge, send } = candidate;
        let (fleet, clock) = (dispatcher.fleet.clone(), dispatcher.clock.clone());
        let place = Place::new(fleet, clock, worker, lease.lease_id);
        trail.asked.push(worker);
        let terms = agreement.terms(payee);
        let service = Service { worker, lease, attempt, terms, prompt: None, acknowledge };
        ticket.assign(Some(service));
        let span = tracing::info_span!(
            parent: &agreement.span,
            "chat.dispatch",
            request.id = %agreement.request_id, worker.id = %worker, attempt,
            { semconv::GEN_AI_OPERATION_NAME } = operation(agreement.endpoint),
            { semconv::GEN_AI_REQUEST_MODEL } = %agreement.model,
            { semconv::GEN_AI_REQUEST_MAX_TOKENS } = agreement.completion_max,
        );
        let begun = begin(&dispatcher, send, &body, &mut ticket).instrument(span).await;
        match begun {
            Ok(Begun { frames, first, dropped_tools }) => {
                trail.blame(&dispatcher);
                let stream = Stream::new(frames, first, place, ticket, dispatcher.pace());
                return Ok(stream.with_dropped_tools(dropped_tools));
            }
            Err(refusal) => {
                // Nothing was delivered, and the row may not even name this worker.
                ticket.assign(None);
                if !trail.note(refusal, &place, agreement.request_id) {
                    break;
                }
            }
        }
    }
    trail.blame(&dispatcher);
    // The reservation goes back before the client hears of the failure.
    drop(ticket.close(Verdict::Refused).await);
    Err(trail.last_error.unwrap_or(DispatchError::NoWorker))
}

/// An answer that has begun.
struct Begun {
    frames: Frames,
    first: Frame,
    dropped_tools: Option<HeaderValue>,
}

/// As traces name it.
fn operation(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Responses => semconv::OPERATION_CHAT,
        Endpoint::Completions => "text_completion",
        Endpoint::Embeddings => "embeddings",
    }
}

/// Sends the request to one worker and waits for its first frame with content.
async fn begin(
    dispatcher: &Dispatcher,
    send: Send,
    body: &Bytes,
    ticket: &mut Ticket,
) -> Result<Begun, Refusal> {
    let agreement = ticket.agreement().clone();
    let service = ticket.service().expect("a worker was assigned just now");
    let patience = Instant::now() + dispatcher.limits.first_frame_timeout;
    let until = dispatcher.first_token_end(&agreement).min(patience);
    let request = request(&agreement, service, body);
    let assigned = dispatcher.store.assign(
        agreement.request_id,
        service.worker,
        service.terms.payee,
        service.attempt,
    );
    // Side by side: a request costs no second wait for the store, and the answer is not used
    // before both are done.
    let asked = timeout_at(until, send(request));
    let (response, assigned) = tokio::join!(asked, assigned);
    if !assigned.map_err(|error| Refusal::Final(error.into()))? {
        tracing::error!(request.id = %agreement.request_id, "the reservation is gone");
        return Err(Refusal::Final(DispatchError::Deadline));
    }
    let response = match response {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::debug!(cause = %error, "the link failed");
            return Err(Refusal::Fault(DispatchError::WorkerLost));
        }
        Err(_) => return Err(Refusal::Fault(DispatchError::Deadline)),
    };
    if response.status() != StatusCode::OK {
        let refusal = refusal(response, agreement.sealed.is_some()).await;
        if is_opened_in_vain(&refusal) {
            ticket.use_up_rate();
        }
        return Err(refusal);
    }
    let prompt =
        prompt_tokens(response.headers(), agreement.prompt_max).map_err(|fault| faulty(&fault))?;
    ticket.set_prompt(prompt);
    let dropped_tools = dropped_tools(response.headers());
    let mut frames = Frames::new(response.into_body(), frame::PAYLOAD_BYTES_MAX);
    let first = first_frame(dispatcher, ticket, until, &mut frames).await?;
    Ok(Begun { frames, first, dropped_tools })
}

/// The first frame that is no heartbeat. Each heartbeat buys the worker more time, but for the
/// first token there is an end to it.
async fn first_frame(
    dispatcher: &Dispatcher,
    ticket: &mut Ticket,
    mut until: Instant,
    frames: &mut Frames,
) -> Result<Frame, Refusal> {
    let agreement = ticket.agreement().clone();
    let mut generated = 0;
    loop {
        let next = timeout_at(until, poll_fn(|cx| frames.poll_next(cx))).await;
        match next {
            Err(_) => return Err(Refusal::Fault(DispatchError::Deadline)),
            Ok(None) | Ok(Some(Err(Break::Reset(_) | Break::Cut))) => {
                return Err(Refusal::Fault(DispatchError::WorkerLost));
            }
            Ok(Some(Err(Break::Malformed(error)))) => return Err(faulty(&error.into())),
            Ok(Some(Ok(frame))) => match frame.kind {
                FrameKind::Heartbeat => {
                    generated = generated.max(frame.cumulative);
                    let patience = Instant::now() + dispatcher.limits.silence_max;
                    let is_waiting = frame.cumulative == 0 && agreement.completion_max > 0;
                    let end = if is_waiting {
                        dispatcher.first_token_end(&agreement)
                    } else {
                        agreement.deadline
                    };
                    until = end.min(until.max(patience));
                }
                FrameKind::Error => {
                    let refusal = failure(&frame);
                    // A client that fails its requests on purpose works workers for nothing, and
                    // no faster than its rate allows.
                    if matches!(refusal, Refusal::Final(_)) && generated.max(frame.cumulative) > 0 {
                        ticket.use_up_rate();
                    }
                    return Err(refusal);
                }
                FrameKind::Data | FrameKind::Receipt => return Ok(frame),
            },
        }
    }
}

fn request(agreement: &Agreement, service: &Service, body: &Bytes) -> Request<Full<Bytes>> {
    let text = |value: String| {
        HeaderValue::try_from(value).expect("ids, numbers and base64 are visible ASCII")
    };
    let mut request = Request::post(agreement.endpoint.path())
        .header(header::CONTENT_TYPE, "application/json")
        .header(headers::REQUEST_ID, text(agreement.request_id.to_string()))
        .header(headers::ATTEMPT, service.attempt)
        .header(headers::MAX_TOKENS, agreement.completion_max)
        .header(headers::TERMS, text(URL_SAFE_NO_PAD.encode(service.terms.encode())))
        .body(Full::new(body.clone()))
        .expect("the parts of the request are constants, numbers and checked text");
    if let Some(sealed) = &agreement.sealed {
        sealed.write_head(request.headers_mut());
        let kind = HeaderValue::from_static(cocoon_seal::CONTENT_TYPE);
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    propagation::inject_current(request.headers_mut());
    request
}

/// The tools that a worker says it left out, where that is a list of names as clients may read it.
fn dropped_tools(head: &HeaderMap) -> Option<HeaderValue> {
    let tools = head.get(headers::DROPPED_TOOLS)?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.:, -".contains(byte);
    let is_list = tools.len() <= DROPPED_TOOLS_BYTES_MAX && tools.as_bytes().iter().all(is_plain);
    is_list.then(|| tools.clone())
}

/// The prompt's tokens, from the response head; more than the body can become is a fault.
fn prompt_tokens(head: &HeaderMap, limit: u64) -> Result<Option<u64>, Fault> {
    let Some(value) = head.get(headers::PROMPT_TOKENS) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Fault::UnreadableHead)?;
    let prompt = text.parse().map_err(|_| Fault::UnreadableHead)?;
    if prompt > limit { Err(Fault::PromptOverLimit { prompt, limit }) } else { Ok(Some(prompt)) }
}

/// An answer with another status than 200.
async fn refusal(response: Response<Upstream>, may_be_sealed: bool) -> Refusal {
    let is_sealed = may_be_sealed && response.headers().contains_key(cocoon_seal::headers::SEALED);
    let status = response.status().as_u16();
    let is_retryable = response.headers().get(headers::RETRYABLE).is_some_and(|one| one == "1");
    let retry_after_ms = response
        .headers()
        .get("retry-after-ms")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(RETRY_AFTER_MS);
    let body = Limited::new(response.into_body(), headers::REFUSAL_BODY_BYTES_MAX);
    let until = Instant::now() + REFUSAL_TIMEOUT;
    let body = match timeout_at(until, body.collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => return Refusal::Fault(DispatchError::WorkerLost),
    };
    if !(400..=599).contains(&status) {
        return faulty(&Fault::UnreadableHead);
    }
    if is_sealed {
        return sealed_refusal(status, body, is_retryable, retry_after_ms);
    }
    // Read and written anew: what reaches a client is an error object whatever the worker sent.
    let Ok(error) = serde_json::from_slice::<ErrorBody>(&body) else {
        return faulty(&Fault::UnreadableError);
    };
    let retryable = is_retryable;
    let error = WorkerError { status, retryable, generated: 0, body: error, event: None };
    judge(error, retry_after_ms)
}

/// Whether a worker had read a sealed request when it found it to be at fault: work that nobody
/// pays for.
fn is_opened_in_vain(refusal: &Refusal) -> bool {
    let Refusal::Final(DispatchError::SealedRefused { status, .. }) = refusal else { return false };
    (400..500).contains(status)
}

/// A refusal by a worker that has opened the request: its reason is for the client alone. Whether
/// an engine has crashed is not to be seen, so each failure that may be one counts as such.
fn sealed_refusal(status: u16, body: Bytes, retryable: bool, retry_after_ms: u64) -> Refusal {
    match status {
        429 | 503 if retryable => Refusal::Busy(DispatchError::Saturated { retry_after_ms }),
        502 if retryable => Refusal::Crash(Crash::Sealed { status, body }),
        _ if retryable => Refusal::Fault(DispatchError::SealedRefused { status, body }),
        _ => Refusal::Final(DispatchError::SealedRefused { status, body }),
    }
}

/// An error frame before anything else: the same as a refusal.
fn failure(frame: &Frame) -> Refusal {
    match super::relay::read_error(frame) {
        Ok(error) => judge(error, RETRY_AFTER_MS),
        Err(fault) => faulty(&fault),
    }
}

fn judge(error: WorkerError, retry_after_ms: u64) -> Refusal {
    if !error.retryable {
        Refusal::Final(error.into())
    } else if error.status == 422 {
        Refusal::Busy(DispatchError::SealKeys)
    } else if !error.is_fault() {
        Refusal::Busy(DispatchError::Saturated { retry_after_ms })
    } else if error.is_crash() {
        Refusal::Crash(Crash::Clear(error))
    } else {
        Refusal::Fault(error.into())
    }
}

fn faulty(fault: &Fault) -> Refusal {
    tracing::error!(cause = %fault, "the worker broke the protocol");
    Refusal::Fault(DispatchError::WorkerLost)
}

impl Dispatcher {
    /// When the wait for an answer's first token is over, whoever was asked for it.
    fn first_token_end(&self, agreement: &Agreement) -> Instant {
        agreement.deadline.min(agreement.opened + self.limits.first_token_timeout)
    }

    /// The fleet's choice among those that were not asked yet.
    pub(super) fn choose(
        &self,
        agreement: &Agreement,
        asked: &[WorkerId],
    ) -> Result<Candidate, Unavailable> {
        let mut random = [0; 8];
        // Without randomness the first of two is taken: a worse spread, no wrong answer.
        let _ = getrandom::fill(&mut random);
        let mut fleet = lock(&self.fleet);
        let (random, now) = (u64::from_be_bytes(random), self.clock.now());
        let (model, assurance) = (&agreement.model, agreement.assurance);
        let pick = match &agreement.sealed {
            None => fleet.pick(model, assurance, now, random, asked),
            Some(sealed) => {
                let among = sealed.workers();
                fleet.pick_among(&among, model, assurance, now, random, asked)
            }
        };
        pick.map(Candidate::new)
    }
}

impl From<Unavailable> for DispatchError {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            // A model with a price exists; that nobody ever served it makes no difference here.
            Unavailable::UnknownModel | Unavailable::NoWorker => Self::NoWorker,
            Unavailable::Saturated => Self::Saturated { retry_after_ms: RETRY_AFTER_MS },
        }
    }
}

#[cfg(test)]
mod tests;
