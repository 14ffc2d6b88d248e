//! The OpenAI surface: chat completions, whatever engine stands behind them.
//!
//! Shape: [`Surface::handle`] reads what the gateway fixed for a request (`head`), turns the
//! body into a job for the engine (`job`), and answers with an [`UplinkBody`] that renders the
//! engine's events into the client's final bytes (`transcript`) inside frames (`body`), signs
//! the receipt (`record`) and pads what would show lengths (`padding`). What cannot be served
//! is a `refusal`: OpenAI's error object under a real status.
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
mod head;
mod job;
mod padding;
mod record;
mod refusal;
mod transcript;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use cocoon_openai_wire::chat::ChatRequest;
use cocoon_primitives::Clock;
use cocoon_runtime::{propagation, semconv};
use cocoon_uplink_wire::headers;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use tracing::Instrument as _;

use self::body::Live;
pub use self::body::UplinkBody;
use self::head::Head;
use self::job::Plan;
use self::record::{Record, RecordParts};
use self::refusal::Refusal;
use self::transcript::Transcript;
use crate::engine::{Engine, EngineError, EngineEvent, Generation, ModelCard};
use crate::uplink::{LeaseContext, ReceiptOutbox};

/// Bodies above this are parsed off the runtime's threads.
const INLINE_PARSE_BYTES_MAX: usize = 64 * 1024;

/// Serves OpenAI requests that arrive over the uplink.
pub struct Surface {
    engine: Arc<dyn Engine>,
    receipts: Arc<ReceiptOutbox>,
    clock: Arc<dyn Clock>,
}

impl Surface {
    pub fn new(
        engine: Arc<dyn Engine>,
        receipts: Arc<ReceiptOutbox>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { engine, receipts, clock }
    }

    /// Answers one request of the gateway. The head is held until the engine has started, so that
    /// every failure before that is a real status. Dropping the future cancels the generation.
    pub async fn handle(
        &self,
        lease: &Arc<LeaseContext>,
        request: Request<Bytes>,
    ) -> Response<UplinkBody> {
        match self.start(lease, &request).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        }
    }

    async fn start(
        &self,
        lease: &Arc<LeaseContext>,
        request: &Request<Bytes>,
    ) -> Result<Response<UplinkBody>, Refusal> {
        if request.uri().path() != headers::CHAT_PATH || request.method() != Method::POST {
            return Err(Refusal::unknown_route());
        }
        let now = self.clock.now();
        let head = Head::read(request.headers())?;
        head.admit(lease, now)?;
        let chat = parse(request.body()).await?;
        let card = self.card(&chat)?;
        let plan = Plan::new(chat, request.body().clone(), &head, &card)?;
        let span = span(&head, &plan, &card);
        propagation::set_remote_parent(&span, request.headers());
        let record = Record::open(RecordParts {
            lease: Arc::clone(lease),
            outbox: Arc::clone(&self.receipts),
            clock: Arc::clone(&self.clock),
            head,
            card,
            request_body: request.body(),
            params: &plan.params,
            started: now,
        })?;
        self.answer(plan, record, span.clone()).instrument(span).await
    }

    /// Starts the engine and waits for its first word.
    async fn answer(
        &self,
        plan: Plan,
        record: Record,
        span: tracing::Span,
    ) -> Result<Response<UplinkBody>, Refusal> {
        let Plan { job, shape, limit, .. } = plan;
        let mut generation = self.engine.generate(job)?;
        let first = first_event(&mut generation).await?;
        let prompt = match &first {
            EngineEvent::Started { prompt_tokens } => *prompt_tokens,
            _ => None,
        };
        if prompt.is_some_and(|tokens| tokens > record.prompt_tokens_max()) {
            return Err(Refusal::prompt_over_limit());
        }
        let content_type = match shape.is_stream {
            true => HeaderValue::from_static("text/event-stream; charset=utf-8"),
            false => HeaderValue::from_static("application/json"),
        };
        let transcript = Transcript::new(&shape, &record);
        let live = Live::new(generation, first, transcript, record, limit, span);
        let mut response = Response::new(UplinkBody::live(live));
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        if let Some(tokens) = prompt {
            response.headers_mut().insert(headers::PROMPT_TOKENS, tokens.into());
        }
        Ok(response)
    }

    fn card(&self, chat: &ChatRequest) -> Result<ModelCard, Refusal> {
        let cards = self.engine.models();
        let card = cards.into_iter().find(|card| card.name.as_str() == chat.model);
        card.ok_or_else(Refusal::unknown_model)
    }
}

/// Waits until the engine has started. A failure before that is the caller's to report.
async fn first_event(generation: &mut Generation) -> Result<EngineEvent, Refusal> {
    match generation.events.recv().await {
        Some(EngineEvent::Failed(error)) => Err(error.into()),
        Some(event) => Ok(event),
        None => Err(EngineError::Crashed.into()),
    }
}

/// Parses a body, a large one where it delays nobody.
async fn parse(body: &Bytes) -> Result<ChatRequest, Refusal> {
    if body.len() <= INLINE_PARSE_BYTES_MAX {
        return Ok(ChatRequest::parse(body)?);
    }
    let body = body.clone();
    let parsed = tokio::task::spawn_blocking(move || ChatRequest::parse(&body)).await;
    Ok(parsed.map_err(|_| Refusal::internal("the request could not be read"))??)
}

/// One span for the whole answer. Neither prompt nor completion is ever recorded.
fn span(head: &Head, plan: &Plan, card: &ModelCard) -> tracing::Span {
    use tracing::field::Empty;
    tracing::info_span!(
        "chat",
        otel.kind = "server",
        request.id = %head.request_id,
        request.attempt = head.attempt,
        { semconv::GEN_AI_OPERATION_NAME } = semconv::OPERATION_CHAT,
        { semconv::GEN_AI_PROVIDER_NAME } = semconv::PROVIDER,
        { semconv::GEN_AI_REQUEST_MODEL } = card.name.as_str(),
        { semconv::GEN_AI_REQUEST_MAX_TOKENS } = plan.limit,
        { semconv::GEN_AI_RESPONSE_ID } = Empty,
        { semconv::GEN_AI_RESPONSE_MODEL } = card.name.as_str(),
        { semconv::GEN_AI_RESPONSE_FINISH_REASONS } = Empty,
        { semconv::GEN_AI_USAGE_INPUT_TOKENS } = Empty,
        { semconv::GEN_AI_USAGE_OUTPUT_TOKENS } = Empty,
        { semconv::ERROR_TYPE } = Empty,
    )
}
