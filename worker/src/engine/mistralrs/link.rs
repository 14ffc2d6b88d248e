//! One child's jobs: who waits for what, and the frames between.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cocoon_engine_wire::{
    EmbedInput, Failure, FrameDecoder, FromEngine, Generate, PROTOCOL, Prompt, Ready, Sampling,
    ToEngine, WireError, encode,
};
use cocoon_primitives::ModelKind;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::super::{EngineError, EngineEvent, Input, Job};

/// Frames that wait for the child to read them.
const COMMANDS: usize = 64;

const READ_BYTES: usize = 64 * 1024;

/// What a child is tried with. Longer than one token in every vocabulary.
const CANARY: &str = "Hello, world!";

/// How long the child may take to say that a cancelled job is over: one token, or one prompt.
const CANCEL_PATIENCE: Duration = Duration::from_secs(30);

/// The last thing that was heard of a child.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    pub(super) pong: u64,
    pub(super) resident_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Link {
    commands: mpsc::Sender<Vec<u8>>,
    table: Mutex<Table>,
    ready: watch::Sender<Option<Ready>>,
    pulse: Mutex<Pulse>,
    /// The last heartbeat that was sent.
    pinged: AtomicU64,
    /// A job failed inside the engine: someone should see whether it still works.
    suspect: Notify,
    /// The child does not do as it is told: it must go.
    condemned: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// `None` once the child is gone.
    jobs: Option<HashMap<u64, Slot>>,
    next_id: u64,
}

#[derive(Debug)]
struct Slot {
    events: mpsc::Sender<EngineEvent>,
    /// Dropped when the job is over.
    _over: oneshot::Sender<()>,
    heard: Instant,
}

impl Link {
    /// The link and the frames that its child's stdin is to get.
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<Vec<u8>>) {
        let (commands, frames) = mpsc::channel(COMMANDS);
        let link = Self {
            commands,
            table: Mutex::new(Table { jobs: Some(HashMap::new()), next_id: 1 }),
            ready: watch::Sender::new(None),
            pulse: Mutex::new(Pulse { pong: 0, resident_bytes: 0 }),
            pinged: AtomicU64::new(0),
            suspect: Notify::new(),
            condemned: Notify::new(),
        };
        (Arc::new(link), frames)
    }

    /// 0 before the child is ready, which no job sees.
    pub(super) fn context_length(&self) -> u32 {
        self.ready.borrow().as_ref().map_or(0, |ready| ready.context_length)
    }

    pub(super) fn kind(&self) -> ModelKind {
        match self.embedding_dimensions() {
            Some(_) => ModelKind::Embedding,
            None => ModelKind::Chat,
        }
    }

    /// `None` where the model generates text.
    pub(super) fn embedding_dimensions(&self) -> Option<u32> {
        let dimensions = self.ready.borrow().as_ref().map(|ready| ready.embedding_dimensions);
        dimensions.filter(|dimensions| *dimensions > 0)
    }

    /// Jobs that the child works on at once.
    pub(super) fn jobs(&self) -> u32 {
        self.ready.borrow().as_ref().map_or(1, |ready| ready.jobs.max(1).into())
    }

    pub(super) fn pulse(&self) -> Pulse {
        *self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the child has loaded its model.
    pub(super) async fn loaded(&self) {
        // The sender lives in `self`, so this cannot fail.
        drop(self.ready.subscribe().wait_for(Option::is_some).await);
    }

    pub(super) async fn suspected(&self) {
        self.suspect.notified().await;
    }

    pub(super) async fn condemned(&self) {
        self.condemned.notified().await;
    }

    /// The longest time that a running job has heard nothing.
    pub(super) fn silence(&self) -> Duration {
        let table = self.table();
        let slots = table.jobs.iter().flat_map(HashMap::values);
        slots.map(|slot| slot.heard.elapsed()).max().unwrap_or_default()
    }

    /// Runs a job to its last event, or until its reader is gone and the child has stopped.
    pub(super) async fn perform(&self, job: Job, events: mpsc::Sender<EngineEvent>) {
        let (over_sender, over) = oneshot::channel();
        let slot = Slot { events: events.clone(), _over: over_sender, heard: Instant::now() };
        let Some(id) = self.register(slot) else {
            drop(events.try_send(EngineEvent::Failed(EngineError::Unavailable)));
            return;
        };
        let param = match &job.input {
            Input::Chat { .. } => "messages",
            Input::Text(_) | Input::Tokens(_) => "prompt",
            Input::Embed(_) => "input",
        };
        let frame = match encode(&ToEngine::Generate(Box::new(message(id, job)))) {
            Ok(frame) => frame,
            Err(error) => {
                self.take(id);
                drop(events.try_send(EngineEvent::Failed(unsendable(&error, param))));
                return;
            }
        };
        if self.commands.send(frame).await.is_err() {
            // The child is gone; whoever found out tells the job.
            return;
        }
        let mut over = over;
        tokio::select! {
            biased;
            _ = &mut over => return,
            () = events.closed() => {}
        }
        self.send(&ToEngine::Cancel { id }).await;
        if timeout(CANCEL_PATIENCE, over).await.is_err() {
            tracing::error!("the engine did not stop a cancelled job: it is replaced");
            self.condemned.notify_one();
        }
    }

    /// Generates one token, or embeds a word: the proof that the engine works.
    pub(super) async fn canary(&self) -> bool {
        let (sender, mut events) = mpsc::channel(16);
        let (over_sender, _over) = oneshot::channel();
        let slot = Slot { events: sender, _over: over_sender, heard: Instant::now() };
        let Some(id) = self.register(slot) else { return false };
        let sampling = Sampling {
            temperature: 0.0,
            top_p: 1.0,
            seed: Some(0),
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
        };
        let text = CANARY.to_owned();
        let prompt = match self.kind() {
            ModelKind::Chat => Prompt::Text(text),
            ModelKind::Embedding => Prompt::Embed(vec![EmbedInput::Text(text)]),
        };
        let job = Generate { prompt, ..Generate::new(id, 1, sampling) };
        self.send(&ToEngine::Generate(Box::new(job))).await;
        while let Some(event) = events.recv().await {
            match event {
                EngineEvent::Finished { .. } => return true,
                EngineEvent::Failed(_) => return false,
                _ => {}
            }
        }
        false
    }

    pub(super) async fn ping(&self, n: u64) {
        // Before it leaves: its answer is held against this.
        self.pinged.store(n, Ordering::Relaxed);
        self.send(&ToEngine::Ping { n }).await;
    }

    /// Ends every job of a child that is gone. Later ones are refused.
    pub(super) fn bury(&self) {
        let jobs = self.table().jobs.take();
        for slot in jobs.into_iter().flat_map(HashMap::into_values) {
            // Full means that the reader is far behind; it sees the channel end instead.
            drop(slot.events.try_send(EngineEvent::Failed(EngineError::Crashed)));
        }
    }

    /// Reads what the child says until it ends or breaks the protocol.
    pub(super) async fn read(&self, mut stdout: impl AsyncRead + Unpin) -> &'static str {
        let mut decoder = FrameDecoder::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match stdout.read(&mut buffer).await {
                Ok(0) => return "it closed its stdout",
                Err(_) => return "its stdout cannot be read",
                Ok(bytes) => decoder.push(&buffer[..bytes]),
            }
            loop {
                match decoder.next_message::<FromEngine>() {
                    Ok(None) => break,
                    Ok(Some(message)) => {
                        if let Err(why) = self.check(&message) {
                            return why;
                        }
                        self.dispatch(message);
                    }
                    Err(_) => return "its stdout is not our protocol",
                }
            }
        }
    }

    /// Writes frames to the child until it does not take them.
    pub(super) async fn write(
        mut frames: mpsc::Receiver<Vec<u8>>,
        mut stdin: impl AsyncWrite + Unpin,
    ) -> &'static str {
        while let Some(frame) = frames.recv().await {
            if stdin.write_all(&frame).await.is_err() || stdin.flush().await.is_err() {
                return "it closed its stdin";
            }
        }
        "nobody uses it"
    }

    /// What the supervisor reckons with must be possible; the rest is a job's own and bounded
    /// where it is used.
    fn check(&self, message: &FromEngine) -> Result<(), &'static str> {
        match message {
            FromEngine::Ready(ready) if ready.protocol != PROTOCOL => {
                Err("it speaks another protocol")
            }
            FromEngine::Ready(ready) if ready.context_length == 0 => {
                Err("it has no context at all")
            }
            FromEngine::Ready(_) if self.ready.borrow().is_some() => Err("it was ready twice"),
            FromEngine::Pong { n, .. } if *n > self.pinged.load(Ordering::Relaxed) => {
                Err("it answers a heartbeat that was never sent")
            }
            _ => Ok(()),
        }
    }

    fn dispatch(&self, message: FromEngine) {
        let (id, event) = match message {
            FromEngine::Ready(ready) => {
                self.ready.send_replace(Some(ready));
                return;
            }
            FromEngine::Pong { n, resident_bytes } => {
                *self.pulse.lock().unwrap_or_else(PoisonError::into_inner) =
                    Pulse { pong: n, resident_bytes };
                return;
            }
            FromEngine::Cancelled { id } => {
                self.take(id);
                return;
            }
            FromEngine::Started { id, prompt_tokens } => {
                (id, EngineEvent::Started { prompt_tokens: Some(prompt_tokens) })
            }
            FromEngine::Delta { id, channel, text, completion_tokens, logprobs } => {
                (id, EngineEvent::Delta { channel, text, completion_tokens, logprobs })
            }
            FromEngine::ToolCall { id, index, call_id, name, arguments, completion_tokens } => (
                id,
                EngineEvent::ToolCall { index, id: call_id, name, arguments, completion_tokens },
            ),
            FromEngine::Embedding { id, index, vector } => {
                (id, EngineEvent::Embedding { index, vector })
            }
            FromEngine::Finished { id, finish, usage } => {
                (id, EngineEvent::Finished { finish, usage })
            }
            FromEngine::Failed { id, failure } => {
                if failure == Failure::Engine {
                    self.suspect.notify_one();
                }
                (id, EngineEvent::Failed(failed(failure)))
            }
        };
        self.deliver(id, event);
    }

    fn deliver(&self, id: u64, event: EngineEvent) {
        let is_last = matches!(event, EngineEvent::Finished { .. } | EngineEvent::Failed(_));
        let mut table = self.table();
        let Some(jobs) = &mut table.jobs else { return };
        let Some(slot) = jobs.get_mut(&id) else { return };
        slot.heard = Instant::now();
        // The channel holds a job's whole limit, so only a reader that is gone fails here.
        drop(slot.events.try_send(event));
        if is_last {
            jobs.remove(&id);
        }
    }

    fn register(&self, slot: Slot) -> Option<u64> {
        let mut table = self.table();
        let id = table.next_id;
        table.next_id += 1;
        table.jobs.as_mut()?.insert(id, slot);
        Some(id)
    }

    fn take(&self, id: u64) {
        if let Some(jobs) = &mut self.table().jobs {
            jobs.remove(&id);
        }
    }

    async fn send(&self, message: &ToEngine) {
        let frame = encode(message).expect("a message without a client's text fits a frame");
        // A child that is gone gets nothing; its jobs end with it.
        drop(self.commands.send(frame).await);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn message(id: u64, job: Job) -> Generate {
    let array = |values: Vec<serde_json::Value>| serde_json::Value::Array(values).to_string();
    let prompt = match job.input {
        Input::Chat { messages, tools } => Prompt::Chat {
            messages: array(messages),
            tools: array(tools),
            reasoning: job.reasoning,
        },
        Input::Text(text) => Prompt::Text(text),
        Input::Tokens(tokens) => Prompt::Tokens(tokens),
        Input::Embed(inputs) => Prompt::Embed(inputs),
    };
    Generate {
        prompt,
        tool_choice: job.tool_choice,
        parallel_tool_calls: job.parallel_tool_calls,
        stop: job.stop,
        logprobs: job.logprobs,
        ..Generate::new(id, job.max_tokens, job.sampling)
    }
    .constrained(&job.constraint)
}

fn unsendable(error: &WireError, param: &str) -> EngineError {
    tracing::warn!("a job does not fit a frame: {error}");
    EngineError::InvalidRequest {
        message: "the request is too long for every context".to_owned(),
        param: Some(param.to_owned()),
        code: "context_length_exceeded",
    }
}

fn failed(failure: Failure) -> EngineError {
    match failure {
        Failure::Invalid { message, param } => {
            EngineError::InvalidRequest { message, param, code: "invalid_value" }
        }
        Failure::Unsupported { message, param } => {
            EngineError::InvalidRequest { message, param, code: "unsupported_parameter" }
        }
        Failure::ContextLength { prompt, limit } => {
            EngineError::ContextLengthExceeded { prompt, limit }
        }
        Failure::InputLength { index, tokens, limit } => EngineError::InvalidRequest {
            message: format!("input[{index}] has {tokens} tokens and the model reads {limit}"),
            param: Some("input".to_owned()),
            code: "context_length_exceeded",
        },
        Failure::Engine => EngineError::Crashed,
    }
}

#[cfg(test)]
mod tests;
