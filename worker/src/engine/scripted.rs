//! Known text at a known pace: the engine of tests and of load on everything around an engine.
//!
//! The words of an answer depend on the prompt alone, and so do the numbers of a vector. A token is
//! a word; the prompt of a conversation counts its words and three more for each message.
//!
//! What it is asked for it gives, for the tests of what comes after it: log-probabilities, calls of
//! the client's tools, thoughts. It knows no grammar: words are no JSON, and what it calls a tool
//! with is the same whatever the tool's schema.

use std::time::Duration;

use cocoon_engine_wire::{Attached, StopCut};
use cocoon_primitives::ModelKind;
use cocoon_runtime::Lifecycle;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::admission::{Admission, Turn};
use super::config::ScriptedConfig;
use super::manifest::{EngineSettings, Manifest};
use super::{
    Channel, EmbedInput, Engine, EngineError, EngineEvent, EngineLoad, FinishReason, Generation,
    Input, Job, ModelCard, ModelManifest, Reasoning, TokenLogprob, ToolChoice, TopLogprob, Usage,
    check_job, invalid,
};

/// As the policy names it.
const KIND: &str = "scripted";

const WORDS: [&str; 32] = [
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbour", "iris", "juniper",
    "kernel", "lagoon", "meadow", "north", "orchid", "pebble", "quartz", "river", "summit",
    "timber", "umber", "valley", "willow", "xenon", "yarrow", "zephyr", "anchor", "beacon",
    "canyon", "drift", "echo", "forest",
];

/// Events that wait for a slow reader before the script pauses.
const EVENTS_AHEAD: usize = 256;

/// Every call's arguments, and their tokens.
const ARGUMENTS: &str = "{\"word\":\"amber\"}";
const CALL_TOKENS: u32 = 4;

pub(super) struct Scripted {
    config: ScriptedConfig,
    admission: Admission,
    lifecycle: Lifecycle,
}

impl Scripted {
    pub(super) fn new(config: &ScriptedConfig, lifecycle: &Lifecycle) -> Self {
        let patience = Duration::from_millis(config.queue_timeout_ms);
        Self {
            admission: Admission::new(config.permits, config.queue, patience),
            config: config.clone(),
            lifecycle: lifecycle.clone(),
        }
    }
}

/// The manifest of the script: there are no files, the settings say it all.
pub(super) fn manifest(config: &ScriptedConfig) -> ModelManifest {
    let settings = EngineSettings::of(KIND).with("context_length", config.context_length);
    let settings = match config.model_kind {
        ModelKind::Chat => settings
            .with("tokens", config.tokens)
            .with("thoughts", config.thoughts)
            .with("calls", config.calls),
        ModelKind::Embedding => settings.with("dimensions", config.dimensions),
    };
    let manifest = Manifest::without_files(&settings);
    ModelManifest { name: config.name.clone(), engine: KIND, manifest }
}

impl Engine for Scripted {
    fn models(&self) -> Vec<ModelCard> {
        vec![ModelCard {
            name: self.config.name.clone(),
            kind: self.config.model_kind,
            embedding_dimensions: Some(self.config.dimensions)
                .filter(|_| self.config.model_kind == ModelKind::Embedding),
            context_length: self.config.context_length,
            counts_prompts: true,
            manifest_digest: manifest(&self.config).manifest.digest(),
            engine: KIND,
            is_demo: true,
            owned_by: "cocoon".to_owned(),
        }]
    }

    fn generate(&self, job: Job) -> Result<Generation, EngineError> {
        check_job(&job)?;
        if self.lifecycle.is_draining() {
            return Err(EngineError::Unavailable);
        }
        let script = match (&job.input, self.config.model_kind) {
            (Input::Embed(inputs), ModelKind::Embedding) => {
                Script::Vectors(Vectors::new(&self.config, inputs)?)
            }
            (Input::Embed(_), ModelKind::Chat) => {
                return Err(invalid("model", "makes no embeddings"));
            }
            (_, ModelKind::Embedding) => return Err(invalid("model", "makes only embeddings")),
            (_, ModelKind::Chat) => Script::Answer(Answer::new(&self.config, &job)?),
        };
        let place = self.admission.enter()?;
        let (sender, events) = mpsc::channel(EVENTS_AHEAD);
        self.lifecycle.spawn("engine.scripted", async move {
            let Some(turn) = place.turn(&sender).await else { return };
            // Whoever has left needs no end.
            drop(match script {
                Script::Vectors(vectors) => vectors.perform(turn, &sender).await,
                Script::Answer(answer) => answer.perform(turn, &sender).await,
            });
        });
        Ok(Generation { events })
    }

    fn load(&self) -> EngineLoad {
        self.admission.load()
    }

    fn is_ready(&self) -> bool {
        !self.lifecycle.is_draining()
    }
}

/// What will be said, decided before it begins.
enum Script {
    Answer(Answer),
    Vectors(Vectors),
}

/// The reader has left.
struct Gone;

async fn say(events: &mpsc::Sender<EngineEvent>, event: EngineEvent) -> Result<(), Gone> {
    events.send(event).await.map_err(|_| Gone)
}

async fn wait(events: &mpsc::Sender<EngineEvent>, due: Instant) -> Result<(), Gone> {
    tokio::select! {
        biased;
        () = events.closed() => Err(Gone),
        () = sleep_until(due) => Ok(()),
    }
}

// === Text ===

struct Answer {
    seed: [u8; 32],
    prompt: u64,
    thoughts: u32,
    words: u32,
    /// Names of the tools to call in place of words.
    calls: Vec<String>,
    finish: FinishReason,
    stop: Vec<String>,
    logprobs: Option<u8>,
    first: Duration,
    interval: Duration,
}

impl Answer {
    fn new(config: &ScriptedConfig, job: &Job) -> Result<Self, EngineError> {
        let (seed, prompt) = read(&job.input);
        let limit = u64::from(config.context_length);
        let room = limit.checked_sub(prompt).filter(|room| *room > 0);
        let room = room.ok_or(EngineError::ContextLengthExceeded { prompt, limit })?;
        let max = job.max_tokens.min(u32::try_from(room).unwrap_or(u32::MAX));
        let wants_thoughts = job.reasoning != Reasoning::Off && is_chat(&job.input);
        let thoughts = if wants_thoughts { config.thoughts.min(max) } else { 0 };
        let left = max - thoughts;
        let calls = calls(config, job)?;
        let wanted = match u32::try_from(calls.len()) {
            Ok(0) => config.tokens,
            count => count.unwrap_or(u32::MAX).saturating_mul(CALL_TOKENS),
        };
        let finish = match (wanted > left, calls.is_empty()) {
            (true, _) => FinishReason::Length,
            (false, true) => FinishReason::Stop,
            (false, false) => FinishReason::ToolCalls,
        };
        Ok(Self {
            seed,
            prompt,
            thoughts,
            words: wanted.min(left),
            calls,
            finish,
            stop: job.stop.clone(),
            logprobs: job.logprobs,
            first: Duration::from_millis(config.first_token_ms),
            interval: Duration::from_millis(config.interval_ms),
        })
    }

    async fn perform(self, _turn: Turn, events: &mpsc::Sender<EngineEvent>) -> Result<(), Gone> {
        say(events, EngineEvent::Started { prompt_tokens: Some(self.prompt) }).await?;
        let mut due = Instant::now() + self.first;
        for thought in 0..self.thoughts {
            wait(events, due).await?;
            due += self.interval;
            let text = self.word(thought, thought == 0);
            say(events, delta(Channel::Reasoning, text, thought + 1, Vec::new())).await?;
        }
        let (written, finish) = if self.calls.is_empty() {
            self.write(events, due).await?
        } else {
            self.call(events, due).await?
        };
        let usage = Usage {
            prompt: self.prompt,
            completion: u64::from(self.thoughts + written),
            reasoning: self.thoughts.into(),
            ..Usage::default()
        };
        say(events, EngineEvent::Finished { finish, usage }).await
    }

    /// Words; how many, and why they end.
    async fn write(
        &self,
        events: &mpsc::Sender<EngineEvent>,
        mut due: Instant,
    ) -> Result<(u32, FinishReason), Gone> {
        let mut cut = StopCut::new(self.stop.clone());
        let mut logprobs = Attached::default();
        let mut written = 0;
        while written < self.words && !cut.stopped() {
            wait(events, due).await?;
            due += self.interval;
            let word = self.word(written, written == 0);
            if let Some(count) = self.logprobs {
                logprobs.push(logprob(&word, count), word.len());
            }
            logprobs.text(word.len());
            let text = cut.push(&word);
            written += 1;
            if !text.is_empty() {
                let count = self.thoughts + written;
                let logprobs = logprobs.release(logprobs.end() - cut.behind());
                say(events, delta(Channel::Content, text, count, logprobs)).await?;
            }
        }
        let rest = cut.finish();
        if !rest.is_empty() {
            let count = self.thoughts + written;
            say(events, delta(Channel::Content, rest, count, logprobs.finish())).await?;
        }
        Ok((written, if cut.stopped() { FinishReason::Stop } else { self.finish }))
    }

    /// The calls that fit the limit whole.
    async fn call(
        &self,
        events: &mpsc::Sender<EngineEvent>,
        mut due: Instant,
    ) -> Result<(u32, FinishReason), Gone> {
        let mut written = 0;
        for (index, name) in (0_u32..).zip(&self.calls) {
            if written + CALL_TOKENS > self.words {
                break;
            }
            wait(events, due).await?;
            due += self.interval * CALL_TOKENS;
            written += CALL_TOKENS;
            let [a, b, c, d, ..] = self.seed;
            let id = format!("call_{a:02x}{b:02x}{c:02x}{d:02x}{index}");
            say(
                events,
                EngineEvent::ToolCall {
                    index,
                    id,
                    name: name.clone(),
                    arguments: ARGUMENTS.to_owned(),
                    completion_tokens: self.thoughts + written,
                },
            )
            .await?;
        }
        Ok((self.words, self.finish))
    }

    fn word(&self, index: u32, is_first: bool) -> String {
        let [low, high] =
            [index % 16, index / 16 % 16].map(|i| self.seed[usize::try_from(i).expect("below 16")]);
        let mixed = u32::from(low) + 7 * u32::from(high) + index;
        let word = WORDS[usize::try_from(mixed % 32).expect("below 32")];
        if is_first { word.to_owned() } else { format!(" {word}") }
    }
}

const fn is_chat(input: &Input) -> bool {
    matches!(input, Input::Chat { .. })
}

/// What the words depend on, and the prompt's tokens.
fn read(input: &Input) -> ([u8; 32], u64) {
    let mut seed = Sha256::new();
    let mut prompt = 0_u64;
    match input {
        Input::Chat { messages, .. } => {
            for message in messages {
                let content = message.get("content").and_then(Value::as_str).unwrap_or_default();
                seed.update(content.as_bytes());
                seed.update([0]);
                prompt += 3 + words(content);
            }
        }
        Input::Text(text) => {
            seed.update(text.as_bytes());
            prompt = words(text).max(1);
        }
        Input::Tokens(ids) => {
            ids.iter().for_each(|id| seed.update(id.to_be_bytes()));
            prompt = count(ids.len()).max(1);
        }
        Input::Embed(_) => {}
    }
    (seed.finalize().into(), prompt)
}

fn calls(config: &ScriptedConfig, job: &Job) -> Result<Vec<String>, EngineError> {
    let Input::Chat { messages, tools } = &job.input else { return Ok(Vec::new()) };
    let name = |tool: &Value| Some(tool.pointer("/function/name")?.as_str()?.to_owned());
    let names: Vec<String> = tools.iter().filter_map(name).collect();
    let has_result =
        messages.last().and_then(|message| message.get("role")).is_some_and(|role| role == "tool");
    let mut calls = match &job.tool_choice {
        ToolChoice::None => return Ok(Vec::new()),
        ToolChoice::Named(name) if names.contains(name) => return Ok(vec![name.clone()]),
        ToolChoice::Named(_) => {
            return Err(invalid("tool_choice", "names a function that is not among the tools"));
        }
        ToolChoice::Required if names.is_empty() => {
            return Err(invalid("tool_choice", "demands a call and there are no tools"));
        }
        ToolChoice::Required => config.calls.max(1),
        ToolChoice::Auto if names.is_empty() || has_result => 0,
        ToolChoice::Auto => config.calls,
    };
    if !job.parallel_tool_calls {
        calls = calls.min(1);
    }
    let calls = usize::try_from(calls).unwrap_or(usize::MAX);
    Ok(names.into_iter().cycle().take(calls).collect())
}

/// Certain of every word, and the others a thousandth as likely, each less than the one before.
fn logprob(word: &str, top: u8) -> TokenLogprob {
    let entry = |token: String, logprob: f32| TopLogprob {
        bytes: token.clone().into_bytes(),
        token,
        logprob,
    };
    let own = word.trim_start();
    let others = WORDS.iter().filter(|other| **other != own).map(|other| format!(" {other}"));
    let others = others.zip(0_u8..).map(|(other, place)| entry(other, -7.0 - f32::from(place)));
    let all = std::iter::once(entry(word.to_owned(), -0.125)).chain(others);
    TokenLogprob {
        token: word.to_owned(),
        bytes: word.as_bytes().to_vec(),
        logprob: -0.125,
        top: all.take(top.into()).collect(),
    }
}

fn delta(
    channel: Channel,
    text: String,
    completion_tokens: u32,
    logprobs: Vec<TokenLogprob>,
) -> EngineEvent {
    EngineEvent::Delta { channel, text, completion_tokens, logprobs }
}

// === Vectors ===

struct Vectors {
    vectors: Vec<Vec<f32>>,
    prompt: u64,
    first: Duration,
    interval: Duration,
}

impl Vectors {
    fn new(config: &ScriptedConfig, inputs: &[EmbedInput]) -> Result<Self, EngineError> {
        let limit = u64::from(config.context_length);
        let mut prompt = 0;
        for input in inputs {
            let tokens = match input {
                EmbedInput::Text(text) => words(text).max(1),
                EmbedInput::Tokens(ids) => count(ids.len()).max(1),
            };
            if tokens > limit {
                return Err(EngineError::ContextLengthExceeded { prompt: tokens, limit });
            }
            prompt += tokens;
        }
        Ok(Self {
            vectors: inputs.iter().map(|input| vector(input, config.dimensions)).collect(),
            prompt,
            first: Duration::from_millis(config.first_token_ms),
            interval: Duration::from_millis(config.interval_ms),
        })
    }

    async fn perform(self, _turn: Turn, events: &mpsc::Sender<EngineEvent>) -> Result<(), Gone> {
        say(events, EngineEvent::Started { prompt_tokens: Some(self.prompt) }).await?;
        let mut due = Instant::now() + self.first;
        for (index, vector) in (0_u32..).zip(self.vectors) {
            wait(events, due).await?;
            due += self.interval;
            say(events, EngineEvent::Embedding { index, vector }).await?;
        }
        let usage = Usage { prompt: self.prompt, ..Usage::default() };
        say(events, EngineEvent::Finished { finish: FinishReason::Stop, usage }).await
    }
}

/// Of unit length, and known from the input alone.
fn vector(input: &EmbedInput, dimensions: u32) -> Vec<f32> {
    let number = |place: u32| {
        let mut hash = Sha256::new();
        match input {
            EmbedInput::Text(text) => hash.update(text.as_bytes()),
            EmbedInput::Tokens(ids) => ids.iter().for_each(|id| hash.update(id.to_be_bytes())),
        }
        hash.update(place.to_be_bytes());
        let hash = hash.finalize();
        f32::from(i16::from_be_bytes([hash[0], hash[1]])) + 0.5
    };
    let numbers: Vec<f32> = (0..dimensions).map(number).collect();
    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    numbers.into_iter().map(|x| x / length).collect()
}

fn words(text: &str) -> u64 {
    count(text.split_whitespace().count())
}

fn count(things: usize) -> u64 {
    u64::try_from(things).unwrap_or(u64::MAX / 2)
}
