//! `[engine]` of worker.toml: which engine, and its settings.

use std::path::{Path, PathBuf};

use cocoon_primitives::ModelName;
use serde::Deserialize;

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
    /// `demo`, the shipped toy model, or a folder with safetensors, tokenizer and template.
    #[serde(default = "demo")]
    pub model: String,
    /// The public name; without it `tiny-demo` or the folder's name.
    pub name: Option<ModelName>,
    /// The child's program; without it `cocoon-engine` beside the worker's own.
    pub engine_bin: Option<PathBuf>,
    /// Where the demo model is unpacked; `EngineConfig::in_data_dir` fills it in.
    pub models_dir: Option<PathBuf>,
    /// Lowers the context length below what the model allows.
    pub context_length: Option<u32>,
    /// Jobs in the child at once. On a processor it works on one at a time whatever this says.
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
    /// How long a job may wait in the queue.
    #[serde(default = "queue_timeout_ms")]
    pub queue_timeout_ms: u64,
    /// A running job that says nothing for so long means that the child hangs.
    #[serde(default = "stall_timeout_ms")]
    pub stall_timeout_ms: u64,
    /// Above this resident memory the child is replaced.
    pub resident_bytes_max: Option<u64>,
}

/// A server that speaks the OpenAI API.
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
    #[serde(default = "upstream_context")]
    pub context_length: u32,
    #[serde(default = "upstream_permits")]
    pub permits: u32,
    #[serde(default = "queue")]
    pub queue: u32,
    #[serde(default = "queue_timeout_ms")]
    pub queue_timeout_ms: u64,
    /// Until the response head, which some servers send only with the first token.
    #[serde(default = "stall_timeout_ms")]
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
    /// Words of an answer; a job's own limit may be lower.
    #[serde(default = "scripted_tokens")]
    pub tokens: u32,
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
                at_least_one("queue_timeout_ms", config.queue_timeout_ms);
                at_least_one("context_length", config.context_length.into());
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }
}

fn demo() -> String {
    "demo".to_owned()
}

fn scripted() -> ModelName {
    "scripted".parse().expect("a plain word is a model name")
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
    60_000
}

const fn stall_timeout_ms() -> u64 {
    120_000
}

const fn idle_timeout_ms() -> u64 {
    60_000
}
