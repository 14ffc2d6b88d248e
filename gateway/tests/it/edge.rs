//! What every request meets, whatever its route.

use std::time::Duration;

use cocoon_runtime::Drained;
use http::Method;
use serde_json::json;

use super::contract;
use super::rig::{PATIENCE, Rig, Setup, install_tls, read};

async fn without_worker() -> Rig {
    Rig::with(Setup { engine: None, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_lead_nowhere_get_openais_error_object() {
    let rig = without_worker().await;
    for (method, path, status, code) in [
        (Method::GET, "/v1/nothing", 404, "unknown_url"),
        (Method::GET, "/elsewhere", 404, "unknown_url"),
        (Method::GET, "/v1/chat/completions", 405, "method_not_allowed"),
        (Method::PUT, "/v1/keys", 405, "method_not_allowed"),
        (Method::GET, "/v1/embeddings", 405, "method_not_allowed"),
        (Method::PUT, "/v1/responses", 405, "method_not_allowed"),
        (Method::POST, "/v1/responses/compact", 501, "not_implemented"),
        (Method::POST, "/v1/responses/input_tokens", 501, "not_implemented"),
        (Method::POST, "/v1/responses/resp_1/cancel", 501, "not_implemented"),
        (Method::POST, "/v1/responses/resp_1", 501, "not_implemented"),
        (Method::GET, "/v1/responses/resp_1", 404, "response_not_found"),
        (Method::DELETE, "/v1/responses/resp_1", 404, "response_not_found"),
        (Method::GET, "/v1/responses/resp_1/input_items", 404, "response_not_found"),
        (Method::POST, "/v1/images/generations", 501, "not_implemented"),
        (Method::POST, "/v1/completions/x", 404, "unknown_url"),
        (Method::GET, "/v1/files/file-1", 501, "not_implemented"),
        (Method::GET, "/v1/embeddingsx", 404, "unknown_url"),
        (Method::GET, "/v1/chat/completions/chatcmpl-1", 501, "not_implemented"),
    ] {
        let answer = rig.call_undocumented(method, path, None, None).await;
        answer.refused(status, code);
        contract::check_component("ErrorBody", &answer.body);
        assert_eq!(answer.headers["x-should-retry"], "false");
        assert!(answer.headers.contains_key("x-request-id"));
        assert_eq!(answer.headers.contains_key("openai-version"), path.starts_with("/v1/"));
        if status == 501 {
            let message = answer.body["error"]["message"].as_str().expect("a message");
            assert!(message.contains(path), "{message}");
        }
        assert_eq!(answer.headers.contains_key("allow"), status == 405, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_may_call() {
    let rig = without_worker().await;
    let preflight = rig
        .client
        .request(Method::OPTIONS, rig.url("/v1/chat/completions"))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,x-stainless-os")
        .send()
        .await
        .expect("an answer");
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    assert_eq!(preflight.headers()["access-control-allow-headers"], "authorization,x-stainless-os");
    // A browser that does not ask is told of what SDKs send.
    let preflight = rig.client.request(Method::OPTIONS, rig.url("/v1/embeddings"));
    let preflight = preflight.header("access-control-request-method", "POST").send().await;
    let preflight = preflight.expect("an answer");
    let allowed = preflight.headers()["access-control-allow-headers"].to_str().expect("ASCII");
    for header in ["authorization", "idempotency-key", "x-stainless-retry-count"] {
        assert!(allowed.contains(header), "{header} is not in {allowed}");
    }

    let refused = rig.client.get(rig.url("/v1/models")).send().await.expect("an answer");
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["access-control-allow-origin"], "*");
    let exposed = refused.headers()["access-control-expose-headers"].to_str().expect("ASCII");
    for header in [
        "x-request-id",
        "x-should-retry",
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
        "openai-processing-ms",
        "openai-version",
        "idempotent-replayed",
        "cocoon-receipt-id",
        "cocoon-assurance",
        "cocoon-worker",
        "cocoon-dropped-tools",
    ] {
        assert!(exposed.contains(header), "{header} is not in {exposed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_need_no_key() {
    let rig = without_worker().await;
    assert_eq!(rig.get("getHealth", "/health", None).await.body["status"], "ok");
    let ready = rig.get("getReady", "/ready", None).await;
    assert_eq!((ready.status, &ready.body["status"]), (503, &json!("no_worker")));
    let index = rig.call_undocumented(Method::GET, "/", None, None).await;
    assert_eq!((index.status, &index.body["openai_base_url"]), (200, &json!("/v1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_on_the_admin_listener_alone() {
    let rig = without_worker().await;
    rig.get("getHealth", "/health", None).await;
    let url = format!("http://{}/metrics", rig.gateway.admin);
    let metrics = rig.client.get(url).send().await.expect("an answer");
    let text = metrics.text().await.expect("text");
    let line = text.lines().find(|line| line.starts_with("cocoon_http_requests_total"));
    let line = line.expect("requests are counted");
    assert!(line.contains("route=\"/health\"") && line.contains("status=\"200\""), "{line}");
    let public = rig.call_undocumented(Method::GET, "/metrics", None, None).await;
    assert_eq!(public.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_makes_it_https_with_http2() {
    install_tls();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let dir = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let rig = Rig::with(Setup {
        engine: None,
        api: format!("tls_certificate = {certificate:?}\ntls_key = {key:?}"),
        ..Setup::default()
    })
    .await;
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).expect("a root");
    let client = reqwest::Client::builder()
        .tls_certs_only([root])
        .timeout(PATIENCE)
        .build()
        .expect("a client");
    let port = rig.gateway.api.port();
    let response = client.get(format!("https://localhost:{port}/health")).send().await;
    assert_eq!(read(response.expect("an answer")).await.body["status"], "ok");
    let plain = rig.client.get(format!("http://localhost:{port}/health")).send().await;
    assert!(plain.is_err(), "plain HTTP was answered");
    let text = std::fs::read_to_string(rig.data_dir.path().join("gateway/endpoints.json"));
    assert!(text.expect("endpoints").contains("\"https://127.0.0.1:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_ends_cleanly_and_starts_again_with_what_it_knew() {
    install_tls();
    let dir = tempfile::tempdir().expect("a directory");
    let setup = Setup::default();
    let policy = super::rig::write_policy(dir.path());
    let start = async || {
        let toml = super::rig::gateway_toml(dir.path(), &policy, &setup);
        let config = cocoon_gateway::config::Config::from_toml(&toml).expect("valid");
        let clock = setup.clock.clone();
        cocoon_gateway::compose::Gateway::start(config, clock).await.expect("it starts")
    };
    let first = start().await;
    let keys = (first.receipt_key, first.uplink_spki_sha256);
    assert_eq!(first.drain(Duration::from_secs(10)).await, Drained::Finished);
    let second = start().await;
    assert_eq!((second.receipt_key, second.uplink_spki_sha256), keys);
    assert_eq!(second.drain(Duration::from_secs(10)).await, Drained::Finished);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_no_text_names_nothing() {
    let rig = without_worker().await;
    let payer = rig.payer(1, 0).await;
    for path in ["/v1/models/%FF", "/v1/receipts/%FF"] {
        let answer = rig.call_undocumented(Method::GET, path, Some(&payer.key), None).await;
        answer.refused(404, "unknown_url");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_gateway_with_a_worker_and_open_connections_ends_at_once() {
    let rig = Rig::start().await;
    // The client keeps its connection for a next request that never comes.
    assert_eq!(rig.get("getHealth", "/health", None).await.status, 200);
    let _silent = tokio::net::TcpStream::connect(rig.gateway.api).await.expect("a connection");
    let started = tokio::time::Instant::now();
    assert_eq!(rig.gateway.drain(Duration::from_secs(30)).await, Drained::Finished);
    assert!(started.elapsed() < Duration::from_secs(2), "it took {:?}", started.elapsed());
}
