//! `/docs`, `/openapi.yaml`, `/openapi.json` and `/llms.txt`: the contract, for people and programs.
//!
//! All of it is part of the binary, rendered from `openapi.yaml` by `cargo xtask docs`. The page
//! loads nothing and runs nothing, and its policy says so to the browser: one style sheet is
//! allowed, by its hash.

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, header::HeaderName};
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("../../../docs/reference/index.html");
const YAML: &str = include_str!("../../../openapi.yaml");
const JSON: &str = include_str!("../../../docs/reference/openapi.json");
const LLMS: &str = include_str!("../../../docs/reference/llms.txt");

/// A new version of the gateway is seen soon enough.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");
const NO_SNIFFING: HeaderValue = HeaderValue::from_static("nosniff");

pub(super) async fn page() -> Response {
    let headers = [
        (CONTENT_SECURITY_POLICY, policy(PAGE)),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, document("text/html; charset=utf-8", PAGE)).into_response()
}

pub(super) async fn yaml() -> Response {
    document("application/yaml; charset=utf-8", YAML)
}

pub(super) async fn json() -> Response {
    document("application/json", JSON)
}

pub(super) async fn llms() -> Response {
    document("text/markdown; charset=utf-8", LLMS)
}

fn document(media_type: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, CACHE),
        (X_CONTENT_TYPE_OPTIONS, NO_SNIFFING),
    ];
    (headers, text).into_response()
}

/// Nothing but the page's own style sheet (Content Security Policy Level 3, §2.3.1).
fn policy(page: &str) -> HeaderValue {
    let style = page.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>"));
    let style = style.map_or("", |(style, _)| style);
    let hash = STANDARD.encode(Sha256::digest(style));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("base64 is visible ASCII")
}
