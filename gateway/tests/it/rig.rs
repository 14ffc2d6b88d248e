//! One gateway, one worker, wallets that sign in, and calls whose answers are checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cocoon_attest::softtee::SoftTee;
use cocoon_gateway::compose::{Gateway, RunningGateway};
use cocoon_gateway::config::Config;
use cocoon_primitives::{Clock, Nano, Timestamp, WalletAddress};
use cocoon_runtime::{Drained, Lifecycle, SystemClock};
use cocoon_ton::{Network, Wallet, WalletVersion};
use cocoon_worker::evidence::software::{InitOptions, init_from_seed};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{interval, timeout};

use super::contract;
use super::forge::{IMAGE, PolicyText};

pub(crate) const MODEL: &str = "scripted";
pub(crate) const DOMAIN: &str = "localhost";
/// Nano-coins for one token.
pub(crate) const PROMPT_NANO: u64 = 50;
pub(crate) const COMPLETION_NANO: u64 = 200;
/// How long anything in a test may take that is not a matter of milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a test changes about the usual stack.
pub(crate) struct Setup {
    /// Further lines of the worker's `[engine]`; `None`: no worker at all.
    pub(crate) engine: Option<&'static str>,
    /// Further sections of `gateway.toml`.
    pub(crate) gateway: String,
    /// Further lines of its `[api]`.
    pub(crate) api: String,
    /// Further lines of its `[auth]`.
    pub(crate) auth: &'static str,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            engine: Some("tokens = 5"),
            gateway: String::new(),
            api: String::new(),
            auth: "",
            clock: Arc::new(SystemClock),
        }
    }
}

/// A running stack. Dropping it stops everything.
pub(crate) struct Rig {
    pub(crate) gateway: RunningGateway,
    /// Judges every answer that it gets.
    pub(crate) client: contract::Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) data_dir: TempDir,
    toml: String,
    worker: Lifecycle,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.worker.hard().cancel();
        self.gateway.stages().stop_now();
    }
}

/// A finished call.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// Fails unless the call was refused so.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.body);
    }

    pub(crate) fn text(&self, field: &str) -> String {
        self.body[field].as_str().expect("the field is text").to_owned()
    }
}

/// A wallet that has signed in, has credit, and made a key.
pub(crate) struct Payer {
    pub(crate) address: WalletAddress,
    pub(crate) token: String,
    pub(crate) key: String,
}

/// Installs the process's TLS provider; a second call changes nothing.
pub(crate) fn install_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// From which everything in the software TEE of these tests follows.
pub(crate) const SEED: [u8; 32] = [42; 32];

/// Writes a policy that admits the software TEE of these tests to a folder that is there.
pub(crate) fn write_policy(folder: &Path) -> PathBuf {
    let path = folder.join("policy.toml");
    let text = PolicyText::default().write(&SoftTee::from_seed(&SEED));
    std::fs::write(&path, text).expect("written");
    path
}

/// The `[evidence]` of a worker on that software TEE, whose folder is made where it is missing.
pub(crate) fn worker_evidence(folder: &Path) -> String {
    let options = InitOptions { gpus: 0, has_snp: false };
    init_from_seed(folder, &SEED, options).expect("a software TEE");
    format!("[evidence]\nkind = \"software\"\nsoftware_tee = {folder:?}\nimage = \"{IMAGE}\"\n")
}

pub(crate) fn gateway_toml(data_dir: &Path, policy: &Path, setup: &Setup) -> String {
    format!(
        r#"
        mode = "development"
        data_dir = {data_dir:?}
        [api]
        listen = "127.0.0.1:0"
        {api}
        [auth]
        domains = ["{DOMAIN}"]
        {auth}
        [attestation]
        policy = {policy:?}
        unsigned_policy = true
        [[model]]
        name = "{MODEL}"
        prompt = {prompt}
        completion = {completion}
        {gateway}
        "#,
        api = setup.api,
        auth = setup.auth,
        gateway = setup.gateway,
        prompt = PROMPT_NANO * 1_000_000,
        completion = COMPLETION_NANO * 1_000_000,
    )
}

pub(crate) fn wallet(seed: u8) -> Wallet {
    Wallet::from_seed(&[seed; 32], WalletVersion::V5R1, Network::Testnet)
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        install_tls();
        let data_dir = tempfile::tempdir().expect("a temporary directory");
        let policy = write_policy(data_dir.path());
        let toml = gateway_toml(&data_dir.path().join("gateway"), &policy, &setup);
        let config = Config::from_toml(&toml).expect("the test's configuration is valid");
        let gateway =
            Gateway::start(config, setup.clock.clone()).await.expect("the gateway starts");
        let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        let client = client.into();
        let worker = Lifecycle::new();
        let rig = Self { gateway, client, clock: setup.clock, data_dir, toml, worker };
        if let Some(engine) = setup.engine {
            rig.start_worker(engine).await;
        }
        rig
    }

    /// Another gateway on the same files, without workers.
    pub(crate) async fn restart(&mut self) {
        self.worker.hard().cancel();
        assert_eq!(self.gateway.drain(PATIENCE).await, Drained::Finished);
        let config = Config::from_toml(&self.toml).expect("it was valid before");
        let started = Gateway::start(config, Arc::clone(&self.clock)).await;
        self.gateway = started.expect("the gateway starts again");
    }

    /// The worker goes away in the middle of whatever it does; another one may start.
    pub(crate) fn kill_worker(&mut self) {
        self.worker.hard().cancel();
        self.worker = Lifecycle::new();
    }

    /// As after `kill -9`: nothing is settled or closed, then another gateway on the same files.
    pub(crate) async fn crash(&mut self) {
        // The gateway first: one that outlives its worker settles what it lost.
        self.gateway.stages().stop_now();
        self.kill_worker();
        let config = Config::from_toml(&self.toml).expect("it was valid before");
        let started = Gateway::start(config, Arc::clone(&self.clock)).await;
        self.gateway = started.expect("the gateway starts again");
    }

    /// `engine` is what `[engine]` says of a scripted one, or a list of whole `[[engine]]`s.
    pub(crate) async fn start_worker(&self, engine: &str) {
        let engine = match engine.trim_start().starts_with("[[engine]]") {
            true => engine.to_owned(),
            false => format!("[engine]\nkind = \"scripted\"\n{engine}"),
        };
        let evidence = worker_evidence(&self.data_dir.path().join("tee"));
        let toml = format!(
            r#"
            mode = "development"
            data_dir = {data_dir:?}
            gateway = "{uplink}"
            gateway_spki_sha256 = "{spki}"
            payee = "0:{payee}"
            {engine}
            {evidence}
            "#,
            data_dir = self.data_dir.path().join("worker"),
            uplink = self.gateway.uplink,
            spki = hex::encode(self.gateway.uplink_spki_sha256),
            payee = "ee".repeat(32),
        );
        let config = cocoon_worker::config::Config::parse(&toml).expect("a worker's configuration");
        let clock = Arc::clone(&self.clock);
        Box::pin(cocoon_worker::compose::start(config, self.worker.clone(), clock))
            .await
            .expect("the worker starts");
        self.until("the worker is admitted", async || {
            self.get("getReady", "/ready", None).await.status == 200
        })
        .await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.api)
    }

    /// Polls until `condition` holds, under a deadline.
    pub(crate) async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let mut ticks = interval(Duration::from_millis(10));
        let holds = timeout(PATIENCE, async {
            while !condition().await {
                ticks.tick().await;
            }
        });
        assert!(holds.await.is_ok(), "it never came to pass that {what}");
    }

    // === calls, each checked against openapi.yaml under the operation's name ===

    pub(crate) async fn get(
        &self,
        operation: &str,
        path: &str,
        credential: Option<&str>,
    ) -> Answer {
        self.call(operation, Method::GET, path, credential, None).await
    }

    pub(crate) async fn post(
        &self,
        operation: &str,
        path: &str,
        credential: Option<&str>,
        body: &Value,
    ) -> Answer {
        let body = Some(body.to_string().into_bytes());
        self.call(operation, Method::POST, path, credential, body).await
    }

    pub(crate) async fn call(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        credential: Option<&str>,
        body: Option<Vec<u8>>,
    ) -> Answer {
        let answer = self.call_undocumented(method, path, credential, body).await;
        contract::check(operation, answer.status, &answer.headers, &answer.body);
        answer
    }

    /// For what no operation documents, such as paths that do not exist.
    pub(crate) async fn call_undocumented(
        &self,
        method: Method,
        path: &str,
        credential: Option<&str>,
        body: Option<Vec<u8>>,
    ) -> Answer {
        let mut request = self.client.request(method, self.url(path));
        if let Some(credential) = credential {
            request = request.bearer_auth(credential);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        read(request.send().await.expect("the gateway answers")).await
    }

    // === what most tests need first ===

    /// A challenge for `wallet`, answered: the body of a sign-in.
    pub(crate) async fn signed_proof(&self, wallet: &Wallet) -> Value {
        let path = "/v1/auth/ton-proof/payload";
        let challenge = self.post("createTonProofPayload", path, None, &json!({})).await;
        let (payload, attempt) = (challenge.text("payload"), challenge.text("attempt"));
        let proof = wallet.sign_proof(&attempt, DOMAIN, self.clock.now(), &payload);
        serde_json::to_value(proof.expect("the arguments are short")).expect("a proof is JSON")
    }

    pub(crate) async fn finish_sign_in(&self, proof: &Value) -> Answer {
        self.post("signInWithTonProof", "/v1/auth/ton-proof", None, proof).await
    }

    /// A session's token.
    pub(crate) async fn sign_in(&self, wallet: &Wallet) -> String {
        let answer = self.finish_sign_in(&self.signed_proof(wallet).await).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.text("token")
    }

    pub(crate) async fn new_key(&self, token: &str, asked: &Value) -> Answer {
        self.post("createKey", "/v1/keys", Some(token), asked).await
    }

    pub(crate) async fn credit(&self, wallet: WalletAddress, nano: u64) {
        let amount = Nano::new(nano).expect("an amount");
        let mut reference = [0; 16];
        getrandom::fill(&mut reference).expect("random bytes");
        let now = self.clock.now();
        self.gateway.store.credit(wallet, amount, reference, now).await.expect("credit");
    }

    /// A payer with this much credit.
    pub(crate) async fn payer(&self, seed: u8, nano: u64) -> Payer {
        let wallet = wallet(seed);
        let token = self.sign_in(&wallet).await;
        self.credit(wallet.address(), nano).await;
        let key = self.new_key(&token, &json!({ "name": "test" })).await.text("key");
        Payer { address: wallet.address(), token, key }
    }

    pub(crate) async fn balance(&self, payer: &Payer) -> Value {
        let answer = self.get("getBalance", "/v1/balance", Some(&payer.token)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Fails unless exactly this was charged and nothing is held.
    #[track_caller]
    pub(crate) fn assert_charged(balance: &Value, charged: u64) {
        let credited = balance["credited_nano"].as_u64().expect("an amount");
        let facts =
            (&balance["charged_nano"], &balance["reserved_nano"], &balance["available_nano"]);
        assert_eq!(facts, (&json!(charged), &json!(0), &json!(credited - charged)), "{balance}");
    }

    /// The ledger adds up.
    pub(crate) async fn assert_ledger_clean(&self) {
        let report = self.gateway.store.check().await.expect("the ledger is read");
        assert!(report.is_clean(), "{:?}", report.problems);
    }
}

pub(crate) async fn read(response: impl Into<contract::Response>) -> Answer {
    let response = response.into();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.expect("the body arrives");
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Answer { status, headers, body }
}

pub(crate) fn seconds(at: Timestamp) -> u64 {
    at.as_seconds()
}
