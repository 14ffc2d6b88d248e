//! mistral.rs in a child process, and the supervisor that keeps one running.
//!
//! Shape: [`Mistralrs`] admits jobs; each job is a task that waits for a permit and for a child
//! that is ready, then hands itself to the child's [`link::Link`]. The [`supervisor`] owns the
//! child: it starts it, generates a token with it before it calls it ready, watches it, and starts
//! another when it dies, hangs or grows too large.
//!
//! Invariants: a job's permit is held until the child has said that the job is over, so that the
//! engine never holds more jobs than permits; a child that dies ends its jobs with `Crashed`; the
//! child dies with this process (stdin ends) and with its supervisor (killed on drop); no child is
//! started anew from files that are not those of the manifest: then the worker drains and ends,
//! and its lease with it.

mod link;
mod supervisor;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cocoon_primitives::{Clock, ModelName};
use cocoon_runtime::Lifecycle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::link::Link;
use self::supervisor::{Stopped, Supervisor};
use super::admission::{Admission, Place};
use super::config::MistralrsConfig;
use super::manifest::{self, EngineSettings, Manifest, ManifestError};
use super::{
    Engine, EngineError, EngineEvent, EngineLoad, EngineStartError, Generation, Input, Job,
    ModelCard, ModelManifest, check_job, demo, hub,
};

/// As the policy names it.
const KIND: &str = "mistralrs";
const LIBRARY: &str = "mistral.rs 0.8.1";

/// How long a job that was admitted waits for a child that is being restarted.
const RESTART_PATIENCE: Duration = Duration::from_secs(10);

/// Events of a job beyond two for each token, or one for each vector.
const EVENTS_MARGIN: usize = 64;

pub(super) struct Mistralrs {
    card: ModelCard,
    admission: Arc<Admission>,
    state: watch::Receiver<State>,
    lifecycle: Lifecycle,
}

/// The child as jobs see it.
#[derive(Debug, Clone)]
enum State {
    /// Being started, for the first time or again.
    Starting,
    Ready(Arc<Link>),
    /// Starting failed more than once in a row; it is tried again, but nobody should wait.
    Down,
}

impl Mistralrs {
    pub(super) async fn start(
        config: &MistralrsConfig,
        lifecycle: &Lifecycle,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EngineStartError> {
        let source = source(config).await?;
        let program = program(config)?;
        // A program that is not there at all is the configuration's fault.
        supervisor::probe(&program)?;
        let manifest_digest = read_manifest(config, &source).await?.digest();
        let Source { folder, name, owned_by, is_demo } = source;
        let (publish, mut state) = watch::channel(State::Starting);
        let give_up = CancellationToken::new();
        let supervisor = Supervisor {
            program,
            folder,
            manifest_digest,
            config: config.clone(),
            state: publish,
            clock,
            give_up: give_up.clone(),
        };
        let soft = lifecycle.soft().clone();
        let ending = soft.clone();
        let (admit, admitted) = oneshot::channel::<Arc<Admission>>();
        let drained = async move {
            soft.cancelled().await;
            // Without an admission nothing was admitted: the start was given up.
            if let Ok(admission) = admitted.await {
                admission.idle().await;
            }
        };
        lifecycle.spawn("engine.supervisor", async move {
            tokio::select! {
                stopped = supervisor.run() => match stopped {
                    Stopped::GivenUp => {}
                    // What the lease says of the model is no longer so.
                    Stopped::ModelChanged => ending.cancel(),
                },
                () = drained => {}
            }
        });
        let first = state.wait_for(|state| !matches!(state, State::Starting)).await;
        let link = match first.as_deref() {
            Ok(State::Ready(link)) => Arc::clone(link),
            _ => {
                give_up.cancel();
                return Err(EngineStartError::NotReady);
            }
        };
        drop(first);
        // A job beyond what the child works on would wait in there, where silence means a hang.
        let permits = config.permits.min(link.jobs());
        let patience = Duration::from_millis(config.queue_timeout_ms);
        let admission = Arc::new(Admission::new(permits, config.queue, patience));
        // The supervisor may be gone already; then every job hears so.
        drop(admit.send(Arc::clone(&admission)));
        let card = ModelCard {
            name,
            kind: link.kind(),
            embedding_dimensions: link.embedding_dimensions(),
            context_length: link.context_length(),
            counts_prompts: true,
            manifest_digest,
            engine: KIND,
            is_demo,
            owned_by,
        };
        Ok(Self { card, admission, state, lifecycle: lifecycle.clone() })
    }
}

impl Engine for Mistralrs {
    fn models(&self) -> Vec<ModelCard> {
        vec![self.card.clone()]
    }

    fn generate(&self, job: Job) -> Result<Generation, EngineError> {
        check_job(&job)?;
        if self.lifecycle.is_draining() || matches!(*self.state.borrow(), State::Down) {
            return Err(EngineError::Unavailable);
        }
        let place = self.admission.enter()?;
        let events_max = match &job.input {
            Input::Embed(inputs) => inputs.len(),
            _ => {
                let tokens = usize::try_from(job.max_tokens.min(self.card.context_length));
                tokens.unwrap_or(usize::MAX).saturating_mul(2)
            }
        };
        let capacity = events_max + EVENTS_MARGIN;
        let (sender, events) = mpsc::channel(capacity);
        let work = work(job, place, self.state.clone(), sender);
        self.lifecycle.spawn("engine.job", work);
        Ok(Generation { events })
    }

    fn load(&self) -> EngineLoad {
        self.admission.load()
    }

    fn is_ready(&self) -> bool {
        !self.lifecycle.is_draining() && matches!(*self.state.borrow(), State::Ready(_))
    }
}

/// One job, from the queue to its last event.
async fn work(
    job: Job,
    place: Place,
    mut state: watch::Receiver<State>,
    events: mpsc::Sender<EngineEvent>,
) {
    let Some(_turn) = place.turn(&events).await else { return };
    let ready = state.wait_for(|state| matches!(state, State::Ready(_)));
    let link = tokio::select! {
        biased;
        () = events.closed() => return,
        ready = timeout(RESTART_PATIENCE, ready) => match ready.ok().and_then(Result::ok).as_deref() {
            Some(State::Ready(link)) => Some(Arc::clone(link)),
            _ => None,
        },
    };
    match link {
        Some(link) => link.perform(job, events).await,
        // Nothing was sent yet, so the channel has room.
        None => drop(events.try_send(EngineEvent::Failed(EngineError::Unavailable))),
    }
}

/// The manifest of the model that `config` names, which is unpacked or downloaded first.
pub(super) async fn manifest(config: &MistralrsConfig) -> Result<ModelManifest, EngineStartError> {
    let source = source(config).await?;
    let manifest = read_manifest(config, &source).await?;
    Ok(ModelManifest { name: source.name, engine: KIND, manifest })
}

async fn read_manifest(
    config: &MistralrsConfig,
    source: &Source,
) -> Result<Manifest, EngineStartError> {
    let (config, folder) = (config.clone(), source.folder.clone());
    let read = tokio::task::spawn_blocking(move || manifest_of(&config, &folder));
    Ok(read.await.map_err(|_| EngineStartError::NotReady)??)
}

/// Reads every file. A program of the configuration's own, which only development has, counts too.
fn manifest_of(config: &MistralrsConfig, folder: &Path) -> Result<Manifest, ManifestError> {
    let program = config.engine_bin.as_deref().map(manifest::sha256).transpose()?;
    let settings = EngineSettings::of(LIBRARY)
        .with("cocoon_engine", env!("CARGO_PKG_VERSION"))
        .with("prefix_cache", "off")
        .with_some("context_length", config.context_length)
        .with_some("engine_bin_sha256", program.as_deref());
    Manifest::of_folder(folder, &settings)
}

/// Where a model came from.
struct Source {
    folder: PathBuf,
    name: ModelName,
    owned_by: String,
    is_demo: bool,
}

/// The model's folder, filled first where the model is shipped or the hub's.
async fn source(config: &MistralrsConfig) -> Result<Source, EngineStartError> {
    let models = || {
        config.models_dir.clone().ok_or_else(|| {
            let problem = "models_dir is needed to unpack or download a model";
            EngineStartError::Config(problem.to_owned())
        })
    };
    if let Some(shipped) = demo::shipped(&config.model) {
        let models = models()?;
        let unpacked = tokio::task::spawn_blocking(move || shipped.unpack(&models)).await;
        let folder = unpacked.map_err(|_| EngineStartError::NotReady)??;
        let name = public_name(config, &folder)?;
        return Ok(Source { folder, name, owned_by: "cocoon".to_owned(), is_demo: true });
    }
    let folder = PathBuf::from(&config.model);
    if folder.is_dir() {
        let name = public_name(config, &folder)?;
        return Ok(Source { folder, name, owned_by: "local".to_owned(), is_demo: false });
    }
    if !hub::is_id(&config.model) {
        let problem = format!("model: {} is neither a folder nor org/name", config.model);
        return Err(EngineStartError::Config(problem));
    }
    let folder = hub::fetch(config, &models()?).await?;
    let id = config.model.parse().expect("what the hub calls a model is a public name");
    let name = config.name.clone().unwrap_or(id);
    let owned_by = config.model.split('/').next().unwrap_or_default().to_owned();
    Ok(Source { folder, name, owned_by, is_demo: false })
}

fn public_name(config: &MistralrsConfig, folder: &Path) -> Result<ModelName, EngineStartError> {
    if let Some(name) = &config.name {
        return Ok(name.clone());
    }
    let last = folder.canonicalize().ok();
    let last = last.as_ref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
    last.and_then(|name| name.parse().ok()).ok_or_else(|| {
        EngineStartError::Config("the model's folder has no name; set `name`".to_owned())
    })
}

fn program(config: &MistralrsConfig) -> Result<PathBuf, EngineStartError> {
    if let Some(program) = &config.engine_bin {
        return Ok(program.clone());
    }
    own_program().map_err(|source| EngineStartError::Program { path: PathBuf::new(), source })
}

/// `cocoon-engine` beside the worker's own program.
pub(super) fn own_program() -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.with_file_name(format!("cocoon-engine{}", std::env::consts::EXE_SUFFIX)))
}
