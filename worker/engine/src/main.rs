//! `cocoon-engine`: the child process that holds mistral.rs.
//!
//! Speaks `cocoon_engine_wire` on stdin and stdout; stdout carries nothing else and logs go to
//! stderr. It is a process of its own because mistral.rs can panic, hang or run out of memory,
//! and then only a new process is safe. It ends when stdin does, so it never outlives its worker.
//!
//! Shape: [`folder`] reads the model's files, [`backend`] alone knows mistral.rs, [`job`] runs one
//! answer through [`template`], [`grammar`], [`sampler`], [`tokens`] and [`splitter`]; [`embed`] is the same for
//! models that make vectors; [`serve`] talks to the worker.
//!
//! Guards against mistral.rs 0.8 live here: every request streams into a channel that holds more
//! than its token limit, prompts and limits are checked before submission, the sampler is ours
//! (seed, bias, penalties, log-probabilities), and so are finish reasons, counts and stop texts.

mod backend;
mod calls;
mod embed;
mod folder;
mod grammar;
mod job;
mod sampler;
mod serve;
mod splitter;
mod template;
mod tokens;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

/// Runs one model for a Cocoon worker. Speaks frames on stdin and stdout; logs go to stderr.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A folder with config.json, tokenizer.json, safetensors, and a chat template, or modules.json
    /// where the model makes embeddings.
    #[arg(long)]
    model: PathBuf,
    /// Lowers the context length below what the model allows.
    #[arg(long)]
    context: Option<u32>,
    /// Jobs that the engine may hold at once.
    #[arg(long, default_value_t = 4)]
    jobs: u16,
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == grammar::probe::ARGUMENT) {
        return grammar::probe::main();
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the model cannot be served: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // mistral.rs sends a first dummy request only on a runtime of several threads.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("failed to start the async runtime")?;
    let model = runtime.block_on(load(arguments))?;
    let outcome = serve::serve(&model, runtime.handle());
    // Jobs of a worker that left are of no use, and a hung engine must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn load(arguments: &Arguments) -> anyhow::Result<serve::Model> {
    let (path, context) = (&arguments.model, arguments.context);
    if embed::Folder::is_one(path) {
        let folder = embed::Folder::open(path, context)?;
        return Ok(serve::Model::Embedding(embed::Embedder::load(folder, arguments.jobs).await?));
    }
    let folder = folder::Folder::open(path, context)?;
    let backend = backend::Backend::load(&folder, arguments.jobs).await?;
    Ok(serve::Model::Text(job::Engine::new(folder, backend, grammar::Probe::this_program()?)))
}
