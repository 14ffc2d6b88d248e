//! Jobs to ask and answers to look at.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cocoon_primitives::{Clock, RequestId};
use cocoon_runtime::{Lifecycle, SystemClock};
use cocoon_worker::engine::{
    self, Channel, Constraint, Engine, EngineConfig, EngineError, EngineEvent, EngineStartError,
    FinishReason, Generation, Input, Job, Reasoning, Sampling, TokenLogprob, ToolChoice, Usage,
};
use serde_json::{Value, json};

/// Far beyond what any answer takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Running {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) lifecycle: Lifecycle,
}

pub(crate) async fn start(config: &str) -> Running {
    try_start(config).await.expect("the engine starts")
}

pub(crate) async fn try_start(config: &str) -> Result<Running, EngineStartError> {
    let config: EngineConfig = toml::from_str(config).expect("the configuration parses");
    let lifecycle = Lifecycle::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let engine = engine::start(&config, &lifecycle, clock).await?;
    Ok(Running { engine, lifecycle })
}

pub(crate) fn job(question: &str) -> Job {
    Job {
        request_id: RequestId::from_bytes([7; 16]),
        model: "any".parse().expect("a model name"),
        input: Input::Chat {
            messages: vec![json!({"role": "user", "content": question})],
            tools: Vec::new(),
        },
        tool_choice: ToolChoice::Auto,
        sampling: Sampling {
            temperature: 0.0,
            top_p: 1.0,
            seed: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
        },
        stop: Vec::new(),
        constraint: Constraint::None,
        logprobs: None,
        max_tokens: 200,
        parallel_tool_calls: true,
        reasoning: Reasoning::Default,
    }
}

/// The same to a conversation with tools.
pub(crate) fn chat(messages: Vec<Value>, tools: Vec<Value>) -> Job {
    Job { input: Input::Chat { messages, tools }, ..job("") }
}

/// A whole answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) text: String,
    pub(crate) thoughts: String,
    pub(crate) calls: Vec<(String, String)>,
    pub(crate) call_ids: BTreeSet<String>,
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) logprobs: Vec<TokenLogprob>,
    pub(crate) last_count: u32,
    pub(crate) end: Option<(FinishReason, Usage)>,
    pub(crate) error: Option<EngineError>,
}

impl Answer {
    pub(crate) fn finish(&self) -> FinishReason {
        self.end.unwrap_or_else(|| panic!("the answer ended well: {self:?}")).0
    }

    pub(crate) fn usage(&self) -> Usage {
        self.end.unwrap_or_else(|| panic!("the answer ended well: {self:?}")).1
    }
}

pub(crate) async fn ask(engine: &Arc<dyn Engine>, job: Job) -> Answer {
    collect(engine.generate(job).expect("the job is admitted")).await
}

/// Reads to the end and checks what holds of every answer.
pub(crate) async fn collect(mut generation: Generation) -> Answer {
    let mut answer = Answer::default();
    let mut started = false;
    loop {
        let event = tokio::time::timeout(PATIENCE, generation.events.recv()).await;
        let Some(event) = event.expect("the engine goes on") else { break };
        assert!(answer.end.is_none() && answer.error.is_none(), "nothing follows the last event");
        match event {
            EngineEvent::Started { prompt_tokens } => {
                assert!(!std::mem::replace(&mut started, true), "one start");
                answer.prompt_tokens = prompt_tokens;
            }
            EngineEvent::Delta { channel, text, completion_tokens, logprobs } => {
                assert!(started && answer.last_count <= completion_tokens);
                answer.last_count = completion_tokens;
                answer.logprobs.extend(logprobs);
                match channel {
                    Channel::Content => answer.text += &text,
                    Channel::Reasoning => answer.thoughts += &text,
                }
            }
            EngineEvent::ToolCall { index, id, name, arguments, completion_tokens } => {
                assert_eq!(usize::try_from(index).expect("few calls"), answer.calls.len());
                assert!(id.starts_with("call_"), "{id}");
                assert!(answer.call_ids.insert(id), "an id of its own");
                answer.last_count = completion_tokens;
                answer.calls.push((name, arguments));
            }
            EngineEvent::Embedding { index, vector } => {
                assert_eq!(usize::try_from(index).expect("few inputs"), answer.vectors.len());
                answer.vectors.push(vector);
            }
            EngineEvent::Finished { finish, usage } => {
                assert!(started && u64::from(answer.last_count) <= usage.completion);
                answer.end = Some((finish, usage));
            }
            EngineEvent::Failed(error) => answer.error = Some(error),
        }
    }
    assert!(answer.end.is_some() || answer.error.is_some(), "a last event: {answer:?}");
    answer
}

/// Polls until `done`, under a deadline.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let wait = async {
        while !done() {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "waited for: {what}");
}
