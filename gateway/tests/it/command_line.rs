//! `cocoon-gateway` as its users run it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use cocoon_attest::policy::{SignatureFile, signed_hash};
use cocoon_attest::softtee::SoftTee;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, timeout};

use super::forge::{NEVER, PolicyText};
use super::rig::{PATIENCE, SEED, Setup, gateway_toml, install_tls, wallet, write_policy};

struct Home {
    dir: TempDir,
    config: PathBuf,
}

impl Home {
    fn new(change: impl FnOnce(String) -> String) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("gateway.toml");
        let policy = write_policy(dir.path());
        let toml = gateway_toml(&dir.path().join("data"), &policy, &Setup::default());
        std::fs::write(&config, change(toml)).expect("written");
        Self { dir, config }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cocoon-gateway"));
        command.args(arguments).arg("--config").arg(&self.config);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let output = timeout(PATIENCE, self.command(arguments).output()).await;
        output.expect("it ends").expect("it runs")
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it exits by itself")
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_bad_configuration_is_told_whole_with_exit_64() {
    let home = Home::new(|toml| {
        toml.replace("127.0.0.1:0", "nowhere").replace("\"development\"", "\"staging\"")
    });
    for command in ["check-config", "serve"] {
        let output = home.run(&[command]).await;
        assert_eq!(code(&output), 64);
        let (_, error) = printed(&output);
        assert!(error.contains("mode:") && error.contains("api.listen:"), "{error}");
    }
    let good = Home::new(|toml| toml);
    assert_eq!(code(&good.run(&["check-config"]).await), 0);
    assert_eq!(code(&good.run(&["no-such-command"]).await), 64);
}

#[tokio::test]
async fn credit_is_given_in_development_and_the_ledger_stays_clean() {
    let home = Home::new(|toml| toml);
    let address = wallet(1).address().to_string();
    let (text, _) = printed(&home.run(&["credit", &address, "1.5"]).await);
    assert!(text.contains("development credit") && text.contains("balance: 1.5 GRAM"), "{text}");
    let (text, _) = printed(&home.run(&["credit", &address, "0.5", "--json"]).await);
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["available_nano"], 2_000_000_000_u64);

    let audit = home.run(&["ledger", "check", "--json"]).await;
    assert_eq!(code(&audit), 0);
    let json: Value = serde_json::from_str(&printed(&audit).0).expect("JSON");
    assert_eq!((&json["clean"], &json["sum_nano"]), (&Value::Bool(true), &Value::from(0)));

    for bad in
        [["credit", "nobody", "1"], ["credit", &address, "1.0000000001"], ["credit", &address, "0"]]
    {
        let output = home.run(&bad).await;
        assert_eq!(code(&output), 1, "{bad:?}");
    }
}

#[tokio::test]
async fn production_gives_no_credit() {
    // In production a policy is signed, and knows vendors alone.
    let key = SigningKey::from_bytes(&[1; 32]);
    let public = key.verifying_key().to_bytes();
    let home = Home::new(|toml| {
        let keys = format!("policy_keys = [\"{}\"]", hex::encode(public));
        toml.replace("\"development\"", "\"production\"\n")
            .replace("[auth]", "[auth]\nnetwork = \"-3\"")
            .replace("unsigned_policy = true", &keys)
    });
    let policy =
        format!("schema = 1\nversion = 1\nnot_after = \"{NEVER}\"\nmode = \"production\"\n");
    let mut signatures = SignatureFile::default();
    signatures.set(public, key.sign(&signed_hash(policy.as_bytes())).to_bytes());
    std::fs::write(home.dir.path().join("policy.toml"), policy).expect("written");
    std::fs::write(home.dir.path().join("policy.toml.sig"), signatures.to_json()).expect("written");
    let output = home.run(&["credit", &wallet(1).address().to_string(), "1"]).await;
    assert_eq!(code(&output), 1);
    assert!(printed(&output).1.contains("refuses"), "{:?}", printed(&output));
}

#[tokio::test]
async fn a_signal_ends_an_idle_gateway_within_two_seconds() {
    for signal in ["-INT", "-TERM"] {
        let home = Home::new(|toml| toml);
        let mut gateway = home.command(&["serve"]).spawn().expect("it starts");
        let endpoints = endpoints(&home.dir.path().join("data/endpoints.json")).await;
        for field in ["api", "uplink", "uplink_spki_sha256", "admin", "receipt_key"] {
            assert!(endpoints[field].is_string(), "{field} is missing in {endpoints}");
        }
        kill(&gateway, signal).await;
        let asked = Instant::now();
        let status = timeout(PATIENCE, gateway.wait()).await.expect("it ends").expect("a status");
        assert_eq!(status.code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn a_hangup_reads_the_policy_again_and_ends_nothing() {
    let home = Home::new(|toml| toml);
    let mut gateway = home.command(&["serve"]).spawn().expect("it starts");
    let endpoints = endpoints(&home.dir.path().join("data/endpoints.json")).await;
    let seen = home.dir.path().join("data/policy.seen");
    let version = || -> Value {
        let seen = std::fs::read(&seen).expect("what was seen is kept");
        serde_json::from_slice::<Value>(&seen).expect("JSON")["version"].clone()
    };
    assert_eq!(version(), 1);
    let next = PolicyText { version: 2, ..PolicyText::default() };
    let next = next.write(&SoftTee::from_seed(&SEED));
    std::fs::write(home.dir.path().join("policy.toml"), next).expect("written");
    kill(&gateway, "-HUP").await;
    install_tls();
    let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
    let metrics = format!("{}/metrics", endpoints["admin"].as_str().expect("an address"));
    let mut ticks = interval(Duration::from_millis(10));
    let counted = timeout(PATIENCE, async {
        loop {
            let answer = client.get(&metrics).send().await.expect("an answer");
            let text = answer.text().await.expect("text");
            if text.contains("cocoon_policy_reloads_total{outcome=\"accepted\"} 1") {
                return;
            }
            ticks.tick().await;
        }
    });
    counted.await.expect("the new policy is taken");
    assert_eq!(version(), 2);
    kill(&gateway, "-TERM").await;
    let status = timeout(PATIENCE, gateway.wait()).await.expect("it ends").expect("a status");
    assert_eq!(status.code(), Some(0));
}

pub(crate) async fn endpoints(path: &Path) -> Value {
    let mut ticks = interval(Duration::from_millis(10));
    let read = timeout(PATIENCE, async {
        loop {
            ticks.tick().await;
            if let Ok(text) = std::fs::read_to_string(path) {
                return serde_json::from_str(&text).expect("never half a file");
            }
        }
    });
    read.await.expect("the gateway starts")
}

pub(crate) async fn kill(gateway: &Child, signal: &str) {
    let id = gateway.id().expect("it runs").to_string();
    let status = Command::new("kill").args([signal, &id]).status().await.expect("kill runs");
    assert!(status.success());
}
