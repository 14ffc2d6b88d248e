//! The conversation with the worker over stdin and stdout.
//!
//! Two plain threads: this one reads stdin until it ends, another one owns stdout. Jobs run as
//! tasks between them.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use cocoon_engine_wire::{
    Failure, FrameDecoder, FromEngine, Generate, PROTOCOL, Ready, ToEngine, encode,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::embed::Embedder;
use crate::job::Engine;

/// Messages that wait for the worker to read them. Behind them jobs wait, mistral.rs does not.
const OUT_MESSAGES: usize = 1024;

const READ_BYTES: usize = 64 * 1024;

/// Dropping an entry cancels its job.
type Jobs = Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>;

/// What this process serves.
#[derive(Clone)]
pub(crate) enum Model {
    Text(Arc<Engine>),
    Embedding(Arc<Embedder>),
}

impl Model {
    fn ready(&self) -> Ready {
        match self {
            Self::Text(engine) => Ready {
                protocol: PROTOCOL,
                context_length: engine.context_length,
                vocab: engine.vocab,
                jobs: engine.jobs,
                embedding_dimensions: 0,
            },
            Self::Embedding(embedder) => embedder.ready(),
        }
    }

    async fn run(
        &self,
        job: Generate,
        cancelled: oneshot::Receiver<()>,
        out: &mpsc::Sender<FromEngine>,
    ) -> FromEngine {
        match self {
            Self::Text(engine) => engine.run(job, cancelled, out).await,
            Self::Embedding(embedder) => embedder.run(job, cancelled, out).await,
        }
    }
}

/// Returns when stdin ends; an error is a worker that does not speak our protocol.
pub(crate) fn serve(model: &Model, runtime: &Handle) -> anyhow::Result<()> {
    let (out, messages) = mpsc::channel(OUT_MESSAGES);
    std::thread::Builder::new().name("stdout".to_owned()).spawn(move || write_all(messages))?;
    out.blocking_send(FromEngine::Ready(model.ready())).context("stdout is closed")?;
    let jobs = Jobs::default();
    let mut input = std::io::stdin().lock();
    let mut decoder = FrameDecoder::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let bytes = input.read(&mut buffer).context("failed to read stdin")?;
        if bytes == 0 {
            return Ok(());
        }
        decoder.push(&buffer[..bytes]);
        while let Some(message) = decoder.next_message::<ToEngine>()? {
            match message {
                ToEngine::Generate(job) => start(model, *job, &jobs, &out, runtime),
                ToEngine::Cancel { id } => drop(lock(&jobs).remove(&id)),
                ToEngine::Ping { n } => {
                    let pong = FromEngine::Pong { n, resident_bytes: resident_bytes() };
                    out.blocking_send(pong).context("stdout is closed")?;
                }
            }
        }
    }
}

fn start(
    model: &Model,
    job: Generate,
    jobs: &Jobs,
    out: &mpsc::Sender<FromEngine>,
    runtime: &Handle,
) {
    let id = job.id;
    let (cancel, cancelled) = oneshot::channel();
    lock(jobs).insert(id, cancel);
    let (model, jobs, out) = (model.clone(), Arc::clone(jobs), out.clone());
    let work = {
        let out = out.clone();
        runtime.spawn(async move { model.run(job, cancelled, &out).await })
    };
    runtime.spawn(async move {
        // A panic in one job is that job's failure.
        let failed = FromEngine::Failed { id, failure: Failure::Engine };
        let last = work.await.unwrap_or(failed);
        lock(&jobs).remove(&id);
        // The writer goes away only with the process.
        drop(out.send(last).await);
    });
}

fn lock(jobs: &Jobs) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes frames until the channel or stdout closes; flushes when nothing waits.
fn write_all(mut messages: mpsc::Receiver<FromEngine>) {
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    while let Some(message) = messages.blocking_recv() {
        let mut next = Some(message);
        while let Some(message) = next {
            let written = match encode(&message) {
                Ok(frame) => output.write_all(&frame),
                Err(error) => {
                    // One token's text cannot reach the bound; say so rather than stay silent.
                    tracing::error!("a message was not sent: {error}");
                    Ok(())
                }
            };
            if written.is_err() {
                return;
            }
            next = messages.try_recv().ok();
        }
        if output.flush().is_err() {
            return;
        }
    }
}

/// Memory that the process occupies; 0 where the system does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes =
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}
