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
use cocoon_primitives::{WalletAddress, WorkerId};
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
use super::place::Place;
use super::relay::{Fault, WorkerError};
use super::stream::Stream;
use super::ticket::{Agreement, Service, Ticket, Verdict};
use crate::jobs::Acknowledge;
use crate::uplink::{LinkError, WorkerLink, lock};

/// What a full worker is assumed to need where it does not say.
pub(crate) const RETRY_AFTER_MS: u64 = 1000;
/// The longest list of left-out tools that is passed on.
const DROPPED_TOOLS_BYTES_MAX: usize = 4096;
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
    /// Another worker may do better; `is_fault` where this one did worse than being full.
    Retry { error: DispatchError, is_fault: bool },
    /// No worker would do better.
    Final(DispatchError),
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
    let mut asked: Vec<WorkerId> = Vec::new();
    let mut last_error = None;
    for attempt in 0..dispatcher.limits.attempts_max {
        if Instant::now() >= dispatcher.first_token_end(&agreement) {
            // Nobody is asked for what cannot come in time.
            break;
        }
        let candidate = match choose(&agreement, &asked) {
            Ok(candidate) => candidate,
            Err(unavailable) => {
                last_error.get_or_insert_with(|| unavailable.into());
                break;
            }
        };
        let Candidate { worker, lease, payee, acknowledge, send } = candidate;
        let (fleet, clock) = (dispatcher.fleet.clone(), dispatcher.clock.clone());
        let place = Place::new(fleet, clock, worker, lease.lease_id);
        asked.push(worker);
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
                let stream = Stream::new(frames, first, place, ticket, dispatcher.pace());
                return Ok(stream.with_dropped_tools(dropped_tools));
            }
            Err(Refusal::Final(error)) => {
                // Nothing was delivered, and the row may not even name this worker.
                ticket.assign(None);
                last_error = Some(error);
                break;
            }
            Err(Refusal::Retry { error, is_fault }) => {
                tracing::warn!(
                    request.id = %agreement.request_id, worker.id = %worker, attempt,
                    cause = %error, "worker {worker} did not answer {}", agreement.request_id
                );
                metrics::counter!("cocoon_chat_retries_total").increment(1);
                if is_fault {
                    place.strike();
                }
                last_error = Some(error);
                ticket.assign(None);
            }
        }
    }
    // The reservation goes back before the client hears of the failure.
    drop(ticket.close(Verdict::Refused).await);
    Err(last_error.unwrap_or(DispatchError::NoWorker))
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
            return Err(retry(DispatchError::WorkerLost));
        }
        Err(_) => return Err(retry(DispatchError::Deadline)),
    };
    if response.status() != StatusCode::OK {
        return Err(refusal(response).await);
    }
    let prompt =
        prompt_tokens(response.headers(), agreement.prompt_max).map_err(|fault| faulty(&fault))?;
    ticket.set_prompt(prompt);
    let dropped_tools = response.headers().get(headers::DROPPED_TOOLS).cloned();
    let dropped_tools = dropped_tools.filter(|tools| tools.len() <= DROPPED_TOOLS_BYTES_MAX);
    let mut frames = Frames::new(response.into_body(), frame::PAYLOAD_BYTES_MAX);
    let first = first_frame(dispatcher, &agreement, until, &mut frames).await?;
    Ok(Begun { frames, first, dropped_tools })
}

/// The first frame that is no heartbeat. Each heartbeat buys the worker more time, but for the
/// first token there is an end to it.
async fn first_frame(
    dispatcher: &Dispatcher,
    agreement: &Agreement,
    mut until: Instant,
    frames: &mut Frames,
) -> Result<Frame, Refusal> {
    loop {
        let next = timeout_at(until, poll_fn(|cx| frames.poll_next(cx))).await;
        match next {
            Err(_) => return Err(retry(DispatchError::Deadline)),
            Ok(None) | Ok(Some(Err(Break::Reset(_) | Break::Cut))) => {
                return Err(retry(DispatchError::WorkerLost));
            }
            Ok(Some(Err(Break::Malformed(error)))) => return Err(faulty(&error.into())),
            Ok(Some(Ok(frame))) => match frame.kind {
                FrameKind::Heartbeat => {
                    let patience = Instant::now() + dispatcher.limits.silence_max;
                    let is_waiting = frame.cumulative == 0 && agreement.completion_max > 0;
                    let end = if is_waiting {
                        dispatcher.first_token_end(agreement)
                    } else {
                        agreement.deadline
                    };
                    until = end.min(until.max(patience));
                }
                FrameKind::Error => return Err(failure(&frame)),
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
    propagation::inject_current(request.headers_mut());
    request
}

/// The prompt's tokens, from the response head; more than the body can become is a fault.
fn prompt_tokens(head: &HeaderMap, limit: u64) -> Result<Option<u64>, Fault> {
    let Some(value) = head.get(headers::PROMPT_TOKENS) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Fault::UnreadableHead)?;
    let prompt = text.parse().map_err(|_| Fault::UnreadableHead)?;
    if prompt > limit { Err(Fault::PromptOverLimit { prompt, limit }) } else { Ok(Some(prompt)) }
}

/// An answer with another status than 200.
async fn refusal(response: Response<Upstream>) -> Refusal {
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
        Ok(Err(_)) | Err(_) => return retry(DispatchError::WorkerLost),
    };
    if !(400..=599).contains(&status) {
        return faulty(&Fault::UnreadableHead);
    }
    // Read and written anew: what reaches a client is an error object whatever the worker sent.
    let Ok(error) = serde_json::from_slice::<ErrorBody>(&body) else {
        return faulty(&Fault::UnreadableError);
    };
    let error = WorkerError { status, retryable: is_retryable, body: error, event: None };
    judge(error, retry_after_ms)
}

/// An error frame before anything else: the same as a refusal.
fn failure(frame: &Frame) -> Refusal {
    match super::relay::read_error(frame) {
        Ok(error) => judge(error, RETRY_AFTER_MS),
        Err(fault) => faulty(&fault),
    }
}

fn judge(error: WorkerError, retry_after_ms: u64) -> Refusal {
    let WorkerError { status, retryable, body, event: _ } = error;
    let refused = DispatchError::WorkerRefused { status, body: body.to_json().into() };
    match (retryable, status) {
        (false, _) => Refusal::Final(refused),
        // Full, not broken: no mark against the worker.
        (true, 429 | 503) => {
            let error = DispatchError::Saturated { retry_after_ms };
            Refusal::Retry { error, is_fault: false }
        }
        (true, _) => Refusal::Retry { error: refused, is_fault: true },
    }
}

fn retry(error: DispatchError) -> Refusal {
    Refusal::Retry { error, is_fault: true }
}

fn faulty(fault: &Fault) -> Refusal {
    tracing::error!(cause = %fault, "the worker broke the protocol");
    retry(DispatchError::WorkerLost)
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
        let random = u64::from_be_bytes(random);
        fleet
            .pick(&agreement.model, agreement.assurance, self.clock.now(), random, asked)
            .map(Candidate::new)
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
