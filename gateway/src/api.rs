//! Every route on one page; a handler's file is `api/<noun>/<verb>.rs`.
//!
//! Handlers read their input, ask the parts that decide, and shape the answer. Times go out as
//! Unix seconds, amounts as integers that end in `_nano`.

mod account;
mod attestation;
mod auth;
mod docs;
mod inference;
mod keys;
mod models;
mod receipts;
mod service;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, Request};
use axum::response::{IntoResponse, Response};
use cocoon_primitives::{Clock, Timestamp};
use cocoon_runtime::Lifecycle;
use cocoon_store::Store;
use http::Method;
use serde_json::json;

use crate::auth::{Authenticator, KeyTable, SignIn, Throttle};
use crate::dispatch::Dispatcher;
use crate::ear::EarSigner;
use crate::edge::body::{BodyBudget, BodyLimits};
use crate::edge::problem::{Problem, RouteProblem};
use crate::edge::share::{self, Shares};
use crate::idempotency::Idempotency;
use crate::policy::PolicyStore;
use crate::rates::Rates;
use crate::transparency::{Reports, Transparency};
use crate::uplink::SharedFleet;

pub use attestation::Visits;

/// The largest body of a route that is not inference, and the longest that one may take: some of
/// them are open to strangers.
const SMALL_BODY_BYTES_MAX: usize = 16 << 10;
const SMALL_BODY_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Declares the routes once: the table that tests compare with `openapi.yaml`, and the router.
macro_rules! routes {
    ($($method:ident $path:literal => $handler:path;)*) => {
        /// Method in lower case and path of every route.
        pub const ROUTES: &[(&str, &str)] = &[$((stringify!($method), $path)),*];

        fn routes() -> Router<ApiParts> {
            Router::new()$(.route($path, axum::routing::$method($handler)))*
        }
    };
}

routes! {
    post   "/v1/chat/completions"      => inference::chat_completions;
    post   "/v1/responses"             => inference::responses;
    post   "/v1/completions"           => inference::completions;
    post   "/v1/embeddings"            => inference::embeddings;
    get    "/v1/models"                => models::list::list;
    get    "/v1/models/{*id}"          => models::get::get;
    post   "/v1/auth/ton-proof/payload" => auth::payload::payload;
    post   "/v1/auth/ton-proof"        => auth::ton_proof::ton_proof;
    get    "/v1/keys"                  => keys::list::list;
    post   "/v1/keys"                  => keys::create::create;
    delete "/v1/keys/{id}"             => keys::delete::delete;
    get    "/v1/balance"               => account::balance;
    get    "/v1/usage"                 => account::usage;
    get    "/v1/receipts/{id}"         => receipts::get::get;
    get    "/v1/attestation/workers"   => attestation::workers::workers;
    get    "/v1/attestation/report"    => attestation::report::report;
    get    "/v1/attestation/policy"    => attestation::policy::policy;
    get    "/v1/attestation/evidence/{digest}" => attestation::evidence::evidence;
    get    "/v1/attestation/log"       => attestation::log::head;
    get    "/v1/attestation/log/entries" => attestation::log::entries;
    get    "/v1/attestation/log/inclusion" => attestation::log::inclusion;
    get    "/v1/attestation/log/consistency" => attestation::log::consistency;
    get    "/health"                   => service::health;
    get    "/ready"                    => service::ready;
    get    "/docs"                     => docs::page;
    get    "/openapi.yaml"             => docs::yaml;
    get    "/openapi.json"             => docs::json;
    get    "/llms.txt"                 => docs::llms;
}

/// OpenAI's routes that are not served here: their callers are told so by name. What stands below
/// one that is served is meant too.
const NOT_IMPLEMENTED: [&str; 20] = [
    "/v1/assistants",
    "/v1/audio",
    "/v1/batches",
    "/v1/chat/completions",
    "/v1/chatkit",
    "/v1/containers",
    "/v1/conversations",
    "/v1/evals",
    "/v1/files",
    "/v1/fine_tuning",
    "/v1/images",
    "/v1/moderations",
    "/v1/organization",
    "/v1/realtime",
    "/v1/responses",
    "/v1/skills",
    "/v1/threads",
    "/v1/uploads",
    "/v1/vector_stores",
    "/v1/videos",
];

/// Declares what handlers may ask for, each as an argument of its own.
macro_rules! parts {
    ($($(#[$doc:meta])* $field:ident: $part:ty,)*) => {
        /// What the routes are made of.
        #[derive(Clone)]
        pub struct ApiParts {
            $($(#[$doc])* pub $field: $part,)*
        }

        $(impl FromRef<ApiParts> for $part {
            fn from_ref(parts: &ApiParts) -> Self {
                parts.$field.clone()
            }
        })*
    };
}

parts! {
    authenticator: Arc<Authenticator>,
    body_budget: BodyBudget,
    /// For inference; other routes take smaller bodies.
    body_limits: BodyLimits,
    clock: Arc<dyn Clock>,
    dispatcher: Arc<Dispatcher>,
    ear: Arc<EarSigner>,
    fleet: SharedFleet,
    gateway_key: GatewayKey,
    idempotency: Arc<Idempotency>,
    keys: Arc<KeyTable>,
    lifecycle: Lifecycle,
    policy: Arc<PolicyStore>,
    rates: Arc<Rates>,
    reports: Arc<Reports>,
    shares: Arc<Shares>,
    sign_in: Arc<SignIn>,
    started_at: StartedAt,
    store: Store,
    throttle: Arc<Throttle>,
    transparency: Arc<Transparency>,
    visits: Visits,
}

/// The public half of the key that countersigns receipts and signs heads of the log.
#[derive(Debug, Clone, Copy)]
pub struct GatewayKey(pub [u8; 32]);

/// When this process began to serve.
#[derive(Debug, Clone, Copy)]
pub struct StartedAt(pub Timestamp);

/// The public API, without the edge around it.
pub fn router(parts: ApiParts) -> Router {
    let share = axum::middleware::from_fn_with_state(parts.clone(), share::share::<ApiParts>);
    routes()
        .layer(share)
        .fallback(fallback)
        .method_not_allowed_fallback(wrong_method)
        .with_state(parts)
}

/// The body limits of routes that take a few fields.
fn small(limits: BodyLimits) -> BodyLimits {
    BodyLimits {
        bytes_max: limits.bytes_max.min(SMALL_BODY_BYTES_MAX),
        timeout: limits.timeout.min(SMALL_BODY_TIMEOUT_MAX),
    }
}

async fn fallback(request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if path == "/" && (method == Method::GET || method == Method::HEAD) {
        let pointers = json!({
            "service": "cocoon-gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "openai_base_url": "/v1",
            "documentation": "/docs",
        });
        return axum::Json(pointers).into_response();
    }
    if asks_for_response(&method, &path) {
        return Problem::NotFound { what: "response", code: "response_not_found" }.into_response();
    }
    let is_below = |route: &str| {
        path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let problem = if NOT_IMPLEMENTED.into_iter().any(is_below) {
        RouteProblem::NotImplemented { method, path }
    } else {
        RouteProblem::Unknown { method, path }
    };
    Problem::from(problem).into_response()
}

/// Whether the request is for a response that was made before. None is ever stored, so there is
/// none with any id.
fn asks_for_response(method: &Method, path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/v1/responses/") else { return false };
    let is_id = |id: &str| !id.is_empty() && id != "compact" && id != "input_tokens";
    let parts: Vec<&str> = rest.splitn(3, '/').collect();
    match *parts {
        [id] => is_id(id) && matches!(*method, Method::GET | Method::DELETE),
        [id, "input_items"] => is_id(id) && method == Method::GET,
        _ => false,
    }
}

async fn wrong_method(request: Request) -> Problem {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    RouteProblem::Method { method, path }.into()
}
