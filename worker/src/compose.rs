//! The composition root: the only place that names the concrete parts of a worker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use cocoon_attest::enrol::{Workload, WorkloadModel};
use cocoon_attest::receipt::ReceiptKey;
use cocoon_primitives::{Clock, Digest, WorkerId};
use cocoon_runtime::telemetry::{TelemetryError, prometheus};
use cocoon_runtime::{Lifecycle, admin};
use tokio::net::TcpListener;

use crate::config::Config;
use crate::engine::{self, Engine, EngineConfig, EngineStartError};
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
    let engine = engine::start_all(&config.engines, &lifecycle, Arc::clone(&clock)).await?;
    let workload = workload(&*engine).ok_or(StartError::NoModel)?;
    let receipt_key = ReceiptKey::from_seed(&seed());
    let worker_id = receipt_key.worker_id();
    let outbox = Arc::new(ReceiptOutbox::new());
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
            tls: TlsIdentity::generate().map_err(StartError::Tls)?,
            evidence: config.evidence,
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

/// What the evidence covers; `None` where there is nothing to serve.
fn workload(engine: &dyn Engine) -> Option<Workload> {
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
    let image = concat!("cocoon-worker ", env!("CARGO_PKG_VERSION")).to_owned();
    (!models.is_empty()).then_some(Workload { image, models })
}

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system gives random bytes");
    seed
}

#[cfg(test)]
#[cfg(feature = "soft-tee")]
mod tests;
