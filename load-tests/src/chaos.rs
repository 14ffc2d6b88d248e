//! `cocoon-load chaos`: load on real processes that are killed meanwhile, and an audit of the money afterwards.
//!
//! Shape: start a gateway and two workers → sign in and credit → a plan of requests, some of whose clients leave →
//! meanwhile `kill -9` a worker twice and the gateway once, at set points of the plan → wait until every reservation is
//! resolved → fetch and verify a receipt for every completed request → stop everything → compare the clients' record
//! with the books and the receipts.
//! Bounds: the plan's length, a deadline for each request, for each wait and for each process to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use cocoon_metering::PriceRow;
use cocoon_primitives::{Nano, TokenPrice};
use serde_json::json;
use tokio::time::Instant;

use crate::call::{self, Target};
use crate::open_loop::{self, Progress};
use crate::plan::{self, Arrival, Shape};
use crate::record;

mod account;
mod books;
mod receipts;
mod stack;
mod verdict;

use account::Account;
use stack::{Programs, Stack};

const WORKERS: usize = 2;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The folder with cocoon-gateway and cocoon-worker; without it the folder of this program
    #[arg(long)]
    bin: Option<PathBuf>,
    /// Where configuration, data and logs go; without it a temporary folder that is removed if all is well
    #[arg(long)]
    state: Option<PathBuf>,
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    requests: u32,
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Requests per second
    #[arg(long, default_value_t = 80.0)]
    rate: f64,
    /// The part of requests whose client leaves
    #[arg(long, default_value_t = 0.2)]
    cancel_fraction: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Let everything live: the same load and audit, without faults
    #[arg(long)]
    no_faults: bool,
    /// How long the books may take to resolve every reservation after the last answer: more than a reservation lives
    #[arg(long, default_value_t = 240)]
    resolve_s: u64,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("cocoon-chaos-").tempdir()?;
    let dir = options.state.clone().unwrap_or_else(|| folder.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    let outcome = rehearse(&options, dir.clone()).await;
    if !matches!(outcome, Ok(ExitCode::SUCCESS)) && options.state.is_none() {
        eprintln!("configuration, data and logs are kept in {}", folder.keep().display());
    }
    outcome
}

async fn rehearse(options: &Options, dir: PathBuf) -> anyhow::Result<ExitCode> {
    let bin = match &options.bin {
        Some(bin) => bin.clone(),
        None => std::env::current_exe()?.parent().context("this program has no folder")?.to_owned(),
    };
    let mut stack =
        Stack::start(Programs { bin, tokens: 24, interval_ms: 8 }, &dir, WORKERS).await?;
    let account = Account::open(call::http(2), stack.api()).await?;
    stack.gateway_command(&["credit", &account.wallet, "1000"]).await?;
    await_models(&account).await?;

    let (records, elapsed, faults) = load_with_faults(options, &mut stack, &account).await?;
    let resolved_after = await_resolution(&account, options.resolve_s).await?;
    let (credited, usage) = (account.get("/v1/balance").await?, account.get("/v1/usage").await?);
    let receipts = receipts::collect(&records, &account, &stack.receipt_key()?).await;
    stack.stop().await.context("failed to stop cleanly")?;

    let ledger = stack.gateway_command(&["ledger", "check", "--json"]).await;
    let books = books::read(&stack.database(), &ledger?, &credited, &usage, receipts)?;
    let verdict = verdict::judge(&records, &books, &price(), account::now()?.as_millis());
    let is_exact = verdict.violations.is_empty();
    let summary = json!({
        "exact": is_exact,
        "faults": faults,
        "seconds_to_resolve": resolved_after.as_secs_f64(),
        "clients": record::report(&records, elapsed),
        "books": verdict,
    });
    println!("{}", serde_json::to_string_pretty(&summary)?);
    Ok(if is_exact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The prices in the gateway's configuration file, see [`stack`].
fn price() -> PriceRow {
    let row = |nano| TokenPrice::per_million(Nano::new(nano).expect("a small constant"));
    PriceRow { prompt: row(50_000_000), cached: row(25_000_000), completion: row(200_000_000) }
}

async fn load_with_faults(
    options: &Options,
    stack: &mut Stack,
    account: &Account,
) -> anyhow::Result<(Vec<record::Record>, Duration, Vec<String>)> {
    let target = Target {
        url: format!("{}/v1/chat/completions", stack.api()).parse()?,
        key: account.key.clone(),
        model: "scripted".to_owned(),
        prompt: "Count the parts that are still standing.".to_owned(),
        tokens: 24,
        deadline: Duration::from_secs(60),
        patience: Duration::from_secs(30),
    };
    let progress = Arc::new(Progress::default());
    let plan = plan(options)?;
    let load = open_loop::run(target, plan, usize::from(options.connections), progress.clone());
    let requests = usize::try_from(options.requests)?;
    let (faults, (records, elapsed)) =
        tokio::join!(inject(options, stack, &progress, requests), load);
    ensure!(records.len() == requests, "{} of {requests} requests have a record", records.len());
    Ok((records, elapsed, faults?))
}

fn plan(options: &Options) -> anyhow::Result<Vec<Arrival>> {
    ensure!(options.rate > 0.0 && options.rate <= 10_000.0, "--rate must be between 0 and 10,000");
    ensure!((0.0..=1.0).contains(&options.cancel_fraction), "a fraction is between 0 and 1");
    Ok(plan::arrivals(&Shape {
        requests: usize::try_from(options.requests)?,
        requests_per_second: options.rate,
        stream_fraction: 0.7,
        cancel_fraction: options.cancel_fraction,
        // A whole answer takes about a quarter of a second, so that clients leave in every phase of it.
        cancel_within: Duration::from_millis(250),
        seed: options.seed,
    }))
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Worker(usize),
    Gateway,
}

/// Kills and restarts at set points of the plan, in per cent of the requests that have ended.
const FAULTS: [(usize, Fault); 3] =
    [(20, Fault::Worker(0)), (45, Fault::Gateway), (70, Fault::Worker(0))];

async fn inject(
    options: &Options,
    stack: &mut Stack,
    progress: &Progress,
    requests: usize,
) -> anyhow::Result<Vec<String>> {
    let mut done = Vec::new();
    let faults = if options.no_faults { &[][..] } else { &FAULTS[..] };
    for (percent, fault) in faults {
        while progress.ended() * 100 < requests * percent {
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(5)).await;
        }
        match fault {
            Fault::Worker(index) => stack.crash_worker(*index).await?,
            Fault::Gateway => stack.crash_gateway().await?,
        }
        done.push(format!("{fault:?} killed and restarted after {} requests", progress.ended()));
    }
    Ok(done)
}

/// Until both workers serve.
async fn await_models(account: &Account) -> anyhow::Result<()> {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        let models = account.get("/v1/models").await?;
        if models["data"][0]["cocoon"]["workers"].as_u64() == Some(2) {
            return Ok(());
        }
        ensure!(Instant::now() < limit, "the workers did not enrol within 30 s: {models}");
        tokio::time::sleep_until(Instant::now() + Duration::from_millis(50)).await;
    }
}

/// Until no money is reserved any more. What a crash left open must go back by itself.
async fn await_resolution(account: &Account, seconds_max: u64) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let limit = start + Duration::from_secs(seconds_max);
    loop {
        let balance = account.get("/v1/balance").await?;
        if balance["reserved_nano"].as_u64() == Some(0) || Instant::now() > limit {
            return Ok(start.elapsed());
        }
        tokio::time::sleep_until(Instant::now() + Duration::from_millis(100)).await;
    }
}
