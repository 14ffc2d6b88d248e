//! `cocoon-worker`: parse, set up telemetry, build, run, drain.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use cocoon_runtime::telemetry::{self, TelemetryConfig};
use cocoon_runtime::{Drained, Lifecycle, Signals, SystemClock};
use cocoon_worker::cli::{self, Cli, Command, ConfigFile, ManifestArguments};
use cocoon_worker::config::{self, Config};
use cocoon_worker::engine::EngineConfig;
#[cfg(feature = "soft-tee")]
use cocoon_worker::evidence::software::{InitOptions, init};
use cocoon_worker::{compose, models};

/// What answers get to finish after the first signal.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(ConfigFile { path }) => match load(&path) {
            Some(config) => serve(config),
            None => return ExitCode::from(cli::EXIT_CONFIG),
        },
        Command::CheckConfig(ConfigFile { path }) => {
            let Some(_) = load(&path) else { return ExitCode::from(cli::EXIT_CONFIG) };
            println!("{} is a valid configuration", path.display());
            Ok(())
        }
        Command::Manifest(ManifestArguments { config, json }) => {
            let engines = cli::explained(config::load_engines(&config.path), &config.path);
            let Some(engines) = engines else { return ExitCode::from(cli::EXIT_CONFIG) };
            manifest(&engines, json)
        }
        #[cfg(feature = "soft-tee")]
        Command::SoftTee(cli::SoftTee::Init { dir, gpus, snp }) => {
            let options = InitOptions { gpus, has_snp: snp };
            init(&dir, options).map(|rows| print!("{rows}")).map_err(Into::into)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cocoon-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(path: &Path) -> Option<Config> {
    cli::explained(Config::load(path), path)
}

#[tokio::main]
async fn manifest(engines: &[EngineConfig], json: bool) -> anyhow::Result<()> {
    // Progress of a download goes to the standard error output, as with `serve`.
    let _telemetry = telemetry::init(&telemetry_of(None, false))?;
    print!("{}", models::listed(engines, json).await?);
    Ok(())
}

fn telemetry_of(otlp_endpoint: Option<String>, json: bool) -> TelemetryConfig {
    TelemetryConfig { service: "cocoon-worker", otlp_endpoint, json }
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    let (otlp_endpoint, json) = (config.telemetry.otlp_endpoint.clone(), config.telemetry.json);
    let _telemetry = telemetry::init(&telemetry_of(otlp_endpoint, json))?;
    // From here on a signal asks for a drain, also while the engine is still loading.
    let mut signals = Signals::listen()?;
    let lifecycle = Lifecycle::new();
    // Nobody asked for the end: a part of the worker found that it must not go on.
    let mut is_faulty = false;
    tokio::select! {
        started = compose::start(config, lifecycle.clone(), Arc::new(SystemClock)) => {
            started?;
            tokio::select! {
                () = signals.next() => {}
                () = lifecycle.soft().cancelled() => is_faulty = true,
            }
        }
        () = signals.next() => {}
    }
    tracing::info!("draining: a second signal stops at once");
    let drained = tokio::select! {
        drained = lifecycle.drain(DRAIN_DEADLINE) => drained,
        () = signals.next() => {
            lifecycle.hard().cancel();
            lifecycle.drain(DRAIN_DEADLINE).await
        }
    };
    if let Drained::Stopped { tasks } = drained {
        tracing::warn!(tasks, "{tasks} tasks were stopped before they finished");
    }
    anyhow::ensure!(!is_faulty, "the worker must not go on: its log says why");
    Ok(())
}
