//! Known text at a known pace: the engine of tests and of load on everything around an engine.
//!
//! The words of an answer depend on the conversation alone. A token is a word; the prompt counts
//! its words and three more for each message.

use std::time::Duration;

use cocoon_engine_wire::StopCut;
use cocoon_runtime::Lifecycle;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::admission::{Admission, Turn};
use super::config::ScriptedConfig;
use super::manifest::settings_digest;
use super::{
    Channel, Engine, EngineError, EngineEvent, EngineLoad, FinishReason, Generation, Job,
    ModelCard, Usage, check_job,
};

const WORDS: [&str; 32] = [
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbour", "iris", "juniper",
    "kernel", "lagoon", "meadow", "north", "orchid", "pebble", "quartz", "river", "summit",
    "timber", "umber", "valley", "willow", "xenon", "yarrow", "zephyr", "anchor", "beacon",
    "canyon", "drift", "echo", "forest",
];

/// Events that wait for a slow reader before the script pauses.
const EVENTS_AHEAD: usize = 256;

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

impl Engine for Scripted {
    fn models(&self) -> Vec<ModelCard> {
        vec![ModelCard {
            name: self.config.name.clone(),
            context_length: self.config.context_length,
            manifest_digest: settings_digest(&format!("scripted tokens={}", self.config.tokens)),
            engine: "scripted",
            is_demo: true,
            owned_by: "cocoon".to_owned(),
        }]
    }

    fn generate(&self, job: Job) -> Result<Generation, EngineError> {
        check_job(&job)?;
        if self.lifecycle.is_draining() {
            return Err(EngineError::Unavailable);
        }
        let script = Script::new(&self.config, &job)?;
        let place = self.admission.enter()?;
        let (sender, events) = mpsc::channel(EVENTS_AHEAD);
        self.lifecycle.spawn("engine.scripted", async move {
            if let Some(turn) = place.turn(&sender).await {
                script.perform(turn, sender).await;
            }
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

/// One answer, decided before its first word.
struct Script {
    seed: [u8; 32],
    prompt: u64,
    words: u32,
    finish: FinishReason,
    stop: Vec<String>,
    first: Duration,
    interval: Duration,
}

impl Script {
    fn new(config: &ScriptedConfig, job: &Job) -> Result<Self, EngineError> {
        let mut seed = Sha256::new();
        let mut prompt = 0_u64;
        for message in &job.messages {
            let content = message.get("content").and_then(Value::as_str).unwrap_or_default();
            seed.update(content.as_bytes());
            seed.update([0]);
            prompt += 3 + u64::try_from(content.split_whitespace().count()).unwrap_or(u64::MAX / 2);
        }
        let limit = u64::from(config.context_length);
        let room = limit.checked_sub(prompt).filter(|room| *room > 0);
        let room = room.ok_or(EngineError::ContextLengthExceeded { prompt, limit })?;
        let max = job.max_tokens.min(u32::try_from(room).unwrap_or(u32::MAX));
        let finish = if config.tokens > max { FinishReason::Length } else { FinishReason::Stop };
        Ok(Self {
            seed: seed.finalize().into(),
            prompt,
            words: config.tokens.min(max),
            finish,
            stop: job.stop.clone(),
            first: Duration::from_millis(config.first_token_ms),
            interval: Duration::from_millis(config.interval_ms),
        })
    }

    async fn perform(self, _turn: Turn, events: mpsc::Sender<EngineEvent>) {
        let started = EngineEvent::Started { prompt_tokens: Some(self.prompt) };
        if events.send(started).await.is_err() {
            return;
        }
        let mut due = Instant::now() + self.first;
        let mut cut = StopCut::new(self.stop.clone());
        let mut written = 0;
        while written < self.words && !cut.stopped() {
            tokio::select! {
                biased;
                () = events.closed() => return,
                () = sleep_until(due) => {}
            }
            due += self.interval;
            let text = cut.push(&self.word(written));
            written += 1;
            if !text.is_empty() && events.send(delta(text, written)).await.is_err() {
                return;
            }
        }
        let rest = cut.finish();
        if !rest.is_empty() && events.send(delta(rest, written)).await.is_err() {
            return;
        }
        let finish = if cut.stopped() { FinishReason::Stop } else { self.finish };
        let usage = Usage { prompt: self.prompt, completion: written.into(), ..Usage::default() };
        // A reader that left has no use for the end.
        drop(events.send(EngineEvent::Finished { finish, usage }).await);
    }

    fn word(&self, index: u32) -> String {
        let [low, high] =
            [index % 16, index / 16 % 16].map(|i| self.seed[usize::try_from(i).expect("below 16")]);
        let mixed = u32::from(low) + 7 * u32::from(high) + index;
        let word = WORDS[usize::try_from(mixed % 32).expect("below 32")];
        if index == 0 { word.to_owned() } else { format!(" {word}") }
    }
}

fn delta(text: String, completion_tokens: u32) -> EngineEvent {
    EngineEvent::Delta { channel: Channel::Content, text, completion_tokens, logprobs: Vec::new() }
}
