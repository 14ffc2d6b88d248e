//! `cocoon-gateway`: parse, set up telemetry, build, run, drain.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use cocoon_gateway::cli::{
    self, Cli, Command, ConfigFile, EXIT_CONFIG, EXIT_LEDGER, LedgerCommand,
};
use cocoon_gateway::compose::Gateway;
use cocoon_gateway::config::Config;
use cocoon_runtime::telemetry::{self, TelemetryConfig};
use cocoon_runtime::{Drained, Signals, SystemClock};

/// How long streams under way may take after the first signal, and destructors at the end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
const RUNTIME_STOP: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let code = if error.use_stderr() { i32::from(EXIT_CONFIG) } else { 0 };
        // Where even standard error is gone there is nobody to tell.
        drop(error.print());
        std::process::exit(code)
    });
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&anyhow::Error::new(error).context("failed to start the runtime"));
        }
    };
    let code = runtime.block_on(run(cli.command));
    runtime.shutdown_timeout(RUNTIME_STOP);
    code
}

async fn run(command: Command) -> ExitCode {
    let (Command::Serve(ConfigFile { path })
    | Command::CheckConfig(ConfigFile { path })
    | Command::Credit(cli::CreditArgs { config: ConfigFile { path }, .. })
    | Command::Ledger(LedgerCommand::Check { config: ConfigFile { path }, .. })) = &command;
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("cocoon-gateway: {}: {:#}", path.display(), anyhow::Error::new(error));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let outcome = match &command {
        Command::Serve(_) => Box::pin(serve(config)).await,
        Command::CheckConfig(_) => {
            println!("{} is a valid configuration", path.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Credit(args) => cli::credit(&config, args).await.map(|text| {
            println!("{text}");
            ExitCode::SUCCESS
        }),
        Command::Ledger(LedgerCommand::Check { json, .. }) => {
            cli::check_ledger(&config, *json).await.map(|(report, text)| {
                println!("{text}");
                if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_LEDGER) }
            })
        }
    };
    outcome.unwrap_or_else(|error| fail(&error))
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let _telemetry = telemetry::init(&TelemetryConfig {
        service: "cocoon-gateway",
        otlp_endpoint: config.telemetry.otlp_endpoint.clone(),
        json: config.telemetry.json,
    })?;
    // From here on a signal asks for a drain, also while the parts are still starting.
    let mut signals = Signals::listen().context("failed to listen for signals")?;
    let gateway = Gateway::start(config, Arc::new(SystemClock)).await?;
    signals.next().await;
    tracing::info!("draining: a second signal cuts what is still open");
    let stages = gateway.stages();
    let mut drain = Box::pin(gateway.drain(DRAIN_DEADLINE));
    let drained = tokio::select! {
        drained = &mut drain => drained,
        () = signals.next() => {
            stages.cut();
            drain.await
        }
    };
    if let Drained::Stopped { tasks } = drained {
        tracing::warn!(tasks, "stopped before everything was finished");
    }
    Ok(ExitCode::SUCCESS)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("cocoon-gateway: {error:#}");
    ExitCode::FAILURE
}
