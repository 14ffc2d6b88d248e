//! The composition root: the only module that names every concrete part.
//!
//! A gateway starts in one order and ends in the reverse one: first the edge stops taking
//! requests and lets streams finish, then the dispatcher settles what they left, then jobs and
//! workers' connections end, then the store closes. Each stage is a [`Lifecycle`] of its own.

mod endpoints;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use cocoon_fleet::Fleet;
use cocoon_primitives::{Clock, Timestamp};
use cocoon_runtime::telemetry::{TelemetryError, prometheus};
use cocoon_runtime::{Drained, Lifecycle};
use cocoon_store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::api::{self, ApiParts, GatewayKey, StartedAt, Visits};
use crate::auth::{
    Authenticator, DEAD_KEYS_MAX, IdentityError, KeyTable, SecretSeed, Sessions, SignIn, Throttle,
    record_key_uses,
};
use crate::config::Config;
use crate::dispatch::{DispatchLimits, DispatchParts, Dispatcher, PriceList};
use crate::ear::EarSigner;
use crate::edge::admission::Admission;
use crate::edge::body::{BodyBudget, BodyLimits};
use crate::edge::serve::{Site, serve};
use crate::edge::share::Shares;
use crate::edge::{self, EdgeParts};
use crate::idempotency::{Idempotency, IdempotencyParts};
use crate::jobs::{self, JobParts, Jobs};
use crate::policy::{self, PolicyStore};
use crate::rates::Rates;
use crate::recount::{RecountConfig, RecountError, Recounter};
use crate::transparency::{Reports, ReportsParts, Transparency};
use crate::uplink::{LateReceipt, SharedFleet, Uplink, UplinkConfig, UplinkError, UplinkParts};

/// Receipts from workers' event channels that wait for the job; beyond that workers wait.
const LATE_RECEIPTS_MAX: usize = 1024;
/// How long the stages behind the edge may take once no request is left.
const STAGE_DEADLINE: Duration = Duration::from_secs(5);

/// Starts gateways.
#[derive(Debug)]
pub struct Gateway;

/// A gateway that serves. Dropping it stops nothing: see [`RunningGateway::drain`].
#[derive(Debug)]
pub struct RunningGateway {
    pub api: SocketAddr,
    pub uplink: SocketAddr,
    pub admin: SocketAddr,
    /// What workers pin.
    pub uplink_spki_sha256: [u8; 32],
    /// The public key that countersigns receipts.
    pub receipt_key: [u8; 32],
    pub store: Store,
    pub fleet: SharedFleet,
    stages: Stages,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("failed to make {}", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error("failed to load a key of the gateway")]
    Identity(#[from] IdentityError),
    #[error("failed to open the store")]
    Store(#[from] StoreError),
    #[error("failed to load the policy")]
    Policy(#[source] policy::Refused),
    #[error("failed to load a tokenizer")]
    Recount(#[from] RecountError),
    #[error("failed to start the uplink")]
    Uplink(#[from] UplinkError),
    #[error("failed to listen on {listen}")]
    Listen { listen: SocketAddr, source: io::Error },
    #[error("failed to set up metrics")]
    Metrics(#[from] TelemetryError),
    #[error("failed to write {}", path.display())]
    Endpoints { path: PathBuf, source: io::Error },
}

/// The order of an ending. Clones share it, so that a second signal can hurry a drain.
#[derive(Debug, Clone, Default)]
pub struct Stages {
    edge: Lifecycle,
    dispatch: Lifecycle,
    core: Lifecycle,
}

/// The gateway's long-lived secrets.
struct Keys {
    session: SecretSeed,
    receipt: SecretSeed,
}

impl Gateway {
    /// Starts every part and returns once all sockets are bound and `endpoints.json` names them.
    pub async fn start(
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<RunningGateway, StartError> {
        let stages = Stages::default();
        let started = Box::pin(assemble(config, clock, stages.clone())).await;
        if started.is_err() {
            stages.stop_now();
        }
        started
    }
}

async fn assemble(
    config: Config,
    clock: Arc<dyn Clock>,
    stages: Stages,
) -> Result<RunningGateway, StartError> {
    let keys = prepare(&config)?;
    // Sockets first: a port that is taken is the failure that people meet.
    let (api, api_listener) = listen(config.api.listen).await?;
    let (admin, admin_listener) = listen(config.admin_listen).await?;
    let metrics = prometheus()?;
    let store = open_store(config.store_path()).await?;
    let policy = open_policy(&config, clock.now()).await?;
    policy.watch(clock.clone(), &stages.core);
    let fleet: SharedFleet = Arc::new(Mutex::new(Fleet::new()));

    let transparency =
        Transparency::open(store.clone(), clock.clone(), keys.receipt.signing_key(), &stages.core)
            .await?;
    transparency.follow(&policy, &stages.core).await?;

    let parts = Parts {
        store: &store,
        fleet: &fleet,
        policy: &policy,
        transparency: &transparency,
        clock: &clock,
        stages: &stages,
    };
    let (late_receipts, receipts) = mpsc::channel(LATE_RECEIPTS_MAX);
    let jobs = parts.jobs(&keys, receipts);
    let (uplink, uplink_address) = parts.uplink(&config, late_receipts).await?;
    let routes = parts.api(&config, &keys, jobs).await?;

    let running = RunningGateway {
        api,
        uplink: uplink_address,
        admin,
        uplink_spki_sha256: uplink.spki_sha256(),
        receipt_key: keys.receipt.signing_key().verifying_key().to_bytes(),
        store,
        fleet,
        stages,
    };
    running.serve(public_site(&config, api_listener, routes));
    // With the last stage, so that a drain can be watched.
    cocoon_runtime::admin::serve(admin_listener, metrics, &running.stages.core);
    endpoints::write(&config, &running)?;
    tracing::info!(%api, uplink = %uplink_address, %admin, "serving");
    Ok(running)
}

impl RunningGateway {
    /// What a second signal hurries.
    pub fn stages(&self) -> Stages {
        self.stages.clone()
    }

    /// Takes nothing new, lets what runs finish until `deadline`, then settles and closes.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let edge = self.stages.edge.drain(deadline).await;
        tracing::debug!(?edge, "the edge is drained");
        let dispatch = self.stages.dispatch.drain(STAGE_DEADLINE).await;
        tracing::debug!(?dispatch, "the dispatcher is drained");
        let core = self.stages.core.drain(STAGE_DEADLINE).await;
        tracing::debug!(?core, "jobs and workers are drained");
        self.store.clone().close().await;
        tracing::debug!("the store is closed");
        let stopped = [edge, dispatch, core].into_iter().filter_map(|stage| match stage {
            Drained::Finished => None,
            Drained::Stopped { tasks } => Some(tasks),
        });
        match stopped.sum() {
            0 => Drained::Finished,
            tasks => Drained::Stopped { tasks },
        }
    }

    fn serve(&self, site: Site) {
        let lifecycle = self.stages.edge.clone();
        self.stages.edge.spawn(site.name, serve(site, lifecycle));
    }
}

impl Stages {
    /// Cuts the answers that are still open. What was delivered of them is settled by the stages
    /// behind, which end in their order.
    pub fn cut(&self) {
        self.edge.hard().cancel();
    }

    /// Ends every stage now. Whatever was not settled is resolved at the next start.
    pub fn stop_now(&self) {
        for stage in [&self.edge, &self.dispatch, &self.core] {
            stage.hard().cancel();
        }
    }
}

/// The parts that others are made of.
struct Parts<'a> {
    store: &'a Store,
    fleet: &'a SharedFleet,
    policy: &'a Arc<PolicyStore>,
    transparency: &'a Arc<Transparency>,
    clock: &'a Arc<dyn Clock>,
    stages: &'a Stages,
}

impl Parts<'_> {
    fn jobs(&self, keys: &Keys, late_receipts: mpsc::Receiver<LateReceipt>) -> Jobs {
        jobs::start(JobParts {
            store: self.store.clone(),
            fleet: self.fleet.clone(),
            clock: self.clock.clone(),
            lifecycle: self.stages.core.clone(),
            late_receipts,
            gateway_key: keys.receipt.signing_key(),
        })
    }

    async fn uplink(
        &self,
        config: &Config,
        late_receipts: mpsc::Sender<LateReceipt>,
    ) -> Result<(Uplink, SocketAddr), UplinkError> {
        let parts = UplinkParts {
            fleet: self.fleet.clone(),
            policy: self.policy.clone(),
            transparency: self.transparency.clone(),
            clock: self.clock.clone(),
            lifecycle: self.stages.core.clone(),
            late_receipts,
        };
        let uplink = UplinkConfig::new(config.uplink_listen, config.data_dir.clone());
        Uplink::bind(uplink, parts).await
    }

    async fn api(&self, config: &Config, keys: &Keys, jobs: Jobs) -> Result<Router, StartError> {
        let now = self.clock.now();
        let live = self.store.live_keys(now).await?;
        let dead = self.store.dead_keys(now, DEAD_KEYS_MAX).await?;
        let key_table = Arc::new(KeyTable::new(&live, &dead));
        record_key_uses(key_table.clone(), self.store.clone(), &self.stages.core);
        let sessions = Arc::new(Sessions::new(&keys.session));
        let authenticator =
            Authenticator::new(key_table.clone(), sessions.clone(), self.clock.clone());
        let sign_in = SignIn::new(
            keys.session.derive("cocoon/ton-proof-nonce-key/v1"),
            config.auth.domains.clone(),
            config.auth.network,
            sessions,
            self.store.clone(),
        );
        let prices = Arc::new(config.prices.clone());
        let limits = config.limits;
        let rates = Arc::new(Rates::new(limits.rates, self.clock.clone()));
        let recounter = load_recounter(config.recount.clone()).await?;
        let parts = ApiParts {
            authenticator: Arc::new(authenticator),
            body_budget: BodyBudget::new(limits.body_bytes_in_flight),
            body_limits: BodyLimits { bytes_max: limits.body_bytes, timeout: limits.body_timeout },
            clock: self.clock.clone(),
            dispatcher: self.dispatcher(config, prices, rates.clone(), recounter, jobs),
            ear: Arc::new(EarSigner::new(&keys.receipt)),
            fleet: self.fleet.clone(),
            gateway_key: GatewayKey(keys.receipt.signing_key().verifying_key().to_bytes()),
            idempotency: self.idempotency(config),
            keys: key_table,
            lifecycle: self.stages.edge.clone(),
            policy: self.policy.clone(),
            rates,
            reports: self.reports(),
            shares: Arc::new(Shares::new(limits.requests_per_wallet)),
            sign_in: Arc::new(sign_in),
            started_at: StartedAt(self.clock.now()),
            store: self.store.clone(),
            throttle: Arc::new(Throttle::new(config.auth.sign_ins_per_minute)),
            transparency: self.transparency.clone(),
            visits: Visits::new(),
        };
        let edge = EdgeParts {
            admission: Arc::new(Admission::new(limits.requests_in_flight)),
            drain_timeout: limits.body_timeout,
            clock: self.clock.clone(),
        };
        Ok(edge::wrap(api::router(parts), &edge))
    }

    fn reports(&self) -> Arc<Reports> {
        Reports::new(ReportsParts {
            policy: self.policy.clone(),
            clock: self.clock.clone(),
            lifecycle: self.stages.core.clone(),
        })
    }

    fn idempotency(&self, config: &Config) -> Arc<Idempotency> {
        Idempotency::new(IdempotencyParts {
            store: self.store.clone(),
            clock: self.clock.clone(),
            lifecycle: self.stages.edge.clone(),
            limits: config.idempotency,
            client_stall_max: config.limits.client_stall_timeout,
        })
    }

    fn dispatcher(
        &self,
        config: &Config,
        prices: Arc<PriceList>,
        rates: Arc<Rates>,
        recounter: Arc<Recounter>,
        jobs: Jobs,
    ) -> Arc<Dispatcher> {
        let asked = &config.limits;
        let standard = DispatchLimits::STANDARD;
        let limits = DispatchLimits {
            request_timeout: asked.request_timeout,
            first_frame_timeout: standard.first_frame_timeout.min(asked.first_token_timeout),
            first_token_timeout: asked.first_token_timeout,
            silence_max: asked.idle_stream_timeout,
            keep_alive: asked.keep_alive,
            client_stall_max: asked.client_stall_timeout,
            items_max: asked.messages,
            tools_max: asked.tools,
            prompts_max: asked.prompts,
            choices_max: asked.choices,
            completion_tokens_max: asked.completion_tokens,
            commission_bp: config.commission_bp,
            ..standard
        };
        Dispatcher::new(DispatchParts {
            store: self.store.clone(),
            fleet: self.fleet.clone(),
            prices,
            clock: self.clock.clone(),
            lifecycle: self.stages.dispatch.clone(),
            limits,
            rates,
            recounter,
            jobs,
        })
    }
}

fn prepare(config: &Config) -> Result<Keys, StartError> {
    let data_dir = &config.data_dir;
    std::fs::create_dir_all(data_dir)
        .map_err(|source| StartError::DataDir { path: data_dir.clone(), source })?;
    Ok(Keys {
        session: SecretSeed::load_or_create(&data_dir.join("session.key"))?,
        receipt: SecretSeed::load_or_create(&data_dir.join("receipt.key"))?,
    })
}

/// Tokenizers of large models take a second to read.
async fn load_recounter(config: RecountConfig) -> Result<Arc<Recounter>, RecountError> {
    tokio::task::spawn_blocking(move || Recounter::load(&config).map(Arc::new))
        .await
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

/// Opening reads and may migrate the whole file.
async fn open_store(path: PathBuf) -> Result<Store, StoreError> {
    tokio::task::spawn_blocking(move || Store::open(&path))
        .await
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

/// Judging a policy is a matter of milliseconds, and of the disk.
async fn open_policy(config: &Config, now: Timestamp) -> Result<Arc<PolicyStore>, StartError> {
    let (source, data_dir) = (config.policy.clone(), config.data_dir.clone());
    tokio::task::spawn_blocking(move || PolicyStore::open(source, &data_dir, now))
        .await
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
        .map_err(StartError::Policy)
}

async fn listen(listen: SocketAddr) -> Result<(SocketAddr, TcpListener), StartError> {
    let failed = |source| StartError::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    Ok((listener.local_addr().map_err(failed)?, listener))
}

fn public_site(config: &Config, listener: TcpListener, routes: Router) -> Site {
    Site {
        name: "api",
        listener,
        routes,
        tls: config.api.tls.as_ref().map(crate::config::Tls::server_config),
        connections_max: config.limits.connections,
        header_timeout: config.limits.header_timeout,
    }
}
