//! One request through two processes: what its trace tells, and what nothing may tell.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use bytes::Bytes;
use cocoon_gateway::edge::serve::{Site, serve};
use cocoon_primitives::Clock;
use cocoon_runtime::telemetry::{self, TelemetryConfig};
use cocoon_runtime::{Lifecycle, Signals, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use super::command_line::{endpoints, kill};
use super::rig::{
    DOMAIN, MODEL, PATIENCE, Setup, gateway_toml, install_tls, wallet, worker_evidence,
    write_policy,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PROMPT: &str = "zanzibar-prompt-51c7d2";
/// Names the worker's configuration to a process of its own.
const WORKER_CONFIG: &str = "COCOON_TEST_WORKER_CONFIG";
const WORKER_TEST: &str = "trace::a_worker_in_a_process_of_its_own";
/// All that our own code has to say, and nothing of protocols that print what they carry.
const FILTER: &str = "info,cocoon_gateway=trace,cocoon_worker=trace,cocoon_runtime=trace,\
    cocoon_store=trace,cocoon_fleet=trace,h2=warn,hyper=warn,rustls=warn,opentelemetry=warn";

/// Not a test but the worker of the one below, which runs this binary again. Telemetry is one
/// per process, and a trace that spans services needs two.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_in_a_process_of_its_own() {
    #[expect(clippy::disallowed_methods, reason = "how a process is told that it is the worker")]
    let Ok(path) = std::env::var(WORKER_CONFIG) else { return };
    let config = cocoon_worker::config::Config::load(Path::new(&path)).expect("a configuration");
    let metrics = telemetry::prometheus().expect("a recorder");
    let otlp_endpoint = config.telemetry.otlp_endpoint.clone();
    let config_of = TelemetryConfig { service: "cocoon-worker", otlp_endpoint, json: false };
    let telemetry = telemetry::init(&config_of).expect("telemetry");
    let mut signals = Signals::listen().expect("signals");
    let lifecycle = Lifecycle::new();
    let clock = Arc::new(SystemClock);
    Box::pin(cocoon_worker::compose::start(config, lifecycle.clone(), clock))
        .await
        .expect("the worker starts");
    signals.next().await;
    lifecycle.drain(PATIENCE).await;
    eprintln!("{}", metrics.render());
    drop(telemetry);
}

/// What came to the collector.
#[derive(Clone, Default)]
struct Exports(Arc<Mutex<Vec<Bytes>>>);

impl Exports {
    fn all(&self) -> Vec<Bytes> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    /// The spans of the request's trace.
    fn spans(&self) -> Vec<Span> {
        let trace = hex::decode(TRACE).expect("hex");
        let mut spans: Vec<Span> = self.all().iter().flat_map(|export| spans(export)).collect();
        spans.retain(|span| span.trace == trace);
        spans
    }
}

async fn collector(lifecycle: &Lifecycle) -> (String, Exports) {
    let exports = Exports::default();
    let keep = async |State(exports): State<Exports>, body: Bytes| {
        exports.0.lock().expect("nobody panics with it").push(body);
    };
    let routes = Router::new().fallback(keep).with_state(exports.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let site = Site {
        name: "collector",
        listener,
        routes,
        tls: None,
        connections_max: 8,
        header_timeout: PATIENCE,
    };
    lifecycle.spawn("collector", serve(site, lifecycle.clone()));
    (url, exports)
}

// === as much of protobuf as an export needs ===

#[derive(Debug)]
struct Span {
    service: String,
    trace: Vec<u8>,
    name: String,
    attributes: Vec<String>,
}

/// The submessages and texts of one message, by field.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = bytes.split_first().expect("a byte follows");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let length = match tag & 7 {
            0 => {
                varint(&mut bytes);
                continue;
            }
            1 => 8,
            5 => 4,
            2 => usize::try_from(varint(&mut bytes)).expect("it is in memory"),
            other => panic!("wire type {other}"),
        };
        let (value, rest) = bytes.split_at(length);
        found.push((tag >> 3, value));
        bytes = rest;
    }
    found
}

fn each(message: &[u8], field: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter(move |(found, _)| *found == field).map(|(_, value)| value)
}

fn text(message: &[u8], field: u64) -> String {
    let value = each(message, field).next().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

/// Field numbers of `opentelemetry.proto.trace.v1`.
fn spans(export: &[u8]) -> Vec<Span> {
    let mut found = Vec::new();
    for resource_spans in each(export, 1) {
        let resource = each(resource_spans, 1).flat_map(|resource| each(resource, 1));
        let service = resource
            .filter(|attribute| text(attribute, 1) == "service.name")
            .flat_map(|attribute| each(attribute, 2))
            .map(|value| text(value, 1))
            .next()
            .unwrap_or_default();
        for span in each(resource_spans, 2).flat_map(|scope| each(scope, 2)) {
            found.push(Span {
                service: service.clone(),
                trace: each(span, 1).next().unwrap_or_default().to_vec(),
                name: text(span, 5),
                attributes: each(span, 9).map(|attribute| text(attribute, 1)).collect(),
            });
        }
    }
    found
}

// === the two processes ===

struct Stack {
    dir: TempDir,
    gateway: Child,
    worker: Child,
    /// Of the gateway: see `endpoints.json`.
    endpoints: Value,
    client: reqwest::Client,
}

fn process(program: &Path, log: &Path) -> Command {
    let log = File::create(log).expect("a log");
    let mut command = Command::new(program);
    command
        .env("RUST_LOG", FILTER)
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .kill_on_drop(true);
    command
}

impl Stack {
    async fn start(collector: &str) -> Self {
        install_tls();
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let policy = write_policy(dir.path());
        let telemetry = format!("[telemetry]\notlp_endpoint = {collector:?}\n");
        let setup = Setup { gateway: telemetry.clone(), ..Setup::default() };
        let toml = gateway_toml(&path("data"), &policy, &setup);
        std::fs::write(path("gateway.toml"), toml).expect("written");
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_cocoon-gateway"));
        let mut command = process(&binary, &path("gateway.log"));
        command.arg("serve").arg("--config").arg(path("gateway.toml"));
        let gateway = command.spawn().expect("the gateway starts");
        let endpoints = endpoints(&path("data/endpoints.json")).await;

        let of = |name: &str| endpoints[name].as_str().expect("text");
        let toml = format!(
            "mode = \"development\"\ndata_dir = {:?}\ngateway = {:?}\n\
             gateway_spki_sha256 = {:?}\npayee = \"0:{}\"\n\
             [engine]\nkind = \"scripted\"\ntokens = 12\n\
             {}{telemetry}",
            path("worker"),
            of("uplink"),
            of("uplink_spki_sha256"),
            "ee".repeat(32),
            worker_evidence(&path("tee")),
        );
        std::fs::write(path("worker.toml"), toml).expect("written");
        let itself = std::env::current_exe().expect("this binary has a path");
        let mut command = process(&itself, &path("worker.log"));
        command.args(["--exact", WORKER_TEST, "--nocapture"]);
        command.env(WORKER_CONFIG, path("worker.toml"));
        let worker = command.spawn().expect("the worker starts");
        let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        Self { dir, gateway, worker, endpoints, client }
    }

    fn url(&self, endpoint: &str, path: &str) -> String {
        format!("{}{path}", self.endpoints[endpoint].as_str().expect("text"))
    }

    async fn post(&self, path: &str, credential: &str, body: &Value) -> Value {
        let asked = self.client.post(self.url("api", path)).bearer_auth(credential);
        let answer = asked.body(body.to_string()).send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("text"));
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// A session's token, and a key of a wallet that has credit.
    async fn credentials(&self) -> (String, String) {
        let wallet = wallet(1);
        let config = self.dir.path().join("gateway.toml");
        let mut credit = process(
            Path::new(env!("CARGO_BIN_EXE_cocoon-gateway")),
            &self.dir.path().join("credit.log"),
        );
        credit.args(["credit", &wallet.address().to_string(), "10", "--config"]).arg(config);
        assert!(credit.status().await.expect("it runs").success());
        let challenge = self.post("/v1/auth/ton-proof/payload", "", &json!({})).await;
        let of = |name: &str| challenge[name].as_str().expect("text").to_owned();
        let proof = wallet.sign_proof(&of("attempt"), DOMAIN, SystemClock.now(), &of("payload"));
        let proof = serde_json::to_value(proof.expect("short arguments")).expect("JSON");
        let session = self.post("/v1/auth/ton-proof", "", &proof).await;
        let token = session["token"].as_str().expect("text").to_owned();
        let key = self.post("/v1/keys", &token, &json!({ "name": "trace" })).await;
        (token, key["key"].as_str().expect("text").to_owned())
    }

    async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let mut ticks = interval(Duration::from_millis(20));
        let holds = async {
            while !condition().await {
                ticks.tick().await;
            }
        };
        assert!(timeout(PATIENCE, holds).await.is_ok(), "it never came to pass that {what}");
    }

    /// Ends both and returns what they printed.
    async fn end(mut self) -> String {
        let mut logs = String::new();
        for (child, log) in [(&mut self.worker, "worker.log"), (&mut self.gateway, "gateway.log")] {
            kill(child, "-TERM").await;
            timeout(PATIENCE, child.wait()).await.expect("it ends").expect("a status");
            logs += &std::fs::read_to_string(self.dir.path().join(log)).expect("a log");
        }
        logs
    }
}

fn assert_silent(place: &str, text: &str, secrets: &[&str], words: &[&str]) {
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is in the {place}");
    }
    let mut told = text.split(|c: char| !c.is_ascii_alphanumeric());
    assert!(!told.any(|word| words.contains(&word)), "the completion is in the {place}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_spans_both_services_and_nothing_tells_what_was_said() {
    let lifecycle = Lifecycle::new();
    let (url, exports) = collector(&lifecycle).await;
    let stack = Stack::start(&url).await;
    let (token, key) = stack.credentials().await;
    stack
        .until("a worker is there", async || {
            let ready = stack.client.get(stack.url("api", "/ready")).send().await;
            ready.expect("an answer").status() == 200
        })
        .await;
    let asked = stack.client.post(stack.url("api", "/v1/chat/completions")).bearer_auth(&key);
    let body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": PROMPT }] });
    let asked = asked.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let answer = asked.body(body.to_string()).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.expect("JSON");
    let completion = answer["choices"][0]["message"]["content"].as_str().expect("text");
    let words: Vec<&str> = completion.split_whitespace().collect();
    assert_eq!(words.len(), 12);

    let expected = [
        ("cocoon-gateway", "POST /v1/chat/completions", "request.id"),
        ("cocoon-gateway", "chat.reserve", "gen_ai.request.model"),
        ("cocoon-gateway", "chat.dispatch", "gen_ai.operation.name"),
        ("cocoon-gateway", "chat.settle", "gen_ai.usage.output_tokens"),
        ("cocoon-worker", "answer", "gen_ai.operation.name"),
        ("cocoon-worker", "answer", "gen_ai.request.model"),
        ("cocoon-worker", "answer", "gen_ai.response.finish_reasons"),
        ("cocoon-worker", "answer", "gen_ai.usage.input_tokens"),
    ];
    let missing = || {
        let spans = exports.spans();
        let is_there = |(service, name, attribute): &(&str, &str, &str)| {
            spans.iter().any(|span| {
                span.service == *service
                    && span.name == *name
                    && span.attributes.iter().any(|one| one == attribute)
            })
        };
        expected.iter().filter(|one| !is_there(one)).collect::<Vec<_>>()
    };
    let mut ticks = interval(Duration::from_millis(20));
    let exported = async {
        while !missing().is_empty() {
            ticks.tick().await;
        }
    };
    let exported = timeout(PATIENCE, exported).await;
    assert!(exported.is_ok(), "missing: {:?}\nspans: {:#?}", missing(), exports.spans());

    let metrics = stack.client.get(stack.url("admin", "/metrics")).send().await;
    let metrics = metrics.expect("an answer").text().await.expect("text");
    assert!(metrics.contains("cocoon_http_requests_total"), "{metrics}");
    let logs = stack.end().await;
    assert!(logs.contains("serving") && logs.contains("leased as"), "{logs}");
    let exported: String =
        exports.all().iter().map(|export| String::from_utf8_lossy(export).into_owned()).collect();
    let secrets = [PROMPT, completion, &key, &token];
    for (place, text) in [("metrics", &metrics), ("logs", &logs), ("spans", &exported)] {
        assert_silent(place, text, &secrets, &words);
    }
    lifecycle.hard().cancel();
}
