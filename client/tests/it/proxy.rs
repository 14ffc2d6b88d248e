//! `cocoon proxy` as its clients see it, against a small gateway that does one thing wrong at a
//! time.
#![expect(clippy::unwrap_used, reason = "only tests are in here")]

mod gateway;

use std::process::Stdio;
use std::time::Duration;

use cocoon_attest::policy::{SignatureFile, signed_hash};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use self::gateway::{Fake, Fault, KEY, MODEL, Shared, policy_text};
use crate::cocoon::{Home, Ran, mode};
use crate::gateway::with_peer;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running proxy; it is killed with the test.
struct Proxy {
    base_url: String,
    gateway: String,
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
    /// What it said before it listened.
    notices: Vec<Value>,
    http: reqwest::Client,
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only([]).build().unwrap()
}

fn arguments<'a>(url: &'a str, policy: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let common =
        ["proxy", "--json", "--base-url", url, "--policy", policy, "--listen", "127.0.0.1:0"];
    [common.as_slice(), rest].concat()
}

impl Proxy {
    async fn start(home: &Home, url: &str, rest: &[&str]) -> Self {
        let policy = home.write("policy.toml", &policy_text());
        Self::start_under(home, url, policy.to_str().unwrap(), rest).await
    }

    async fn start_under(home: &Home, url: &str, policy: &str, rest: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cocoon"))
            .args(arguments(url, policy, rest))
            .env_clear()
            .env("HOME", home.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut notices = Vec::new();
        let listening = loop {
            let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
            let event: Value = serde_json::from_str(&line.expect("it listens")).unwrap();
            if event["event"] == "listening" {
                break event;
            }
            notices.push(event);
        };
        let base_url = listening["base_url"].as_str().unwrap().to_owned();
        let gateway = listening["gateway"].as_str().unwrap().to_owned();
        Self { base_url, gateway, lines, child, notices, http: client() }
    }

    /// The next event of this kind.
    async fn event(&mut self, kind: &str) -> Value {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await.unwrap().unwrap();
            let event: Value = serde_json::from_str(&line.expect("it runs on")).unwrap();
            if event["event"] == kind {
                return event;
            }
        }
    }

    async fn chat(&self, is_stream: bool) -> reqwest::Response {
        let body = json!({ "model": MODEL, "stream": is_stream, "max_tokens": 16,
            "messages": [{ "role": "user", "content": "secret" }] });
        let request = self.http.post(format!("{}/chat/completions", self.base_url));
        request.bearer_auth(KEY).json(&body).send().await.unwrap()
    }

    /// The status and code of a refused chat, after its type was checked.
    async fn refused(&self) -> (u16, String) {
        let response = self.chat(false).await;
        let status = response.status().as_u16();
        let error = response.json::<Value>().await.unwrap()["error"].clone();
        assert_eq!(error["type"], "cocoon_verification_error", "{error}");
        (status, error["code"].as_str().unwrap().to_owned())
    }
}

const SOFTWARE: [&str; 1] = ["--allow-software"];

/// Runs `test` with a gateway that has this fault, and a proxy in front of it.
async fn with_proxy(fault: Fault, test: impl AsyncFnOnce(Shared, Home, Proxy)) {
    let fake = Fake::new(fault);
    with_peer(fake.router(), async |url| {
        let home = Home::new();
        let proxy = Proxy::start(&home, &url, &SOFTWARE).await;
        test(fake, home, proxy).await;
    })
    .await;
}

#[tokio::test]
async fn a_whole_answer_is_openai_s_and_its_receipt_is_kept() {
    with_proxy(Fault::None, async |fake, home, mut proxy| {
        let response = proxy.chat(false).await;
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["cocoon-assurance"], "software");
        assert!(!headers.contains_key("cocoon-sealed"));
        let id = headers["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(id, fake.request_ids()[0].to_string());
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], "Paris");

        let event = proxy.event("receipt").await;
        assert_eq!(event["request_id"], id.as_str());
        assert_eq!(event["charge_nano"], 1550);
        assert_eq!(event["assurance"], "software");
        assert_eq!(event["answer_checked"], true);
        let stored = home.path(&format!(".config/cocoon/receipts/{id}.json"));
        let ran = home.run(&["receipt", "verify", stored.to_str().unwrap()]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(mode(&stored), 0o600);
        let folder = home.path(".config/cocoon/receipts");
        assert_eq!(mode(&folder), 0o700);
        let audit = ["receipt", "audit", folder.to_str().unwrap(), "--complete", "--json"];
        assert_eq!(home.run(&audit).await.json()["totals"]["charge_nano"], 1550);
    })
    .await;
}

#[tokio::test]
async fn a_stream_is_re_emitted_and_several_answers_share_a_proof_of_life() {
    with_proxy(Fault::None, async |fake, _home, mut proxy| {
        for _ in 0..2 {
            let response = proxy.chat(true).await;
            let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
            assert!(content_type.starts_with("text/event-stream"), "{content_type}");
            let text = response.text().await.unwrap();
            assert!(text.starts_with("data: {") && text.ends_with("data: [DONE]\n\n"), "{text}");
            assert_eq!(text.matches("data: ").count(), 3);
            proxy.event("receipt").await;
        }
        assert_eq!(fake.asked(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_changed_frame_is_an_error_and_ends_all_work() {
    with_proxy(Fault::Tampered, async |fake, _home, mut proxy| {
        assert_eq!(proxy.refused().await, (502, "answer_tampered".to_owned()));
        assert_eq!(proxy.event("doubt").await["code"], "answer_tampered");
        fake.set(Fault::None);
        assert_eq!(proxy.refused().await, (502, "answer_tampered".to_owned()));
        assert_eq!(fake.asked(), 1);
        let health = proxy.http.get(proxy.base_url.replace("/v1", "/health"));
        assert_eq!(health.send().await.unwrap().status(), 503);
    })
    .await;
}

#[tokio::test]
async fn a_changed_frame_breaks_a_stream() {
    with_proxy(Fault::Tampered, async |_fake, _home, mut proxy| {
        let response = proxy.chat(true).await;
        assert_eq!(response.status(), 200);
        assert!(response.text().await.is_err());
        assert_eq!(proxy.event("doubt").await["code"], "answer_tampered");
    })
    .await;
}

#[tokio::test]
async fn a_truncated_answer_never_ends_cleanly() {
    with_proxy(Fault::Truncated, async |_fake, _home, proxy| {
        assert_eq!(proxy.refused().await, (502, "answer_truncated".to_owned()));
        let mut stream = proxy.chat(true).await;
        assert_eq!(stream.status(), 200);
        let mut text = Vec::new();
        let end = loop {
            match stream.chunk().await {
                Ok(Some(piece)) => text.extend_from_slice(&piece),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(end.is_err(), "the stream ended cleanly");
        assert!(String::from_utf8(text).unwrap().contains("Par"));
    })
    .await;
}

#[tokio::test]
async fn a_receipt_that_does_not_hold_ends_all_work() {
    for (fault, code) in [
        (Fault::Overcount, "receipt_usage"),
        (Fault::OtherAnswer, "receipt_answer_commitment"),
        (Fault::Expensive, "receipt_price"),
        (Fault::OtherWorker, "receipt_worker"),
        (Fault::NoReceipt, "receipt_missing"),
    ] {
        with_proxy(fault, async |fake, home, mut proxy| {
            assert_eq!(proxy.chat(false).await.status(), 200);
            assert_eq!(proxy.event("doubt").await["code"], code);
            assert_eq!(proxy.refused().await, (502, code.to_owned()));
            assert_eq!(fake.asked(), 1);
            // It is kept as what it is, and no receipt of anything.
            assert_eq!(refused_receipts(&home).len(), usize::from(fault != Fault::NoReceipt));
            let folder = home.path(".config/cocoon/receipts");
            let audit = ["receipt", "audit", folder.to_str().unwrap(), "--json"];
            assert_eq!(home.run(&audit).await.json()["files"], 0);
        })
        .await;
    }
}

fn refused_receipts(home: &Home) -> Vec<String> {
    let files = std::fs::read_dir(home.path(".config/cocoon/receipts")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".refused.json")).collect()
}

#[tokio::test]
async fn what_was_said_to_have_failed_is_not_charged() {
    for (fault, status) in
        [(Fault::StaleCharged, 200), (Fault::BusyCharged, 503), (Fault::RefusesCharged, 400)]
    {
        with_proxy(fault, async |fake, home, mut proxy| {
            assert_eq!(proxy.chat(false).await.status(), status);
            assert_eq!(proxy.event("doubt").await["code"], "charged_unopened");
            assert_eq!(proxy.refused().await, (502, "charged_unopened".to_owned()));
            assert_eq!(
                refused_receipts(&home),
                [format!("{}.refused.json", fake.request_ids()[0])]
            );
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_never_began_has_its_receipt_asked_for() {
    for (fault, code) in [(Fault::Silent, "answer_truncated"), (Fault::Lost, "gateway_unreachable")]
    {
        with_proxy(fault, async |fake, _home, mut proxy| {
            let response = proxy.chat(false).await;
            assert_eq!(response.status(), 502);
            let error: Value = response.json().await.unwrap();
            assert_eq!(error["error"]["code"], code);
            let event = proxy.event("receipt").await;
            assert_eq!(event["request_id"], fake.request_ids()[0].to_string());
            assert_eq!(event["answer_checked"], false);
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_wait_still_has_its_receipt() {
    with_proxy(Fault::Hangs, async |fake, _home, mut proxy| {
        tokio::select! {
            response = proxy.chat(false) => panic!("{response:?}"),
            () = fake.hangs() => {}
        }
        let event = proxy.event("receipt").await;
        assert_eq!(event["request_id"], fake.request_ids()[0].to_string());
        assert_eq!(event["answer_checked"], false);
    })
    .await;
}

#[tokio::test]
async fn a_receipt_that_nobody_can_ask_for_proves_nothing_either_way() {
    for fault in [Fault::Revoked, Fault::NoRoute, Fault::TruncatedUnsigned] {
        with_proxy(fault, async |fake, _home, mut proxy| {
            proxy.chat(false).await;
            let event = proxy.event("unproven").await;
            assert_eq!(event["request_id"], fake.request_ids()[0].to_string());
            fake.set(Fault::None);
            assert_eq!(proxy.chat(false).await.status(), 200);
        })
        .await;
    }
}

#[tokio::test]
async fn a_gateway_that_lets_no_answer_end_is_refused() {
    with_proxy(Fault::Truncated, async |fake, _home, mut proxy| {
        for _ in 0..15 {
            assert_eq!(proxy.refused().await, (502, "answer_truncated".to_owned()));
            assert_eq!(proxy.event("receipt").await["answer_checked"], false);
        }
        // One that ends begins the count anew.
        fake.set(Fault::None);
        assert_eq!(proxy.chat(false).await.status(), 200);
        assert_eq!(proxy.event("receipt").await["answer_checked"], true);
        fake.set(Fault::Truncated);
        for _ in 0..16 {
            assert_eq!(proxy.refused().await, (502, "answer_truncated".to_owned()));
            proxy.event("receipt").await;
        }
        assert_eq!(proxy.refused().await, (502, "answers_cut".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_frame_wider_than_workers_write_is_refused() {
    with_proxy(Fault::Wide, async |_fake, _home, mut proxy| {
        assert_eq!(proxy.refused().await, (502, "answer_tampered".to_owned()));
        assert_eq!(proxy.event("doubt").await["code"], "answer_tampered");
    })
    .await;
}

#[tokio::test]
async fn a_stale_key_is_repaired_once() {
    with_proxy(Fault::StaleKey, async |fake, _home, mut proxy| {
        assert_eq!(proxy.chat(false).await.status(), 200);
        proxy.event("receipt").await;
        let ids = fake.request_ids();
        assert_eq!(ids.len(), 2);
        assert_ne!(ids[0], ids[1]);
    })
    .await;
    with_proxy(Fault::AlwaysStale, async |fake, _home, proxy| {
        let response = proxy.chat(false).await;
        assert_eq!(response.status(), 422);
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["code"], "e2ee_key_config");
        assert_eq!(fake.asked(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_not_admitted_gets_nothing() {
    for (fault, reason) in [
        (Fault::NotAlive, "(nonce)"),
        (Fault::OtherLife, "(worker_mismatch)"),
        (Fault::OtherKey, "(worker_mismatch)"),
        (Fault::NotLogged, "(log_missing)"),
    ] {
        with_proxy(fault, async |fake, _home, proxy| {
            let response = proxy.chat(false).await;
            let error = response.json::<Value>().await.unwrap()["error"].clone();
            assert_eq!(error["code"], "no_admitted_worker", "{error}");
            assert!(error["message"].as_str().unwrap().contains(reason), "{error}");
            assert_eq!(fake.asked(), 0);
        })
        .await;
    }
    // The policy knows another model's files.
    let fake = Fake::new(Fault::None);
    with_peer(fake.router(), async |url| {
        let home = Home::new();
        let policy = policy_text().replace(&"ab".repeat(32), &"cd".repeat(32));
        let policy = home.write("other.toml", &policy);
        let proxy = Proxy::start_under(&home, &url, policy.to_str().unwrap(), &SOFTWARE).await;
        assert_eq!(proxy.notices[0]["code"], "model_manifest");
        assert_eq!(proxy.refused().await, (502, "no_admitted_worker".to_owned()));
        assert_eq!(fake.asked(), 0);
    })
    .await;
}

#[tokio::test]
async fn software_is_refused_unless_it_is_asked_for() {
    let fake = Fake::new(Fault::None);
    with_peer(fake.router(), async |url| {
        let home = Home::new();
        let proxy = Proxy::start(&home, &url, &[]).await;
        assert_eq!(proxy.notices[0]["code"], "software");
        assert_eq!(proxy.refused().await, (502, "no_admitted_worker".to_owned()));
        assert_eq!(fake.asked(), 0);
    })
    .await;
    let home = Home::new();
    let text = policy_text();
    let production = &text[..text.find("[software]").unwrap()].replace("development", "production");
    let policy = home.write("production.toml", production);
    let ran = run(&home, "http://127.0.0.1:1", policy.to_str().unwrap(), &SOFTWARE).await;
    assert_eq!(ran.code, 1, "{ran:?}");
}

async fn run(home: &Home, url: &str, policy: &str, rest: &[&str]) -> Ran {
    home.run(&arguments(url, policy, rest)).await
}

#[tokio::test]
async fn a_log_that_changed_its_past_is_refused_now_and_at_the_next_start() {
    let fake = Fake::new(Fault::None);
    with_peer(fake.router(), async |url| {
        let home = Home::new();
        let proxy = Proxy::start(&home, &url, &SOFTWARE).await;
        assert_eq!(proxy.chat(false).await.status(), 200);
        drop(proxy);
        fake.rewrite_log();
        let policy = home.write("policy.toml", &policy_text());
        let ran = run(&home, &url, policy.to_str().unwrap(), &SOFTWARE).await;
        ran.assert_failed(2, "log_inconsistent");
        // It may not have grown honestly from there either.
        fake.reboot();
        let ran = run(&home, &url, policy.to_str().unwrap(), &SOFTWARE).await;
        ran.assert_failed(2, "log_inconsistent");
    })
    .await;
    // Another process of this user has seen more than the proxy has.
    with_proxy(Fault::None, async |fake, home, proxy| {
        assert_eq!(proxy.chat(false).await.status(), 200);
        fake.reboot();
        let policy = home.path("policy.toml");
        let url = proxy.gateway.clone();
        let report = ["attest", "report", "--policy", policy.to_str().unwrap(), "--base-url", &url];
        assert_eq!(home.run(&report).await.code, 0);
        fake.shorten_log();
        fake.set(Fault::AlwaysStale);
        assert_eq!(proxy.refused().await, (502, "log_inconsistent".to_owned()));
    })
    .await;
    with_proxy(Fault::OldLog, async |_fake, _home, proxy| {
        assert_eq!(proxy.notices[0]["code"], "log_stale");
        assert_eq!(proxy.refused().await, (502, "log_stale".to_owned()));
        let health = proxy.http.get(proxy.base_url.replace("/v1", "/health"));
        assert_eq!(health.send().await.unwrap().status(), 200);
    })
    .await;
    with_proxy(Fault::StaleKey, async |fake, _home, mut proxy| {
        fake.rewrite_log();
        assert_eq!(proxy.refused().await, (502, "log_inconsistent".to_owned()));
        assert_eq!(proxy.event("doubt").await["code"], "log_inconsistent");
    })
    .await;
}

#[tokio::test]
async fn an_answer_in_the_clear_is_not_passed_on_and_a_sealed_refusal_is() {
    with_proxy(Fault::Clear, async |fake, _home, proxy| {
        assert_eq!(proxy.refused().await, (502, "answer_not_sealed".to_owned()));
        fake.set(Fault::Refuses);
        let response = proxy.chat(false).await;
        assert_eq!(response.status(), 400);
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["code"], "context_length_exceeded");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_sealed_and_who_is_not_local_is_refused() {
    with_proxy(Fault::None, async |fake, _home, proxy| {
        let models = proxy.http.get(format!("{}/models", proxy.base_url)).bearer_auth(KEY);
        let models: Value = models.send().await.unwrap().json().await.unwrap();
        assert_eq!(models["data"][0]["cocoon"]["admitted_workers"], 1);
        let post = |path: &str| proxy.http.post(format!("{}{path}", proxy.base_url));
        for (request, status, code) in [
            (post("/files").bearer_auth(KEY), 501, "route_not_sealable"),
            (post("/chat/completions").bearer_auth(KEY).body("{"), 400, "invalid_json"),
            (post("/chat/completions").body("{}"), 401, "missing_api_key"),
            (
                post("/chat/completions").header("origin", "https://x.example"),
                403,
                "foreign_origin",
            ),
            (post("/chat/completions").header("host", "x.example"), 403, "foreign_origin"),
            // Another program's page on this machine.
            (
                post("/chat/completions").header("origin", "http://127.0.0.1:1"),
                403,
                "foreign_origin",
            ),
            (
                post("/chat/completions").header("sec-fetch-site", "cross-site"),
                403,
                "foreign_origin",
            ),
            (
                post("/chat/completions").bearer_auth(KEY).header("content-type", "text/plain"),
                415,
                "unsupported_media_type",
            ),
        ] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), status, "{code}");
            let error: Value = response.json().await.unwrap();
            assert_eq!(error["error"]["code"], code);
        }
        // A client that resolves no paths itself: what climbs is not passed on.
        let address = proxy.base_url.trim_start_matches("http://").trim_end_matches("/v1");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let climbing = format!(
            "GET /v1/models/%2e%2e/balance HTTP/1.1\r\nhost: {address}\r\n\
             authorization: Bearer {KEY}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(climbing.as_bytes()).await.unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap();
        assert!(told.starts_with("HTTP/1.1 501"), "{told}");
        assert_eq!(fake.asked(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_price_above_the_cap_is_not_paid() {
    let fake = Fake::new(Fault::None);
    with_peer(fake.router(), async |url| {
        let home = Home::new();
        let cap = ["--allow-software", "--max-price", "1,1,1"];
        let proxy = Proxy::start(&home, &url, &cap).await;
        let response = proxy.chat(false).await;
        assert_eq!(response.status(), 400);
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["code"], "price_above_limit");
        assert_eq!(fake.asked(), 0);
    })
    .await;
}

#[tokio::test]
async fn the_key_of_the_proxy_is_used_where_it_is_told_to() {
    let fake = Fake::new(Fault::None);
    with_peer(fake.router(), async |url| {
        let home = Home::new();
        let rest = ["--allow-software", "--api-key", KEY, "--inject-key"];
        let proxy = Proxy::start(&home, &url, &rest).await;
        let body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "secret" }] });
        let request = proxy.http.post(format!("{}/chat/completions", proxy.base_url));
        let response = request.bearer_auth("anything").json(&body).send().await.unwrap();
        assert_eq!(response.status(), 200);
    })
    .await;
}

#[tokio::test]
async fn an_interrupt_drains() {
    with_proxy(Fault::None, async |_fake, _home, mut proxy| {
        assert_eq!(proxy.chat(false).await.status(), 200);
        let pid = proxy.child.id().unwrap().to_string();
        Command::new("kill").args(["-INT", &pid]).status().await.unwrap();
        proxy.event("draining").await;
        let ended = timeout(PATIENCE, proxy.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
    })
    .await;
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_before_anything_else() {
    let home = Home::new();
    let policy = home.write("policy.toml", &policy_text());
    let policy = policy.to_str().unwrap();
    let url = "http://127.0.0.1:1";
    for (rest, message) in [
        (&["--insecure-listen", "--workers", "5"][..], "--workers"),
        (&["--inject-key"], "--inject-key"),
        (&["--max-price", "1,2"], "--max-price"),
        (&["--policy-key", "zz"], "--policy-key"),
        (&["--gateway-key", "zz"], "64 hex digits"),
    ] {
        run(&home, url, policy, rest).await.assert_failed(1, message);
    }
    let listen = ["proxy", "--policy", policy, "--listen", "0.0.0.0:0"];
    home.run(&listen).await.assert_failed(1, "--insecure-listen");
    // Whoever reaches it would spend the user's own key.
    let open = [listen.as_slice(), &["--insecure-listen", "--api-key", KEY]].concat();
    home.run(&open).await.assert_failed(1, "spend your key");
    let open = [listen.as_slice(), &["--insecure-listen", "--inject-key"]].concat();
    home.run_with(&open, &[("OPENAI_API_KEY", KEY)]).await.assert_failed(1, "spend your key");
    home.run(&["proxy", "--policy", "/nowhere"]).await.assert_failed(1, "cannot read");
}

#[tokio::test]
async fn attest_report_judges_workers_by_one_s_own_policy() {
    let fake = Fake::new(Fault::None);
    with_peer(fake.router(), async |url| {
        let home = Home::new();
        let policy = home.write("policy.toml", &policy_text());
        let arguments =
            ["attest", "report", "--policy", policy.to_str().unwrap(), "--base-url", &url];
        let json = [arguments.as_slice(), &["--json"]].concat();
        let report = home.run(&json).await.json();
        assert_eq!(report["accepted"], true);
        assert_eq!(report["workers"][0]["assurance"], "software");
        assert_eq!(report["workers"][0]["models"][0], MODEL);
        let table = home.run(&arguments).await;
        assert!(table.stdout.contains("accepted by policy"), "{table:?}");
        assert!(table.stderr.contains("Software assurance"), "{table:?}");
        for (fault, code) in [
            (Fault::NotAlive, "nonce"),
            (Fault::OtherKey, "worker_mismatch"),
            (Fault::NotLogged, "log_missing"),
        ] {
            fake.set(fault);
            let ran = home.run(&json).await;
            ran.assert_failed(2, code);
            let report: Value = serde_json::from_str(&ran.stdout).unwrap();
            assert_eq!(report["workers"][0]["refusal"]["code"], code);
        }
    })
    .await;
}

#[tokio::test]
async fn repeats_under_an_idempotency_key_have_one_id() {
    with_proxy(Fault::None, async |fake, _home, mut proxy| {
        let body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "secret" }] });
        for key in ["one", "one", "two"] {
            let request = proxy.http.post(format!("{}/chat/completions", proxy.base_url));
            let request = request.bearer_auth(KEY).header("idempotency-key", key).json(&body);
            assert_eq!(request.send().await.unwrap().status(), 200);
            // The next answer takes the place of this one's receipt.
            proxy.event("receipt").await;
        }
        let ids = fake.request_ids();
        assert_eq!(ids[0], ids[1]);
        assert_ne!(ids[0], ids[2]);
    })
    .await;
    // A failure that cost nothing used its id up.
    with_proxy(Fault::Busy, async |fake, _home, mut proxy| {
        let body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "secret" }] });
        for (fault, status) in [(Fault::Busy, 503), (Fault::None, 200), (Fault::None, 200)] {
            fake.set(fault);
            let request = proxy.http.post(format!("{}/chat/completions", proxy.base_url));
            let request = request.bearer_auth(KEY).header("idempotency-key", "one").json(&body);
            assert_eq!(request.send().await.unwrap().status(), status);
            if status == 200 {
                proxy.event("receipt").await;
            }
        }
        let ids = fake.request_ids();
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[1], ids[2]);
    })
    .await;
}

#[tokio::test]
async fn a_signed_policy_is_held_to_its_keys_and_never_goes_back() {
    let fake = Fake::new(Fault::None);
    with_peer(fake.router(), async |url| {
        let home = Home::new();
        let signer = SigningKey::from_bytes(&[3; 32]);
        let key = hex::encode(signer.verifying_key().as_bytes());
        let path = home.path("policy.toml").to_str().unwrap().to_owned();
        let write = |version: u32| {
            let text = policy_text().replacen("version = 1", &format!("version = {version}"), 1);
            home.write("policy.toml", &text);
            let mut signatures = SignatureFile::default();
            let signature = signer.sign(&signed_hash(text.as_bytes())).to_bytes();
            signatures.set(signer.verifying_key().to_bytes(), signature);
            home.write("policy.toml.sig", &signatures.to_json());
        };
        let report = async |key: &str| {
            let arguments = ["attest", "report", "--base-url", &url, "--policy", &path];
            home.run(&[arguments.as_slice(), &["--policy-key", key, "--json"]].concat()).await
        };
        write(2);
        assert_eq!(report(&key).await.code, 0);
        report(&"11".repeat(32)).await.assert_failed(1, "is not usable");
        write(1);
        report(&key).await.assert_failed(1, "is not usable");
        write(3);
        assert_eq!(report(&key).await.code, 0);
        home.write("policy.toml", &policy_text());
        report(&key).await.assert_failed(1, "is not usable");
    })
    .await;
}
