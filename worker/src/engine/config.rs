//! `[engine]` of worker.toml, or several `[[engine]]`: which engines, and their settings.

use std::path::{Path, PathBuf};

use cocoon_primitives::{ModelKind, ModelName};
use serde::Deserialize;

/// The longest wait in a queue. A gateway takes a worker that says nothing for 60 s for broken;
/// after the queue a job may wait 10 s more for an engine that restarts, and then has its prompt
/// read.
pub(super) const QUEUE_TIMEOUT_MS_MAX: u64 = 40_000;

/// One engine and its settings; `kind` chooses.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EngineConfig {
    Mistralrs(MistralrsConfig),
    OpenaiUpstream(OpenaiUpstreamConfig),
    Scripted(ScriptedConfig),
}

/// mistral.rs in the child process `cocoon-engine`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MistralrsConfig {
    /// `demo`, the shipped toy model, or `demo-embed`, the one for embeddings; or a folder with
    /// safetensors, tokenizer and template, or modules.json where it is a model for embeddings; or,
    /// where no such folder exists, `org/name` at the hub, which is downloaded once.
    #[serde(default = "demo")]
    pub model: String,
    /// The public name; without it `tiny-demo`, `tiny-embed`, the folder's name or the hub's.
    pub name: Option<ModelName>,
    /// The child's program; without it `cocoon-engine` beside the worker's own. Another one is for
    /// development, and its hash is in the manifest: see `EngineConfig::check_production`.
    pub engine_bin: Option<PathBuf>,
    /// Where the demo model is unpacked and others are downloaded to;
    /// `EngineConfig::in_data_dir` fills it in.
    pub models_dir: Option<PathBuf>,
    /// Lowers the context length below what the model allows.
    pub context_length: Option<u32>,
    /// Jobs in the child at once. A model that generates text takes one on a processor, whatever
    /// this says, and the others wait in the queue: there mistral.rs 0.8.1 was measured to mix the
    /// answers of requests of equal length. One that embeds takes turns between the texts of these
    /// jobs.
    #[serde(default = "one")]
    pub permits: u32,
    /// Jobs that wait in front of it.
    #[serde(default = "queue")]
    pub queue: u32,
    /// Computing threads of the child; without it one for each processor.
    pub threads: Option<u32>,
    /// How long the child may take to load the model and generate a first token.
    #[serde(default = "load_timeout_ms")]
    pub load_timeout_ms: u64,
    /// How long a job may wait in the queue before it is shed; at most 40 s.
    #[serde(default = "queue_timeout_ms")]
    pub queue_timeout_ms: u64,
    /// A running job that says nothing for so long means that the child hangs.
    #[serde(default = "stall_timeout_ms")]
    pub stall_timeout_ms: u64,
    /// Above this resident memory the child is replaced.
    pub resident_bytes_max: Option<u64>,
    /// The hub; without it the environment's `HF_ENDPOINT`, without that `https://huggingface.co`.
    pub hub_endpoint: Option<String>,
    /// A branch, tag or commit at the hub. A commit never changes under a worker.
    #[serde(default = "hub_revision")]
    pub hub_revision: String,
    /// A file whose first line is sent to the hub as the bearer token.
    pub hub_token_file: Option<PathBuf>,
    /// Bytes of a downloaded model, all files together.
    #[serde(default = "hub_bytes_max")]
    pub hub_bytes_max: u64,
}

/// A server that speaks the OpenAI API.
///
/// Only parameters of the OpenAI API pass to it, and what it counts is what is billed. A server
/// that tells the prompt's length only with its last piece, and whose client leaves before that,
/// earns nothing for the prompt: see `continuous_usage`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenaiUpstreamConfig {
    /// Up to and including `/v1`.
    pub base_url: String,
    /// A file whose first line is sent as the bearer token.
    pub api_key_file: Option<PathBuf>,
    /// The model's name at the server.
    pub model: String,
    /// The public name; without it `model`.
    pub name: Option<ModelName>,
    /// `embedding` asks the server's `/embeddings` and nothing else.
    #[serde(default = "chat")]
    pub model_kind: ModelKind,
    #[serde(default = "upstream_context")]
    pub context_length: u32,
    #[serde(default = "upstream_permits")]
    pub permits: u32,
    #[serde(default = "queue")]
    pub queue: u32,
    /// How long a job may wait in the queue before it is shed; at most 40 s.
    #[serde(default = "queue_timeout_ms")]
    pub queue_timeout_ms: u64,
    /// Asks for counts with every piece (`stream_options.continuous_usage_stats`, known to vLLM
    /// and SGLang, ignored by most others), so that the prompt of a client that leaves early is
    /// billed. `false` for a server that refuses fields which it does not know.
    #[serde(default = "yes")]
    pub continuous_usage: bool,
    /// Until the response head, which some servers send only with the first token. With the queue
    /// before it, it should stay below the 60 s that a gateway waits.
    #[serde(default = "first_byte_timeout_ms")]
    pub first_byte_timeout_ms: u64,
    /// Between two pieces of the response.
    #[serde(default = "idle_timeout_ms")]
    pub idle_timeout_ms: u64,
}

/// Known text at a known pace.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedConfig {
    #[serde(default = "scripted")]
    pub name: ModelName,
    /// `embedding` makes vectors instead of text.
    #[serde(default = "chat")]
    pub model_kind: ModelKind,
    /// Numbers in a vector.
    #[serde(default = "scripted_dimensions")]
    pub dimensions: u32,
    /// Words of an answer; a job's own limit may be lower.
    #[serde(default = "scripted_tokens")]
    pub tokens: u32,
    /// Words that are thought before an answer, unless the client turns thinking off.
    #[serde(default)]
    pub thoughts: u32,
    /// Calls in place of an answer to a conversation that has tools and does not end with a tool's
    /// result; a client that demands a call gets one in any case.
    #[serde(default)]
    pub calls: u32,
    /// Between two words; 0 is as fast as possible.
    #[serde(default)]
    pub interval_ms: u64,
    /// Before the first word.
    #[serde(default)]
    pub first_token_ms: u64,
    #[serde(default = "scripted_permits")]
    pub permits: u32,
    #[serde(default = "queue")]
    pub queue: u32,
    /// How long a job may wait in the queue before it is shed; at most 40 s.
    #[serde(default = "queue_timeout_ms")]
    pub queue_timeout_ms: u64,
    #[serde(default = "scripted_context")]
    pub context_length: u32,
}

impl EngineConfig {
    /// Unpacks shipped files below `data_dir` unless the configuration says where.
    #[must_use]
    pub fn in_data_dir(mut self, data_dir: &Path) -> Self {
        if let Self::Mistralrs(config) = &mut self {
            config.models_dir.get_or_insert_with(|| data_dir.join("models"));
        }
        self
    }

    /// Everything that is wrong, in one text.
    pub fn check(&self) -> Result<(), String> {
        let mut problems = Vec::new();
        let mut at_least_one = |name: &str, value: u64| {
            if value == 0 {
                problems.push(format!("{name} must be at least 1"));
            }
        };
        match self {
            Self::Mistralrs(config) => {
                at_least_one("permits", config.permits.into());
                at_least_one("context_length", config.context_length.unwrap_or(1).into());
                at_least_one("load_timeout_ms", config.load_timeout_ms);
                at_least_one("queue_timeout_ms", config.queue_timeout_ms);
                at_least_one("stall_timeout_ms", config.stall_timeout_ms);
                at_least_one("hub_bytes_max", config.hub_bytes_max);
            }
            Self::OpenaiUpstream(config) => {
                at_least_one("permits", config.permits.into());
                at_least_one("queue_timeout_ms", config.queue_timeout_ms);
                at_least_one("context_length", config.context_length.into());
                at_least_one("first_byte_timeout_ms", config.first_byte_timeout_ms);
                at_least_one("idle_timeout_ms", config.idle_timeout_ms);
            }
            Self::Scripted(config) => {
                at_least_one("permits", config.permits.into());
                at_least_one("tokens", config.tokens.into());
                at_least_one("dimensions", config.dimensions.into());
                at_least_one("queue_timeout_ms", config.queue_timeout_ms);
                at_least_one("context_length", config.context_length.into());
            }
        }
        if let Self::Mistralrs(config) = self {
            config.check_hub(&mut problems);
        }
        if self.queue_timeout_ms() > QUEUE_TIMEOUT_MS_MAX {
            problems.push(format!("queue_timeout_ms must be at most {QUEUE_TIMEOUT_MS_MAX}"));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    /// Refuses what would put a program of the file's choice where policies expect the image's.
    pub fn check_production(&self) -> Result<(), String> {
        let Self::Mistralrs(MistralrsConfig { engine_bin: Some(program), .. }) = self else {
            return Ok(());
        };
        match super::mistralrs::own_program() {
            Ok(own) if *program == own => Ok(()),
            _ => Err("engine_bin is for mode = \"development\"".to_owned()),
        }
    }

    /// Jobs that may wait in front of the engine.
    pub const fn queue(&self) -> u32 {
        match self {
            Self::Mistralrs(config) => config.queue,
            Self::OpenaiUpstream(config) => config.queue,
            Self::Scripted(config) => config.queue,
        }
    }

    /// The public name, as far as the file alone says it.
    pub fn name(&self) -> Option<ModelName> {
        match self {
            Self::Mistralrs(config) => {
                let shipped = super::demo::shipped(&config.model);
                let name = || shipped.and_then(|model| model.name.parse().ok());
                config.name.clone().or_else(name)
            }
            Self::OpenaiUpstream(config) => {
                config.name.clone().or_else(|| config.model.parse().ok())
            }
            Self::Scripted(config) => Some(config.name.clone()),
        }
    }

    const fn queue_timeout_ms(&self) -> u64 {
        match self {
            Self::Mistralrs(config) => config.queue_timeout_ms,
            Self::OpenaiUpstream(config) => config.queue_timeout_ms,
            Self::Scripted(config) => config.queue_timeout_ms,
        }
    }
}

impl MistralrsConfig {
    /// The hub's address, without a slash at its end.
    #[expect(
        clippy::disallowed_methods,
        reason = "a config module; the hub's tools share the name"
    )]
    pub(super) fn hub_endpoint(&self) -> String {
        let named = self.hub_endpoint.clone().or_else(|| std::env::var("HF_ENDPOINT").ok());
        let named = named.filter(|endpoint| is_url(endpoint));
        let endpoint = named.as_deref().unwrap_or("https://huggingface.co");
        endpoint.trim_end_matches('/').to_owned()
    }

    fn check_hub(&self, problems: &mut Vec<String>) {
        if !self.hub_endpoint.as_deref().is_none_or(is_url) {
            problems.push("hub_endpoint must be an http:// or https:// address".to_owned());
        }
        if !super::hub::is_plain(&self.hub_revision) {
            problems.push("hub_revision must be a plain name or a commit".to_owned());
        }
        let is_secret = self.hub_token_file.is_some();
        if is_secret && !self.hub_endpoint().starts_with("https://") {
            problems.push("hub_token_file goes to an https:// hub_endpoint only".to_owned());
        }
    }
}

fn is_url(text: &str) -> bool {
    text.len() <= 512 && (text.starts_with("https://") || text.starts_with("http://"))
}

fn demo() -> String {
    "demo".to_owned()
}

fn scripted() -> ModelName {
    "scripted".parse().expect("a plain word is a model name")
}

const fn chat() -> ModelKind {
    ModelKind::Chat
}

const fn scripted_dimensions() -> u32 {
    128
}

const fn one() -> u32 {
    1
}

const fn queue() -> u32 {
    64
}

const fn upstream_permits() -> u32 {
    32
}

const fn upstream_context() -> u32 {
    32_768
}

const fn scripted_permits() -> u32 {
    1024
}

const fn scripted_tokens() -> u32 {
    64
}

const fn scripted_context() -> u32 {
    131_072
}

const fn load_timeout_ms() -> u64 {
    600_000
}

const fn queue_timeout_ms() -> u64 {
    20_000
}

const fn first_byte_timeout_ms() -> u64 {
    30_000
}

const fn yes() -> bool {
    true
}

fn hub_revision() -> String {
    "main".to_owned()
}

/// 200 GiB.
const fn hub_bytes_max() -> u64 {
    200 * 1024 * 1024 * 1024
}

const fn stall_timeout_ms() -> u64 {
    120_000
}

const fn idle_timeout_ms() -> u64 {
    60_000
}
