//! `cocoon proxy`: OpenAI's API on this machine, sealed to workers that the user's own policy
//! admits.
//!
//! Shape: [`ask`] has the routes; [`roster`] knows who is admitted; [`exchange`] seals a request,
//! [`send`] sends it and [`relay`] opens its answer; [`settle`] holds the receipt to both. Invariants: no request leaves in
//! the clear; nothing is sent twice but a request that nobody could open; what is proven wrong once
//! stops everything until the proxy is started again.

mod accounts;
mod ask;
mod attempts;
mod event;
mod exchange;
mod gateway;
mod guard;
mod judge;
mod limits;
mod problem;
mod relay;
mod room;
mod roster;
mod send;
mod serve;
mod settle;
mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use cocoon_attest::policy::Mode;
use cocoon_runtime::{Lifecycle, Signals};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use self::accounts::Accounts;
use self::attempts::Attempts;
use self::event::Event;
use self::gateway::Gateway;
use self::roster::{Roster, Software, is_fatal};
use self::settle::Settlement;
use crate::command::receipt::key_of;
use crate::context::Context;
use crate::error::CliError;
use crate::trust::TrustError;
use crate::trust::log::LogWatch;
use crate::trust::policy::PolicyArgs;

const REQUESTS_MAX: usize = 128;
/// What all bodies together may take.
const BODIES_MIB_MAX: usize = 256;
/// What all answers in one piece may take.
const ANSWERS_MIB_MAX: usize = 256;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

const AFTER_HELP: &str = "\
An unmodified OpenAI client gets these guarantees by its base URL alone: every request is sealed to
workers whose evidence your own policy admits, which answer a fresh nonce, and which the gateway's
log has; every answer is opened only as they wrote it; every receipt is held to both, and stored.

What does not hold is an error of type cocoon_verification_error with a code. A receipt, an answer
or a log that is proven wrong makes the proxy refuse everything until it is started again.

Served: POST /v1/chat/completions, /v1/responses, /v1/completions, /v1/embeddings; GET /v1/models,
/v1/balance, /v1/usage, /v1/receipts/ID, /health. Prints one line when it listens and one for each receipt; with --json, JSON.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ProxyArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:11435")]
    listen: SocketAddr,
    /// Listen on an address that other machines can reach, without TLS. Each client then has to
    /// send a key of its own: the proxy takes none
    #[arg(long)]
    insecure_listen: bool,
    /// Where receipts are stored [default: receipts/ of --home]
    #[arg(long, value_name = "DIR")]
    receipts: Option<PathBuf>,
    /// The gateway's receipt key, in hex; without it the first one that is seen counts from then on
    #[arg(long, value_name = "HEX")]
    gateway_key: Option<String>,
    /// Workers that each request is sealed to, so that one of them may fail
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4))]
    workers: u8,
    /// The highest price, in nano-coins per million tokens: PROMPT,CACHED,COMPLETION [default: what
    /// the model costs when it is asked]
    #[arg(long, value_name = "PRICES")]
    max_price: Option<String>,
    /// Take workers whose evidence is software's, where the policy allows that too: for development,
    /// it protects nothing. Their answers say `Cocoon-Assurance: software`
    #[arg(long)]
    allow_software: bool,
    /// Send --api-key with every request, whatever key the client sends; without it, only where the
    /// client sends none
    #[arg(long)]
    inject_key: bool,
}

/// What every request needs.
struct Proxy {
    gateway: Gateway,
    roster: Roster,
    accounts: Accounts,
    settlement: Settlement,
    lifecycle: Lifecycle,
    own_key: Option<String>,
    injects_key: bool,
    max_price: Option<[u64; 3]>,
    workers_max: usize,
    listens: SocketAddr,
    attempts: Arc<Attempts>,
    requests: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

pub(crate) async fn run(context: &Context, args: ProxyArgs) -> Result<(), CliError> {
    event::as_json(context.as_json);
    let (proxy, listener) = build(context, &args).await?;
    let listens = proxy.listens;
    let workers = look(&proxy).await?;
    let lifecycle = proxy.lifecycle.clone();
    let mut signals = Signals::listen()?;
    let routes = ask::router(Arc::clone(&proxy));
    lifecycle.spawn("proxy", serve::serve(listener, routes, lifecycle.clone()));
    let base_url = format!("http://{listens}/v1");
    let gateway = context.open_api()?.base_url().to_string();
    Event::Listening { base_url: &base_url, gateway: &gateway, workers }.print();
    signals.next().await;
    Event::Draining.print();
    let hard = lifecycle.hard().clone();
    tokio::select! {
        _ = lifecycle.drain(DRAIN_TIMEOUT) => {}
        () = signals.next() => hard.cancel(),
    }
    Ok(())
}

async fn build(context: &Context, args: &ProxyArgs) -> Result<(Arc<Proxy>, TcpListener), CliError> {
    let unusable = |what, reason: &str| CliError::Argument { what, reason: reason.into() };
    let is_local = args.listen.ip().is_loopback();
    if !is_local && !args.insecure_listen {
        let reason = "other machines can reach it; --insecure-listen takes it all the same";
        return Err(unusable("--listen", reason));
    }
    let own_key = context.api_key().map(str::to_owned);
    if !is_local && own_key.is_some() {
        let reason = "whoever reaches it would spend your key; start the proxy without --api-key \
                      and OPENAI_API_KEY, so that each client sends its own";
        return Err(unusable("--insecure-listen", reason));
    }
    let policy = args.policy.load(&context.home)?;
    if args.allow_software && (policy.mode() != Mode::Development || !policy.allows_software()) {
        let reason =
            "your policy does not allow software: it must be a development one that says so";
        return Err(unusable("--allow-software", reason));
    }
    if args.inject_key && own_key.is_none() {
        return Err(unusable("--inject-key", "it needs --api-key"));
    }
    let max_price = args.max_price.as_deref().map(prices).transpose()?;
    let pinned = args.gateway_key.as_deref().map(key_of).transpose()?;
    let api = context.open_api()?;
    let log = LogWatch::open(&context.home, api.base_url().as_str(), pinned)?;
    let gateway = Gateway::new(api.streaming_client()?, api.base_url().clone());
    let receipts = args.receipts.clone().unwrap_or_else(|| context.home.join("receipts"));
    let settlement = Settlement::new(context.open_api()?, receipts)?;
    let software = if args.allow_software { Software::Allowed } else { Software::Refused };
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| unusable("--listen", &error.to_string()))?;
    let proxy = Proxy {
        gateway,
        roster: Roster::new(api, policy, software, log),
        accounts: Accounts::default(),
        settlement,
        lifecycle: Lifecycle::new(),
        own_key,
        injects_key: args.inject_key,
        max_price,
        workers_max: args.workers.into(),
        listens: listener.local_addr()?,
        attempts: Arc::new(Attempts::default()),
        requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
        bodies: Arc::new(Semaphore::new(BODIES_MIB_MAX)),
        answers: Arc::new(Semaphore::new(ANSWERS_MIB_MAX)),
    };
    Ok((Arc::new(proxy), listener))
}

/// A first look at the workers. A log that does not hold ends it here; a gateway that is not there
/// yet may come later.
async fn look(proxy: &Proxy) -> Result<usize, CliError> {
    match proxy.roster.look().await {
        Ok((workers, refused)) => {
            for doubt in refused {
                Event::Notice { code: doubt.code, reason: &doubt.reason }.print();
            }
            Ok(workers)
        }
        Err(TrustError::Doubt(doubt)) if is_fatal(&doubt) || doubt.code == "policy_expired" => {
            Err(doubt.into())
        }
        Err(error) => {
            let (code, reason) = match &error {
                TrustError::Doubt(doubt) => (doubt.code, doubt.reason.clone()),
                TrustError::Call(call) => (call.kind(), call.to_string()),
            };
            Event::Notice { code, reason: &reason }.print();
            Ok(0)
        }
    }
}

fn prices(text: &str) -> Result<[u64; 3], CliError> {
    let parts: Option<Vec<u64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    parts.and_then(|parts| parts.try_into().ok()).ok_or_else(|| CliError::Argument {
        what: "--max-price",
        reason: "expected three whole numbers, as in 50000000,25000000,200000000".into(),
    })
}
