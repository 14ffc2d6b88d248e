//! The composition root: the only place that names the concrete parts of a worker.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cocoon_attest::enrol::{Workload, WorkloadModel};
use cocoon_attest::receipt::ReceiptKey;
use cocoon_attest::verify::event_log::{EventLog, EventLogError, GpuPolicy};
use cocoon_primitives::{Clock, Digest, WorkerId};
use cocoon_runtime::telemetry::{TelemetryError, prometheus};
use cocoon_runtime::{Lifecycle, admin};
use cocoon_seal::KeyPair;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::engine::{self, Engine, EngineConfig, EngineStartError};
use crate::evidence::{EvidenceError, EvidenceSource};
use crate::serve::Surface;
use crate::uplink::{Link, LinkConfig, LinkParts, ReceiptOutbox, TlsIdentity};

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("failed to start the engine")]
    Engine(#[from] EngineStartError),
    #[error("the engine serves no model")]
    NoModel,
    #[error("failed to listen on {listen} for admin.listen")]
    Admin { listen: SocketAddr, source: io::Error },
    #[error("failed to record metrics")]
    Metrics(#[from] TelemetryError),
    #[error("this machine cannot show what it is")]
    Evidence(#[from] EvidenceError),
    #[error("the engine serves more models than one worker may")]
    Models(#[source] EventLogError),
    #[error("failed to use the outbox in {}", folder.display())]
    Outbox { folder: PathBuf, source: io::Error },
    #[error("failed to make the TLS key")]
    Tls(#[source] rcgen::Error),
}

/// A worker whose engine is loaded and whose link is being kept up.
#[derive(Debug)]
pub struct RunningWorker {
    pub worker_id: WorkerId,
    pub outbox: Arc<ReceiptOutbox>,
    /// Where metrics and liveness are shown, if anywhere.
    pub admin: Option<SocketAddr>,
}

/// Starts a worker. Its tasks belong to `lifecycle`; draining that ends it.
pub async fn start(
    config: Config,
    lifecycle: Lifecycle,
    clock: Arc<dyn Clock>,
) -> Result<RunningWorker, StartError> {
    // One TLS provider for the process; an earlier choice stays.
    drop(rustls::crypto::ring::default_provider().install_default());
    // Before the engine: loading takes long, and is watched too.
    let admin = match config.admin_listen {
        Some(listen) => Some(show_metrics(listen, &lifecycle).await?),
        None => None,
    };
    // Judged before a model's first byte reaches a GPU.
    let (evidence, gpus) = off_the_runtime(config.evidence, EvidenceSource::gpus).await?;
    let engine = engine::start_all(&config.engines, &lifecycle, Arc::clone(&clock)).await?;
    let workload = workload(&*engine, evidence.image(), gpus).ok_or(StartError::NoModel)?;
    let event_log = event_log(&workload, gpus)?;
    let log = event_log.clone();
    let measured = off_the_runtime(evidence, move |evidence| evidence.measure(&log));
    let (evidence, ()) = measured.await?;
    let receipt_key = ReceiptKey::from_seed(&seed());
    let worker_id = receipt_key.worker_id();
    let outbox = outbox(&config.data_dir, config.gateway_spki_sha256, worker_id)?;
    lifecycle.spawn("outbox", Arc::clone(&outbox).keep(lifecycle.soft().clone()));
    let (served, receipts) = (Arc::clone(&engine), Arc::clone(&outbox));
    let surface = Surface::new(served, receipts, Arc::clone(&clock), config.limits);
    let queues = config.engines.iter().map(EngineConfig::queue);
    let link_config = LinkConfig {
        gateway: config.gateway,
        gateway_spki_sha256: config.gateway_spki_sha256,
        payee: config.payee,
        queue: queues.fold(0, u32::saturating_add),
    };
    let link = Link::new(
        link_config,
        LinkParts {
            engine,
            surface: Arc::new(surface),
            outbox: Arc::clone(&outbox),
            receipt_key,
            seal_key: Arc::new(KeyPair::from_seed(&seed())),
            tls: TlsIdentity::generate().map_err(StartError::Tls)?,
            evidence,
            event_log,
            workload,
            clock,
            lifecycle: lifecycle.clone(),
        },
    );
    lifecycle.spawn("uplink", link.run());
    tracing::info!(worker.id = %worker_id, "worker {worker_id} is ready and dials its gateway");
    Ok(RunningWorker { worker_id, outbox, admin })
}

async fn show_metrics(listen: SocketAddr, lifecycle: &Lifecycle) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Admin { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    admin::serve(listener, prometheus()?, lifecycle);
    tracing::info!(admin = %address, "metrics and liveness are at {address}");
    Ok(address)
}

/// Runs what waits for a kernel or a device where it holds up nobody.
async fn off_the_runtime<T: Send + 'static>(
    evidence: EvidenceSource,
    work: impl FnOnce(&EvidenceSource) -> Result<T, EvidenceError> + Send + 'static,
) -> Result<(EvidenceSource, T), StartError> {
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&evidence);
        (evidence, done)
    });
    let (evidence, done) = done.await.expect("collecting evidence does not panic");
    Ok((evidence, done?))
}

/// What the evidence covers; `None` where there is nothing to serve.
fn workload(engine: &dyn Engine, image: &str, gpus: GpuPolicy) -> Option<Workload> {
    let models: Vec<WorkloadModel> = engine
        .models()
        .into_iter()
        .map(|card| WorkloadModel {
            name: card.name,
            kind: card.kind,
            manifest_digest: Digest::from_bytes(card.manifest_digest),
            context_length: u64::from(card.context_length),
            engine: card.engine.to_owned(),
            is_demo: card.is_demo,
            owned_by: card.owned_by,
        })
        .collect();
    let GpuPolicy { gpu_count, cc_on, devtools } = gpus;
    let workload = Workload { image: image.to_owned(), models, gpu_count, cc_on, devtools };
    (!workload.models.is_empty()).then_some(workload)
}

/// What is measured about a workload.
fn event_log(workload: &Workload, gpus: GpuPolicy) -> Result<EventLog, StartError> {
    let manifests = workload.models.iter().map(|model| *model.manifest_digest.as_bytes());
    EventLog::of_worker(&manifests.collect::<Vec<_>>(), gpus).map_err(StartError::Models)
}

/// The receipts of this run, and those that earlier ones owe the same gateway.
fn outbox(
    data_dir: &Path,
    gateway: Digest,
    worker: WorkerId,
) -> Result<Arc<ReceiptOutbox>, StartError> {
    let folder = data_dir.join("outbox").join(gateway.to_string());
    let outbox = ReceiptOutbox::open(&folder, &worker.to_string());
    outbox.map(Arc::new).map_err(|source| StartError::Outbox { folder, source })
}

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system gives random bytes");
    seed
}

#[cfg(test)]
#[cfg(feature = "soft-tee")]
mod tests;
