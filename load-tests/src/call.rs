//! One chat completion over HTTP, as an impatient client: sent, read to its end, or left.
//!
//! Bounds: a whole body of [`BODY_BYTES_MAX`], events of [`EVENT_BYTES_MAX`], one deadline for all of it.
//! The answer's end is judged strictly: a stream without `[DONE]` is broken, however politely it closed.

use std::time::Duration;

use bytes::Bytes;
use cocoon_openai_wire::sse;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::plan::Arrival;
use crate::record::{Outcome, Record, Usage};

const BODY_BYTES_MAX: usize = 8 << 20;
const EVENT_BYTES_MAX: usize = 1 << 20;

pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

/// A pool of at most `connections` idle connections.
pub(crate) fn http(connections: usize) -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(5)));
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(connections).build(connector)
}

/// Where requests go and what each asks.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) url: Uri,
    pub(crate) key: String,
    pub(crate) model: String,
    pub(crate) prompt: String,
    pub(crate) tokens: u32,
    pub(crate) deadline: Duration,
    /// How long to go on trying while nobody listens; a restart of the server is no lost request.
    pub(crate) patience: Duration,
}

/// What one attempt came to, before it is given times relative to the intended start.
struct Ended {
    outcome: Outcome,
    request_id: Option<String>,
    usage: Option<Usage>,
    first_token: Option<Instant>,
}

impl Ended {
    fn without_answer(outcome: Outcome) -> Self {
        Self { outcome, request_id: None, usage: None, first_token: None }
    }
}

/// Sends one request that was meant to start at `intended`, and sees how it ends.
pub(crate) async fn call(
    http: &Http,
    target: &Target,
    arrival: Arrival,
    intended: Instant,
) -> Record {
    let started = Instant::now();
    let deadline = started + target.deadline;
    let leave_at = arrival.cancel_after.map_or(deadline, |after| deadline.min(started + after));
    let mut heard = Heard::default();
    let ended = match timeout_at(leave_at, converse(http, target, arrival, &mut heard)).await {
        Ok(ended) => ended,
        // The future is gone, and with it the connection: the server sees the client leave.
        Err(_) => Ended {
            outcome: if leave_at < deadline { Outcome::Cancelled } else { Outcome::TimedOut },
            request_id: heard.request_id.take(),
            usage: None,
            first_token: heard.first_token,
        },
    };
    Record {
        index: arrival.index,
        outcome: ended.outcome,
        request_id: ended.request_id,
        usage: ended.usage,
        first_token: ended.first_token.map(|at| at.saturating_duration_since(intended)),
        total: intended.elapsed(),
    }
}

/// What stays known of a conversation that is cut short.
#[derive(Default)]
struct Heard {
    request_id: Option<String>,
    first_token: Option<Instant>,
}

async fn converse(http: &Http, target: &Target, arrival: Arrival, heard: &mut Heard) -> Ended {
    let Some(response) = head(http, target, arrival).await else {
        return Ended::without_answer(Outcome::Unreachable);
    };
    heard.request_id =
        response.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let status = response.status();
    let (outcome, usage) = if status != StatusCode::OK {
        drain(response).await;
        (Outcome::Refused { status: status.as_u16() }, None)
    } else if arrival.stream {
        stream(response, heard).await
    } else {
        whole(response, heard).await
    };
    Ended { outcome, request_id: heard.request_id.take(), usage, first_token: heard.first_token }
}

/// The response head; tries again while nobody listens, until the target's patience ends.
async fn head(http: &Http, target: &Target, arrival: Arrival) -> Option<Response<Incoming>> {
    let give_up = Instant::now() + target.patience;
    loop {
        match http.request(request(target, arrival)).await {
            Ok(response) => return Some(response),
            // Only where no connection was made: anything later may have been charged, and is not sent twice.
            Err(error) if error.is_connect() && Instant::now() < give_up => {
                tokio::time::sleep_until(Instant::now() + Duration::from_millis(100)).await;
            }
            Err(_) => return None,
        }
    }
}

fn request(target: &Target, arrival: Arrival) -> Request<Full<Bytes>> {
    let mut body = json!({
        "model": target.model,
        "messages": [{ "role": "user", "content": target.prompt }],
        "max_completion_tokens": target.tokens,
        "seed": arrival.index,
    });
    if arrival.stream {
        body["stream"] = json!(true);
        body["stream_options"] = json!({ "include_usage": true });
    }
    Request::post(target.url.clone())
        .header(header::AUTHORIZATION, format!("Bearer {}", target.key))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("the parts of the request were checked when the target was made")
}

async fn drain(response: Response<Incoming>) {
    // The connection is used again only if the body was read; what it says does not matter here.
    drop(Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await);
}

async fn whole(response: Response<Incoming>, heard: &mut Heard) -> (Outcome, Option<Usage>) {
    let body = match Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => return (Outcome::Broken, None),
    };
    heard.first_token = Some(Instant::now());
    let usage = serde_json::from_slice::<Value>(&body).ok().as_ref().and_then(usage_of);
    if usage.is_some() { (Outcome::Completed, usage) } else { (Outcome::Broken, None) }
}

async fn stream(response: Response<Incoming>, heard: &mut Heard) -> (Outcome, Option<Usage>) {
    let mut body = response.into_body();
    let mut decoder = sse::Decoder::new(EVENT_BYTES_MAX);
    let mut usage = None;
    let mut done = false;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (Outcome::Broken, usage) };
        let Ok(data) = frame.into_data() else { continue };
        decoder.push(&data);
        loop {
            let event = match decoder.next_event() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(_) => return (Outcome::Broken, usage),
            };
            if event.is_done() {
                done = true;
                continue;
            }
            let Ok(chunk) = serde_json::from_str::<Value>(&event.data) else {
                return (Outcome::Broken, usage);
            };
            if chunk.get("error").is_some() {
                return (Outcome::Broken, usage);
            }
            usage = usage.or_else(|| usage_of(&chunk));
            if heard.first_token.is_none() && has_content(&chunk) {
                heard.first_token = Some(Instant::now());
            }
        }
    }
    (if done { Outcome::Completed } else { Outcome::Broken }, usage)
}

fn has_content(chunk: &Value) -> bool {
    chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty())
}

fn usage_of(answer: &Value) -> Option<Usage> {
    let usage = answer.get("usage")?;
    Some(Usage {
        prompt: usage["prompt_tokens"].as_u64()?,
        cached: usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0),
        completion: usage["completion_tokens"].as_u64()?,
    })
}
