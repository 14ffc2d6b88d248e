//! The OpenAI surface: chat completions, responses, completions and embeddings, whatever engine
//! stands behind them.
//!
//! Shape: [`Surface::handle`] reads what the gateway fixed for a request (`head`), turns the body
//! into jobs for the engine and the shape of their answer (`plan`, with a module for each
//! endpoint), and answers with an [`UplinkBody`] that runs the jobs (`fanout`), counts (`tally`),
//! renders their events into the client's final bytes (`transcript`) inside frames (`body`), signs
//! the receipt (`record`) and pads what would show lengths (`padding`). A stream of several prompts
//! is held back until the engine has taken them all (`held`), and no prompt is longer than what was
//! reserved for it (`room`). What cannot be served is a `refusal`:
//! OpenAI's error object under a real status; `unserved` lists the parameters of which that is so.
//! A request that is sealed to this worker takes the same way between being opened and having its
//! frames sealed (`sealed`).
//!
//! Invariants:
//! - No answer starts without the terms that its receipt repeats; none exceeds their limits,
//!   whatever the engine does.
//! - Every answer that delivered something leaves exactly one receipt in the outbox, also when
//!   the client goes: then from `Drop`, synchronously.
//! - The receipt precedes the last data frame and covers it. A failure never ends cleanly.
//! - There is no task per request: the body is the state machine, and its poll is the
//!   backpressure.
//!
//! Source: the API design §1, §2, §6 and §9; the uplink decisions.

mod body;
mod chat;
mod completions;
mod conversation;
mod embeddings;
mod fanout;
mod head;
mod held;
mod limits;
mod padding;
mod plan;
mod record;
mod refusal;
mod responses;
mod room;
mod sealed;
mod tally;
mod tools;
mod transcript;
mod unserved;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_primitives::Clock;
use cocoon_runtime::{propagation, semconv};
use cocoon_uplink_wire::headers;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::time::Instant;
use tracing::Instrument as _;

pub use self::body::UplinkBody;
use self::body::{Live, LiveParts};
use self::fanout::Fanout;
use self::head::Head;
use self::held::Held;
pub use self::limits::Limits;
use self::plan::{Plan, Shape};
use self::record::{Record, RecordParts};
use self::refusal::{Refusal, SEALED_TYPE};
use self::room::PromptRoom;
use self::sealed::{Replays, Sealed, Sealing, Wrapping};
use self::tally::Tally;
use self::transcript::Transcript;
use crate::engine::{Engine, EngineEvent, ModelCard};
use crate::uplink::{LeaseContext, ReceiptOutbox};

const DROPPED_TOOLS: HeaderName = HeaderName::from_static(headers::DROPPED_TOOLS);
/// Bodies above this are parsed and hashed off the runtime's threads.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Serves OpenAI requests that arrive over the uplink.
pub struct Surface {
    engine: Arc<dyn Engine>,
    receipts: Arc<ReceiptOutbox>,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    /// Sealed requests that were seen, over whatever connection.
    replays: Arc<Mutex<Replays>>,
}

impl Surface {
    pub fn new(
        engine: Arc<dyn Engine>,
        receipts: Arc<ReceiptOutbox>,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Self {
        let replays = Arc::new(Mutex::new(Replays::new(limits.sealed_requests_max)));
        Self { engine, receipts, clock, limits: Arc::new(limits), replays }
    }

    /// Answers one request of the gateway. The head is held until the engine has started, so that
    /// every failure before that is a real status. Dropping the future cancels the generation.
    pub async fn handle(
        &self,
        lease: &Arc<LeaseContext>,
        request: Request<Bytes>,
    ) -> Response<UplinkBody> {
        let mut sealing = None;
        match (self.start(lease, &request, &mut sealing).await, sealing) {
            (Ok(response), _) => response,
            (Err(refusal), None) => refusal.into_response(),
            (Err(refusal), Some(sealing)) => sealing.refuse(refusal),
        }
    }

    async fn start(
        &self,
        lease: &Arc<LeaseContext>,
        request: &Request<Bytes>,
        sealing: &mut Option<Sealing>,
    ) -> Result<Response<UplinkBody>, Refusal> {
        let endpoint = Endpoint::from_path(request.uri().path());
        let Some(endpoint) = endpoint.filter(|_| request.method() == Method::POST) else {
            return Err(Refusal::unknown_route());
        };
        let now = self.clock.now();
        let head = Head::read(endpoint, request.headers())?;
        head.admit(lease, now)?;
        let body = request.body();
        let mut opened = body.clone();
        let (mut sealed_head, mut params_salt) = (None, None);
        if let Some(sealed) = Sealed::read(request.uri().path(), request.headers())? {
            sealed.admit(&head.terms, now)?;
            let (own_lease, own_body) = (Arc::clone(lease), body.clone());
            let unsealed = unhurried(body, move || sealed.open(&own_lease, &own_body)).await?;
            // From here on whatever is said is sealed.
            *sealing = Some(Sealing::claim(&self.replays, &unsealed.head, unsealed.envelope, now)?);
            opened = unsealed.body;
            (sealed_head, params_salt) = (Some(unsealed.head), Some(unsealed.params_salt));
        }
        let (cards, limits) = (self.engine.models(), Arc::clone(&self.limits));
        let own_head = head.clone();
        let read =
            move || plan::read(endpoint, &opened, &own_head, sealed_head.as_ref(), cards, &limits);
        let is_sealed = sealing.is_some();
        let (card, mut plan, room) = unhurried(body, read).await?;
        room.check_unread()?;
        // Traces leave this machine, so they say of a sealed body nothing that its head does not.
        let tokens_max = if is_sealed { head.tokens_max } else { plan.limit };
        let span = span(endpoint, &head, tokens_max, &card);
        propagation::set_remote_parent(&span, request.headers());
        let parts = RecordParts {
            lease: Arc::clone(lease),
            outbox: Arc::clone(&self.receipts),
            clock: Arc::clone(&self.clock),
            answer_id: plan.shape.answer_id(&head.request_id),
            head,
            card,
            request_body: body.clone(),
            params: std::mem::take(&mut plan.params),
            params_salt,
            started: now,
        };
        let record = unhurried(body, move || Record::open(parts)).await?;
        self.answer(plan, room, record, span.clone(), sealing).instrument(span).await
    }

    /// Starts the engine and waits for its first word.
    async fn answer(
        &self,
        plan: Plan,
        room: PromptRoom,
        record: Record,
        span: tracing::Span,
        sealing: &mut Option<Sealing>,
    ) -> Result<Response<UplinkBody>, Refusal> {
        let Plan { mut jobs, shape, limit, dropped_tools, .. } = plan;
        let (prompts, per_prompt, words) = (jobs.prompts(), jobs.per_prompt(), shape.words());
        let tally = Tally::new(jobs.choices(), per_prompt, limit);
        let (engine, width) = (Arc::clone(&self.engine), self.limits.choices_in_flight);
        let deadline = Instant::now() + record.left();
        let refused = |error| Refusal::from(error).about(words);
        let questioned = jobs.question(&*engine).await.map_err(refused)?;
        if prompts > 1 {
            room.check(questioned)?;
        }
        let mut fanout = Fanout::start(engine, jobs, width, deadline).map_err(refused)?;
        if let Some(sealing) = sealing {
            sealing.keep();
        }
        let first = match fanout.first().await {
            EngineEvent::Failed(error) => return Err(refused(error)),
            event => event,
        };
        let prompt = match &first {
            EngineEvent::Started { prompt_tokens } => *prompt_tokens,
            _ => None,
        };
        if prompts == 1 || prompt.is_some() {
            room.check(prompt)?;
        }
        let mut first = vec![first];
        if let Shape::Embeddings(shape) = &shape
            && shape.is_unchecked
        {
            let event = fanout.first().await;
            match &event {
                EngineEvent::Embedding { vector, .. } => shape.check(vector.len())?,
                EngineEvent::Failed(error) => return Err(refused(error.clone())),
                _ => {}
            }
            first.push(event);
        }
        let content_type = match shape.is_stream() {
            true => "text/event-stream; charset=utf-8",
            false => "application/json",
        };
        // What fails of a whole answer is a status anyhow: the gateway waits for all of it.
        let held = match shape.is_stream() {
            true => Held::until_started(prompts, per_prompt),
            false => Held::nothing(),
        };
        let transcript = Transcript::new(shape, &record);
        let mut map = HeaderMap::new();
        // Of several prompts only the first is known by now.
        if let Some(tokens) = prompt.filter(|_| prompts == 1) {
            map.insert(headers::PROMPT_TOKENS, tokens.into());
        }
        let dropped = tools::dropped_header(&dropped_tools);
        let wrapping = match sealing.take() {
            Some(sealing) => {
                map.insert(CONTENT_TYPE, SEALED_TYPE);
                map.insert(cocoon_seal::headers::SEALED, HeaderValue::from_static("1"));
                sealing.into_wrapping(content_type, dropped.as_ref())
            }
            None => {
                map.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                map.extend(dropped.map(|dropped| (DROPPED_TOOLS, dropped)));
                Wrapping::Clear
            }
        };
        let parts = LiveParts { words, fanout, held, tally, transcript, wrapping, record, span };
        let mut response = Response::new(UplinkBody::live(Live::new(parts, first)));
        *response.headers_mut() = map;
        Ok(response)
    }
}

/// Does what takes as long as the body is, for a large one where it delays nobody.
async fn unhurried<T: Send + 'static>(
    body: &Bytes,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    if body.len() <= INLINE_BYTES_MAX {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refusal::internal("the request could not be read"))?
}

/// One span for the whole answer. Neither prompt nor completion is ever recorded.
fn span(endpoint: Endpoint, head: &Head, tokens_max: u32, card: &ModelCard) -> tracing::Span {
    use tracing::field::Empty;
    let operation = match endpoint {
        Endpoint::ChatCompletions | Endpoint::Responses => semconv::OPERATION_CHAT,
        Endpoint::Completions => "text_completion",
        Endpoint::Embeddings => "embeddings",
    };
    tracing::info_span!(
        "answer",
        otel.kind = "server",
        request.id = %head.request_id,
        request.attempt = head.attempt,
        { semconv::GEN_AI_OPERATION_NAME } = operation,
        { semconv::GEN_AI_PROVIDER_NAME } = semconv::PROVIDER,
        { semconv::GEN_AI_REQUEST_MODEL } = card.name.as_str(),
        { semconv::GEN_AI_REQUEST_MAX_TOKENS } = tokens_max,
        { semconv::GEN_AI_RESPONSE_ID } = Empty,
        { semconv::GEN_AI_RESPONSE_MODEL } = card.name.as_str(),
        { semconv::GEN_AI_RESPONSE_FINISH_REASONS } = Empty,
        { semconv::GEN_AI_USAGE_INPUT_TOKENS } = Empty,
        { semconv::GEN_AI_USAGE_OUTPUT_TOKENS } = Empty,
        { semconv::ERROR_TYPE } = Empty,
    )
}
