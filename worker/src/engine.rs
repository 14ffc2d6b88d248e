//! What generates: one trait, three engines behind it.
//!
//! [`start_all`] makes the engines that the configuration names, several of them as one that routes
//! by model; [`start`] makes a single one: `mistralrs` drives the child process
//! `cocoon-engine`, `openai-upstream` any server with an OpenAI URL (vLLM, SGLang, llama.cpp),
//! `scripted` writes known text at a known pace for tests and load.
//!
//! Shape: [`Engine::generate`] takes a [`Job`] and returns at once with a [`Generation`], a stream
//! of [`EngineEvent`]s: `Started`, then deltas and tool calls, then exactly one of `Finished` and
//! `Failed`. A stream that ends without either is a crash of ours; read it as `Crashed`.
//!
//! A card names one model; of one that was downloaded, the name is the hub's. On a processor
//! mistral.rs 0.8.1 mixes requests of equal length that it works on together (measured: each
//! answers from the others' attention), so there the child holds exactly one sequence at a time
//! and [`EngineLoad::permits`] is 1 whatever the configuration says.
//!
//! Invariants: dropping a [`Generation`] stops its job within one token; the queue in front of an
//! engine is bounded and sheds; the event channel is as long as the job's token limit, so a slow
//! reader holds up nobody else; no text of an engine's own errors reaches an event.

mod admission;
mod config;
mod demo;
mod hub;
mod manifest;
mod mistralrs;
mod openai_upstream;
mod scripted;
mod several;

use std::sync::Arc;

use cocoon_primitives::{Clock, ModelKind, ModelName, RequestId};
use cocoon_runtime::Lifecycle;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::mpsc;

pub use cocoon_engine_wire::{
    Channel, Constraint, EmbedInput, FinishReason, Reasoning, Sampling, TokenLogprob, ToolChoice,
    TopLogprob, Usage,
};
pub use config::{EngineConfig, MistralrsConfig, OpenaiUpstreamConfig, ScriptedConfig};
pub use hub::HubError;
pub use manifest::{EngineSettings, Manifest, ManifestError, Setting};

/// A model as this worker serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCard {
    pub name: ModelName,
    pub kind: ModelKind,
    /// Numbers in a vector of an embedding model, where the engine knows before the first one.
    pub embedding_dimensions: Option<u32>,
    /// Prompt and completion together.
    pub context_length: u32,
    /// Whether a job's `Started` says how long its prompt is. An engine by URL may not.
    pub counts_prompts: bool,
    /// SHA-256 of the model's [`Manifest`]: its files, and the settings that shape its answers.
    pub manifest_digest: [u8; 32],
    /// `mistralrs`, `openai-upstream` or `scripted`.
    pub engine: &'static str,
    /// The shipped toy model, or scripted text.
    pub is_demo: bool,
    pub owned_by: String,
}

/// What an engine would serve, before it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelManifest {
    pub name: ModelName,
    /// As in [`ModelCard`].
    pub engine: &'static str,
    pub manifest: Manifest,
}

/// One answer to generate.
#[derive(Debug, Clone)]
pub struct Job {
    pub request_id: RequestId,
    pub model: ModelName,
    pub input: Input,
    pub tool_choice: ToolChoice,
    /// Whether one answer may hold more than one call.
    pub parallel_tool_calls: bool,
    pub reasoning: Reasoning,
    pub sampling: Sampling,
    /// At most [`STOPS_MAX`] texts; none of them ever reaches the client.
    pub stop: Vec<String>,
    pub constraint: Constraint,
    /// How many likeliest tokens to report for each token; `None` reports nothing.
    pub logprobs: Option<u8>,
    /// Completion tokens, reasoning included. An engine lowers it to what its context leaves. 0 asks
    /// only whether the prompt would be taken: `Started`, then `Finished`; an engine by URL cannot
    /// say and takes it. Of no meaning where texts are embedded.
    pub max_tokens: u32,
}

/// What an answer starts from.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Chat {
        /// OpenAI messages, content flattened to a string or null.
        messages: Vec<Value>,
        /// OpenAI tool definitions.
        tools: Vec<Value>,
    },
    /// Text to go on from, without a template.
    Text(String),
    /// The same as token ids of the model's own vocabulary.
    Tokens(Vec<u32>),
    /// At most [`EMBED_INPUTS_MAX`] texts to embed; answered by `Embedding` events, one for each in
    /// order, and no deltas.
    Embed(Vec<EmbedInput>),
}

/// Stop texts of one job.
pub const STOPS_MAX: usize = 16;

/// Texts of one job that embeds.
pub const EMBED_INPUTS_MAX: usize = 2048;

/// What comes out of a job, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum EngineEvent {
    /// The prompt was read. `None` where an engine by URL cannot say yet.
    Started {
        prompt_tokens: Option<u64>,
    },
    Delta {
        channel: Channel,
        text: String,
        /// Cumulative over the job, tool calls and reasoning included.
        completion_tokens: u32,
        logprobs: Vec<TokenLogprob>,
    },
    /// A whole call; `arguments` is JSON text as the model wrote it.
    ToolCall {
        index: u32,
        id: String,
        name: String,
        arguments: String,
        completion_tokens: u32,
    },
    /// The vector of the input at `index`, of unit length.
    Embedding {
        index: u32,
        vector: Vec<f32>,
    },
    Finished {
        finish: FinishReason,
        usage: Usage,
    },
    Failed(EngineError),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    #[error("{message}")]
    InvalidRequest { message: String, param: Option<String>, code: &'static str },
    #[error("the prompt has {prompt} tokens and the context holds {limit}")]
    ContextLengthExceeded { prompt: u64, limit: u64 },
    /// No place in the queue, or a wait in it that was too long.
    #[error("the engine has more work than it can take")]
    Overloaded { retry_after_ms: u64 },
    /// The engine is starting again.
    #[error("the engine is not ready")]
    Unavailable,
    #[error("the engine failed while it worked on this job")]
    Crashed,
    #[error("the engine did not answer in time")]
    Timeout,
}

impl EngineError {
    /// Whether another worker, or this one later, may do better. Once text has left, a retry
    /// would repeat it: that is for the caller to see.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::InvalidRequest { .. } | Self::ContextLengthExceeded { .. } => false,
            Self::Overloaded { .. } | Self::Unavailable | Self::Crashed | Self::Timeout => true,
        }
    }
}

/// A running job. Dropping it cancels, within one token.
#[derive(Debug)]
pub struct Generation {
    pub events: mpsc::Receiver<EngineEvent>,
}

/// How busy an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLoad {
    pub running: u32,
    pub waiting: u32,
    pub permits: u32,
}

/// Something that generates. Never blocks: what takes time happens behind the [`Generation`].
pub trait Engine: Send + Sync + 'static {
    fn models(&self) -> Vec<ModelCard>;

    /// Admits a job, or says at once why not.
    fn generate(&self, job: Job) -> Result<Generation, EngineError>;

    fn load(&self) -> EngineLoad;

    /// Whether a job would be worked on now.
    fn is_ready(&self) -> bool;
}

/// Why an engine did not start.
#[derive(Debug, Error)]
pub enum EngineStartError {
    #[error("the engine's configuration is wrong: {0}")]
    Config(String),
    #[error("failed to read the model's files")]
    Manifest(#[from] ManifestError),
    #[error("failed to get the model from the hub")]
    Hub(#[from] HubError),
    #[error("failed to unpack the demo model into {path}")]
    Demo { path: std::path::PathBuf, source: std::io::Error },
    #[error("failed to run the engine program {path}")]
    Program { path: std::path::PathBuf, source: std::io::Error },
    #[error("the engine program ended before it was ready; its log says why")]
    NotReady,
    #[error("failed to set up the client for the upstream server")]
    Client(#[from] reqwest::Error),
}

/// Starts the engine that `config` names and returns once it has generated a first token
/// (`mistralrs`), or at once (the others). Its tasks live in `lifecycle`.
pub async fn start(
    config: &EngineConfig,
    lifecycle: &Lifecycle,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Engine>, EngineStartError> {
    config.check().map_err(EngineStartError::Config)?;
    match config {
        EngineConfig::Mistralrs(config) => {
            Ok(Arc::new(mistralrs::Mistralrs::start(config, lifecycle, clock).await?))
        }
        EngineConfig::OpenaiUpstream(config) => {
            Ok(Arc::new(openai_upstream::OpenaiUpstream::new(config, lifecycle).await?))
        }
        EngineConfig::Scripted(config) => Ok(Arc::new(scripted::Scripted::new(config, lifecycle))),
    }
}

/// The manifest of the model that `config` names. A model of the hub is downloaded first; no engine
/// is started.
pub async fn manifest(config: &EngineConfig) -> Result<ModelManifest, EngineStartError> {
    config.check().map_err(EngineStartError::Config)?;
    match config {
        EngineConfig::Mistralrs(config) => mistralrs::manifest(config).await,
        EngineConfig::OpenaiUpstream(config) => openai_upstream::manifest(config),
        EngineConfig::Scripted(config) => Ok(scripted::manifest(config)),
    }
}

/// Starts every engine that `configs` name, all at once, as one engine.
pub async fn start_all(
    configs: &[EngineConfig],
    lifecycle: &Lifecycle,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Engine>, EngineStartError> {
    let starts = configs.iter().map(|config| start(config, lifecycle, Arc::clone(&clock)));
    let mut engines = futures_util::future::try_join_all(starts).await?;
    match engines.pop() {
        None => Err(EngineStartError::Config("there is no engine".to_owned())),
        Some(engine) if engines.is_empty() => Ok(engine),
        Some(last) => {
            engines.push(last);
            let several = several::Several::new(engines).map_err(|model| {
                EngineStartError::Config(format!("two engines serve the model {model}"))
            })?;
            Ok(Arc::new(several))
        }
    }
}

/// What a job may not carry to any engine: numbers that JSON cannot say, too many stops.
fn check_job(job: &Job) -> Result<(), EngineError> {
    let sampling = &job.sampling;
    let numbers = [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("presence_penalty", sampling.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty),
    ];
    let bias = sampling.logit_bias.iter().map(|(_, bias)| ("logit_bias", *bias));
    if let Some((param, _)) =
        numbers.into_iter().chain(bias).find(|(_, number)| !number.is_finite())
    {
        return Err(invalid(param, "is not a finite number"));
    }
    if job.stop.len() > STOPS_MAX || job.stop.iter().any(String::is_empty) {
        return Err(invalid("stop", "has too many or empty texts"));
    }
    if let Input::Embed(inputs) = &job.input
        && !(1..=EMBED_INPUTS_MAX).contains(&inputs.len())
    {
        return Err(invalid("input", "has no texts, or too many"));
    }
    Ok(())
}

fn invalid(param: &str, problem: &str) -> EngineError {
    EngineError::InvalidRequest {
        message: format!("'{param}' {problem}"),
        param: Some(param.to_owned()),
        code: "invalid_value",
    }
}
