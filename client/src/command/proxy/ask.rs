//! The routes: inference is sealed, the list of models is annotated, the account's books are passed
//! on as they are, and everything else is refused.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::error::ErrorBody;
use cocoon_primitives::RequestId;
use cocoon_seal::{BODY_BYTES_MAX, SealedRefusal};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::exchange::{Asked, model_of};
use super::problem::{Problem, Told};
use super::relay::Opening;
use super::roster::is_fatal;
use super::send::{Begun, Payer, send};
use super::{Proxy, guard};
use crate::error::CliError;
use crate::trust::TrustError;
use crate::trust::worker::Admitted;

const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// The body budget is counted in these.
const MIB: usize = 1 << 20;
const KEY_BYTES_MAX: usize = 4096;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const ASSURANCE: HeaderName = HeaderName::from_static("cocoon-assurance");
const WORKER: HeaderName = HeaderName::from_static("cocoon-worker");
const RECEIPT_ID: HeaderName = HeaderName::from_static("cocoon-receipt-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const DROPPED_TOOLS: HeaderName = HeaderName::from_static("cocoon-dropped-tools");

pub(super) fn router(proxy: Arc<Proxy>) -> Router {
    let listens = proxy.listens;
    let mut routes = Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(models))
        .route("/v1/balance", get(books))
        .route("/v1/usage", get(books))
        .route("/v1/receipts/{id}", get(books));
    for endpoint in Endpoint::ALL {
        let ask =
            move |proxy: State<Arc<Proxy>>, request: Request| answer(proxy, endpoint, request);
        routes = routes.route(endpoint.path(), post(ask));
    }
    let routes = routes.fallback(unsealable).method_not_allowed_fallback(unsealable);
    let routes = routes.with_state(proxy);
    let routes = routes.layer(from_fn_with_state(listens, guard::check));
    routes.layer(map_response(named))
}

/// OpenAI's clients show an answer's id, errors included.
async fn named(mut response: Response) -> Response {
    let mut random = [0; RequestId::BYTES];
    if !response.headers().contains_key(REQUEST_ID) && getrandom::fill(&mut random).is_ok() {
        let id = RequestId::from_bytes(random).to_string();
        let id = HeaderValue::try_from(id).expect("an id is visible ASCII");
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// 200 while requests are taken, 503 with the reason afterwards.
async fn health(State(proxy): State<Arc<Proxy>>) -> Response {
    match proxy.settlement.latch.check() {
        Ok(()) => axum::Json(json!({ "status": "ok" })).into_response(),
        Err(doubt) => {
            let told = json!({ "status": "refusing", "code": doubt.code, "reason": doubt.reason });
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(told)).into_response()
        }
    }
}

async fn unsealable(request: Request) -> Problem {
    let path = request.uri().path().to_owned();
    let hint = match Endpoint::from_path(&path) {
        Some(_) => "send it with POST",
        None if path.starts_with("/v1/") => "ask the gateway itself, with `cocoon` or over HTTP",
        None => "OpenAI's routes are under /v1",
    };
    Problem::Unsealable { method: request.method().to_string(), path, hint }
}

/// The gateway's own list; beside each model, how many workers your policy admits.
async fn models(State(proxy): State<Arc<Proxy>>, request: Request) -> Result<Response, Problem> {
    let key = proxy.key(request.headers())?;
    let path = request.uri().path();
    if climbs(path) {
        return Err(unsealable(request).await);
    }
    let answer = proxy.gateway.get(path.trim_start_matches("/v1"), &key).await?;
    let mut answer: Value = serde_json::from_slice(&answer)
        .map_err(|_| Problem::Shape("its list of models is unreadable"))?;
    match answer.get_mut("data").and_then(Value::as_array_mut) {
        None => annotate(&proxy, &mut answer),
        Some(models) => {
            for model in models {
                annotate(&proxy, model);
            }
        }
    }
    Ok(axum::Json(answer).into_response())
}

/// Balance, usage and receipts: the gateway has them, and nothing that was said is in them.
async fn books(State(proxy): State<Arc<Proxy>>, request: Request) -> Result<Response, Problem> {
    let key = proxy.key(request.headers())?;
    if climbs(request.uri().path()) {
        return Err(unsealable(request).await);
    }
    let asked = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let answer = proxy.gateway.get(asked.trim_start_matches("/v1"), &key).await?;
    let mut response = Response::new(Body::from(answer));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Whether a path would lead elsewhere once it is resolved.
fn climbs(path: &str) -> bool {
    path.split('/').any(|part| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        part == "." || part == ".."
    })
}

fn annotate(proxy: &Proxy, model: &mut Value) {
    let name = model.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
    let Some(name) = name else { return };
    let admitted = proxy.roster.count(&name);
    if let Some(cocoon) = model.get_mut("cocoon").and_then(Value::as_object_mut) {
        cocoon.insert("admitted_workers".into(), admitted.into());
        cocoon.insert("sealed".into(), true.into());
    }
}

async fn answer(
    State(proxy): State<Arc<Proxy>>,
    endpoint: Endpoint,
    request: Request,
) -> Result<Response, Problem> {
    proxy.settlement.latch.check()?;
    let key = proxy.key(request.headers())?;
    guard::check_json(request.headers())?;
    let idempotency = request.headers().get(IDEMPOTENCY_KEY).cloned();
    let permit = proxy.requests.clone().try_acquire_owned().map_err(|_| Problem::Busy)?;
    let (body, room) = read(&proxy, request).await?;
    let model = model_of(endpoint, &body)?;
    let wallet = proxy.accounts.wallet(&proxy.gateway, &key).await?;
    let offer = proxy.accounts.offer(&proxy.gateway, &key, &model).await?;
    let asked = Asked::read(endpoint, body, &offer, proxy.max_price, Arc::new(room))?;
    let idempotency = idempotency.map(|value| asked.idempotency(&key, &value));
    let payer = Payer { key: &key, wallet, idempotency };
    let Begun { relay, opening, mut headers, exchange } =
        send(&proxy, &asked, &payer, untrusted).await?;
    let (head, worker) = match opening {
        Opening::Answer { head, worker } => (head, worker),
        Opening::Refusal(refusal) => return Err(refused(&refusal, headers)),
    };
    headers.extend(proven(&exchange.head.request_id.to_string(), &worker));
    let content_type = HeaderValue::try_from(head.content_type)
        .map_err(|_| Problem::Shape("its content type is none"))?;
    headers.insert(CONTENT_TYPE, content_type);
    let dropped = head.dropped_tools.and_then(|tools| HeaderValue::try_from(tools).ok());
    headers.extend(dropped.map(|tools| (DROPPED_TOOLS, tools)));
    let body = match asked.is_stream {
        true => held(relay.stream(), permit),
        false => {
            let (body, room) = relay.whole().await?;
            held(Body::from(body), (permit, room))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(head.status)
        .ok()
        .filter(StatusCode::is_success)
        .ok_or(Problem::Shape("its status is none of an answer"))?;
    *response.headers_mut() = headers;
    Ok(response)
}

/// What was checked here, whatever the gateway said of it.
fn proven(request_id: &str, worker: &Admitted) -> HeaderMap {
    let text = |value: String| HeaderValue::try_from(value).expect("ids are visible ASCII");
    HeaderMap::from_iter([
        (ASSURANCE, HeaderValue::from_static(worker.assurance.as_str())),
        (WORKER, text(worker.worker_id.to_string())),
        (RECEIPT_ID, text(request_id.to_owned())),
        (REQUEST_ID, text(request_id.to_owned())),
    ])
}

/// A worker's own refusal, which only this proxy could read.
fn refused(refusal: &SealedRefusal, headers: HeaderMap) -> Problem {
    let status = StatusCode::from_u16(refusal.status).ok();
    let status = status.filter(|status| status.is_client_error() || status.is_server_error());
    let body = serde_json::from_str::<ErrorBody>(refusal.body.get()).ok();
    match (status, body) {
        (Some(status), Some(body)) => Problem::Told(Box::new(Told { status, headers, body })),
        _ => Problem::Shape("a worker's refusal is unreadable"),
    }
}

/// A log that contradicts itself ends all work; other doubts end this request.
fn untrusted(proxy: &Proxy, error: TrustError) -> Problem {
    match error {
        TrustError::Doubt(doubt) => {
            if is_fatal(&doubt) {
                proxy.settlement.latch.close(doubt.clone(), None);
            }
            doubt.into()
        }
        TrustError::Call(CliError::Unreachable { .. }) => Problem::Unreachable,
        TrustError::Call(CliError::Refused(refusal)) => {
            let reason = format!(
                "the gateway does not say who its workers are ({}): {}",
                refusal.status, refusal.message
            );
            crate::trust::Doubt::new("attestation_unavailable", reason).into()
        }
        TrustError::Call(error) => {
            let reason = format!("the gateway's workers cannot be verified: {error}");
            crate::trust::Doubt::new("attestation_unavailable", reason).into()
        }
    }
}

/// The whole body, and the room that it takes.
async fn read(proxy: &Proxy, request: Request) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
        return Err(Problem::TooLarge { bytes_max: BODY_BYTES_MAX });
    }
    let mib = announced.unwrap_or(BODY_BYTES_MAX).div_ceil(MIB).max(1);
    let mib = u32::try_from(mib).map_err(|_| Problem::Busy)?;
    let room = proxy.bodies.clone().try_acquire_many_owned(mib).map_err(|_| Problem::Busy)?;
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    match timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok((body.to_bytes(), room)),
        Ok(Err(_)) => Err(Problem::TooLarge { bytes_max: BODY_BYTES_MAX }),
        Err(_) => Err(Problem::Slow),
    }
}

/// The body, with what must not be given back before it ends.
fn held<T: Send + Sync + 'static>(body: Body, permits: T) -> Body {
    let permits = Arc::new(permits);
    Body::new(body.map_frame(move |frame| {
        let _held = &permits;
        frame
    }))
}

impl Proxy {
    /// The key that a request is sent with.
    fn key(&self, headers: &HeaderMap) -> Result<String, Problem> {
        let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|value| value.split_once(' '));
        let sent = sent.filter(|(scheme, key)| {
            scheme.eq_ignore_ascii_case("bearer")
                && (1..=KEY_BYTES_MAX).contains(&key.len())
                && key.bytes().all(|byte| byte.is_ascii_graphic())
        });
        let sent = sent.map(|(_, key)| key.to_owned()).filter(|_| !self.injects_key);
        sent.or_else(|| self.own_key.clone()).ok_or(Problem::NoKey)
    }
}
