//! `cocoon-load run`: the options of an open loop and its report.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::call::Target;
use crate::open_loop::{self, Progress};
use crate::plan::{self, REQUESTS_MAX, Shape};
use crate::record;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The API's base URL, as OpenAI's clients take it: it ends in /v1; plain HTTP
    #[arg(long, env = "OPENAI_BASE_URL")]
    base_url: String,
    #[arg(long, env = "OPENAI_API_KEY", hide_env_values = true)]
    api_key: String,
    #[arg(long, env = "COCOON_MODEL")]
    model: String,
    /// Requests per second that arrive, whatever the answers do
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// How many requests; instead of --duration
    #[arg(long, conflicts_with = "duration")]
    requests: Option<usize>,
    /// Seconds; the number of requests is the rate times this
    #[arg(long, default_value_t = 10.0)]
    duration: f64,
    /// The most requests under way at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// The part of requests that stream
    #[arg(long, default_value_t = 1.0)]
    stream_fraction: f64,
    /// The part of requests whose client leaves
    #[arg(long, default_value_t = 0.0)]
    cancel_fraction: f64,
    /// A client that leaves does so within this time
    #[arg(long, default_value_t = 1000)]
    cancel_within_ms: u64,
    /// max_completion_tokens of each request
    #[arg(long, default_value_t = 32)]
    tokens: u32,
    #[arg(long, default_value = "What is the capital of France?")]
    prompt: String,
    /// A request that has not ended by then is given up
    #[arg(long, default_value_t = 60)]
    deadline_s: u64,
    /// Same seed, same arrivals and cancellations
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let connections = usize::from(options.connections);
    let (target, plan) = prepare(options)?;
    let (records, elapsed) =
        open_loop::run(target, plan, connections, Arc::new(Progress::default())).await;
    println!("{}", serde_json::to_string_pretty(&record::report(&records, elapsed))?);
    Ok(ExitCode::SUCCESS)
}

fn prepare(options: Options) -> anyhow::Result<(Target, Vec<plan::Arrival>)> {
    ensure!(options.rate > 0.0 && options.rate <= 1e6, "--rate must be between 0 and 1,000,000");
    for fraction in [options.stream_fraction, options.cancel_fraction] {
        ensure!((0.0..=1.0).contains(&fraction), "a fraction must be between 0 and 1");
    }
    let requests = match options.requests {
        Some(requests) => requests,
        None => format!("{:.0}", (options.rate * options.duration).ceil()).parse()?,
    };
    ensure!((1..=REQUESTS_MAX).contains(&requests), "a run has 1 to {REQUESTS_MAX} requests");
    let url = format!("{}/chat/completions", options.base_url.trim_end_matches('/'));
    let target = Target {
        url: url.parse().context("--base-url is not a URL")?,
        key: options.api_key,
        model: options.model,
        prompt: options.prompt,
        tokens: options.tokens,
        deadline: Duration::from_secs(options.deadline_s),
        patience: Duration::ZERO,
    };
    ensure!(target.url.scheme_str() == Some("http"), "--base-url must be plain HTTP");
    ensure!(target.key.is_ascii(), "the API key is not ASCII");
    let plan = plan::arrivals(&Shape {
        requests,
        requests_per_second: options.rate,
        stream_fraction: options.stream_fraction,
        cancel_fraction: options.cancel_fraction,
        cancel_within: Duration::from_millis(options.cancel_within_ms),
        seed: options.seed,
    });
    Ok((target, plan))
}
