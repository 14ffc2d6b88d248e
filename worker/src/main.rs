//! `cocoon-worker`: parse, set up telemetry, build, run, drain.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use cocoon_runtime::telemetry::{self, TelemetryConfig};
use cocoon_runtime::{Drained, Lifecycle, Signals, SystemClock};
#[cfg(feature = "soft-tee")]
use cocoon_worker::cli::SoftTee;
use cocoon_worker::cli::{Cli, Command, ConfigFile, EXIT_CONFIG};
use cocoon_worker::compose;
use cocoon_worker::config::Config;

/// What answers get to finish after the first signal.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(ConfigFile { path }) => match load(&path) {
            Some(config) => serve(config),
            None => return ExitCode::from(EXIT_CONFIG),
        },
        Command::CheckConfig(ConfigFile { path }) => match load(&path) {
            Some(_) => {
                println!("{} is a valid configuration", path.display());
                Ok(())
            }
            None => return ExitCode::from(EXIT_CONFIG),
        },
        #[cfg(feature = "soft-tee")]
        Command::SoftTee(SoftTee::Init { dir }) => {
            let public = cocoon_worker::evidence::software::init_root(&dir);
            public.map(|key| println!("{}", hex::encode(key))).map_err(Into::into)
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

fn load(path: &std::path::Path) -> Option<Config> {
    Config::load(path)
        .inspect_err(|error| {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            eprintln!("cocoon-worker: {}: {error}{}", path.display(), cause.unwrap_or_default());
        })
        .ok()
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    let _telemetry = telemetry::init(&TelemetryConfig {
        service: "cocoon-worker",
        otlp_endpoint: config.telemetry.otlp_endpoint.clone(),
        json: config.telemetry.json,
    })?;
    // From here on a signal asks for a drain, also while the engine is still loading.
    let mut signals = Signals::listen()?;
    let lifecycle = Lifecycle::new();
    tokio::select! {
        started = compose::start(config, lifecycle.clone(), Arc::new(SystemClock)) => {
            started?;
            signals.next().await;
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
    Ok(())
}
