//! A payer: a wallet that signs in over HTTP, gets credit, and has an API key.

use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use bytes::Bytes;
use cocoon_primitives::Timestamp;
use cocoon_ton::{Network, Wallet, WalletVersion};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::call::Http;

/// One answer of the account API is at most this long.
const BODY_BYTES_MAX: usize = 4 << 20;

pub(crate) struct Account {
    http: Http,
    api: String,
    pub(crate) wallet: String,
    token: String,
    pub(crate) key: String,
}

impl Account {
    /// Signs a new wallet in and makes a key for it.
    pub(crate) async fn open(http: Http, api: String) -> anyhow::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let wallet = Wallet::from_seed(&seed, WalletVersion::V5R1, Network::Testnet);
        let mut account = Self {
            http,
            api,
            wallet: wallet.address().to_string(),
            token: String::new(),
            key: String::new(),
        };
        let start = account.post("/v1/auth/ton-proof/payload", &json!({})).await?;
        let text = |name: &str| start[name].as_str().with_context(|| format!("no {name}: {start}"));
        let signed_at = now()?;
        let proof = wallet
            .sign_proof(text("attempt")?, "localhost", signed_at, text("payload")?)
            .context("the gateway's payload is too long to sign")?;
        let session = account.post("/v1/auth/ton-proof", &serde_json::to_value(&proof)?).await?;
        account.token = session["token"].as_str().context("no token")?.to_owned();
        let key = account.post("/v1/keys", &json!({ "name": "chaos" })).await?;
        account.key = key["key"].as_str().context("no key")?.to_owned();
        Ok(account)
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(path).await?.json().with_context(|| format!("failed to get {path}"))
    }

    /// An answer of any status.
    pub(crate) async fn ask(&self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let reply = self.send(Method::POST, path, Bytes::from(body.to_string())).await?;
        reply.json().with_context(|| format!("failed to post to {path}"))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Reply> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.api))
            .header(header::CONTENT_TYPE, "application/json");
        if !self.token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        }
        let exchange = async {
            let response = self.http.request(request.body(Full::new(body))?).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!(error))?
                .to_bytes();
            Ok(Reply { status, body })
        };
        timeout(Duration::from_secs(10), exchange)
            .await
            .context("no answer within 10 s")
            .flatten()
            .with_context(|| format!("failed to ask for {path}"))
    }
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Reply {
    /// Whether it is a refusal with this `error.code`.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        !self.status.is_success() && body["error"]["code"] == code
    }

    fn json(&self) -> anyhow::Result<Value> {
        let status = self.status;
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&self.body));
        Ok(serde_json::from_slice(&self.body)?)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a proof carries the time at which its wallet really signed"
)]
pub(crate) fn now() -> anyhow::Result<Timestamp> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(Timestamp::from_millis(u64::try_from(since_epoch.as_millis())?))
}
