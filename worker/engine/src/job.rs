//! One answer, from conversation to last message.

use std::collections::BTreeSet;
use std::sync::Arc;

use cocoon_engine_wire::{
    Channel, Constraint, Failure, FinishReason, FromEngine, Generate, StopCut, TokenLogprob,
    ToolChoice, Usage,
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::backend::{Backend, Signal, Submission};
use crate::folder::Folder;
use crate::sampler::{Plan, Sampled, Sampler};
use crate::splitter::{Piece, Splitter};
use crate::template::Template;
use crate::tokens::{Detokeniser, Vocabulary};

/// Room in a job's token channel above its token limit.
const CHANNEL_MARGIN: usize = 64;

pub(crate) struct Engine {
    pub(crate) context_length: u32,
    pub(crate) vocab: u32,
    /// Worked on at once.
    pub(crate) jobs: u16,
    ends: BTreeSet<u32>,
    vocabulary: Vocabulary,
    template: Template,
    backend: Backend,
}

/// A conversation as the model reads it.
struct Prompt {
    ids: Vec<u32>,
    /// The template opened the thinking itself.
    thinking: bool,
    tools: BTreeSet<String>,
    schema: Option<Value>,
}

impl Engine {
    pub(crate) fn new(folder: Folder, backend: Backend) -> Arc<Self> {
        Arc::new(Self {
            context_length: folder.context_length,
            vocab: folder.vocab,
            jobs: backend.jobs,
            ends: folder.ends,
            vocabulary: Vocabulary::new(folder.tokenizer),
            template: folder.template,
            backend,
        })
    }

    /// Runs a job and returns its last message; what comes before it goes to `out`. Once
    /// `cancelled` resolves, the engine stops at its next token.
    pub(crate) async fn run(
        self: &Arc<Self>,
        job: Generate,
        cancelled: oneshot::Receiver<()>,
        out: &mpsc::Sender<FromEngine>,
    ) -> FromEngine {
        let id = job.id;
        match self.generate(job, cancelled, out).await {
            Ok(Some((finish, usage))) => FromEngine::Finished { id, finish, usage },
            Ok(None) => FromEngine::Cancelled { id },
            Err(failure) => FromEngine::Failed { id, failure },
        }
    }

    async fn generate(
        self: &Arc<Self>,
        job: Generate,
        mut cancelled: oneshot::Receiver<()>,
        out: &mpsc::Sender<FromEngine>,
    ) -> Result<Option<(FinishReason, Usage)>, Failure> {
        let engine = Arc::clone(self);
        // Long prompts take longer to tokenise than a thread of the runtime should be away.
        let prepared = tokio::task::spawn_blocking(move || {
            let prompt = engine.prompt(&job)?;
            Ok((job, prompt))
        });
        let (job, prompt) = prepared.await.unwrap_or(Err(Failure::Engine))?;
        let prompt_tokens = count(prompt.ids.len());
        let started = FromEngine::Started { id: job.id, prompt_tokens };
        let room = u32::try_from(u64::from(self.context_length) - prompt_tokens);
        let max_tokens = job.max_tokens.clamp(1, room.unwrap_or(u32::MAX));
        let (sender, mut tokens) = mpsc::channel(size(max_tokens) + CHANNEL_MARGIN);
        let sampler = Arc::new(Sampler::new(self.plan(&job, &prompt), sender));
        let mut answer = Answer::new(self, &job, &prompt, max_tokens);
        let has_schema = prompt.schema.is_some();
        let submission = Submission {
            ids: prompt.ids,
            max_tokens: size(max_tokens),
            schema: prompt.schema,
            sampler: Arc::clone(&sampler),
        };
        if out.send(started).await.is_err() {
            return Ok(None);
        }
        let turn = tokio::select! {
            biased;
            _ = &mut cancelled => return Ok(None),
            turn = self.backend.turn() => turn,
        };
        let submitted = self.backend.submit(turn, submission).await;
        let mut signals = submitted.ok_or(Failure::Engine)?;
        let finish = loop {
            tokio::select! {
                // A cancelled job says nothing more; tokens before signals, which follow them.
                biased;
                _ = &mut cancelled => {
                    sampler.cancel();
                    return Ok(None);
                }
                Some(token) = tokens.recv() => {
                    if let Some(finish) = answer.token(&token, out).await {
                        break finish;
                    }
                }
                signal = signals.next() => match signal {
                    Signal::Progress => {}
                    // All else was checked before: only a grammar can be refused here.
                    Signal::Refused if has_schema => return Err(response_format()),
                    Signal::Refused => return Err(Failure::Engine),
                    Signal::Broken => return Err(Failure::Engine),
                    Signal::Done { stopped } => {
                        let rest = std::iter::from_fn(|| tokens.try_recv().ok());
                        let rest = rest.chain(sampler.last()).collect();
                        let finish = answer.rest(rest, out).await;
                        let finish = finish.or(stopped.then_some(FinishReason::Stop));
                        break finish.ok_or(Failure::Engine)?;
                    }
                },
            }
        };
        sampler.cancel();
        let finish = answer.end(finish, out).await;
        Ok(Some((finish, answer.usage(prompt_tokens))))
    }

    fn plan(&self, job: &Generate, prompt: &Prompt) -> Plan {
        Plan {
            seed: job.sampling.seed.unwrap_or_else(fresh),
            sampling: job.sampling.clone(),
            prompt_tokens: prompt.ids.len(),
            logprobs: job.logprobs,
            end: self.ends.first().copied().unwrap_or_default(),
            has_grammar: prompt.schema.is_some(),
        }
    }

    fn prompt(&self, job: &Generate) -> Result<Prompt, Failure> {
        let messages: Vec<Value> = parse(&job.messages, "messages")?;
        let tools: Vec<Value> = match job.tool_choice {
            ToolChoice::Auto => parse(&job.tools, "tools")?,
            ToolChoice::None => Vec::new(),
        };
        let name = |tool: &Value| Some(tool.pointer("/function/name")?.as_str()?.to_owned());
        let names = tools.iter().filter_map(name).collect();
        let text = self.template.render(messages, tools).map_err(|error| {
            tracing::info!("the chat template refused a conversation: {:?}", error.kind());
            invalid("messages", "the model's chat template does not accept this conversation")
        })?;
        let ids = self.vocabulary.encode(&text).ok_or(Failure::Engine)?;
        let limit = u64::from(self.context_length);
        if ids.is_empty() {
            return Err(invalid("messages", "the conversation is empty"));
        }
        if count(ids.len()) >= limit {
            return Err(Failure::ContextLength { prompt: count(ids.len()), limit });
        }
        if ids.iter().any(|id| *id >= self.vocab) {
            return Err(invalid("messages", "a token lies outside the model's vocabulary"));
        }
        let calls = if self.template.calls_tools { names } else { BTreeSet::new() };
        let thinking = self.template.thinks && text.trim_end().ends_with("<think>");
        let constraint = job.constraint().map_err(|_| response_format())?;
        Ok(Prompt { ids, thinking, tools: calls, schema: schema(constraint)? })
    }
}

/// What a constraint demands, without free white space: a weak model would fill its limit with it.
fn schema(constraint: Constraint) -> Result<Option<Value>, Failure> {
    let mut schema = match constraint {
        Constraint::None => return Ok(None),
        Constraint::JsonObject => json!({ "type": "object" }),
        Constraint::JsonSchema(schema) => schema,
    };
    let Some(object) = schema.as_object_mut() else { return Err(response_format()) };
    object.insert("x-guidance".to_owned(), json!({ "whitespace_flexible": false }));
    Ok(Some(schema))
}

fn response_format() -> Failure {
    invalid("response_format", "the schema cannot be turned into a grammar")
}

fn invalid(param: &str, message: &str) -> Failure {
    Failure::Invalid { message: message.to_owned(), param: Some(param.to_owned()) }
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, param: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|_| invalid(param, "is not what the model can read"))
}

// === Answer ===

/// Tokens in, messages out.
struct Answer<'e> {
    engine: &'e Engine,
    id: u64,
    text: Detokeniser<'e>,
    splitter: Splitter,
    cut: StopCut,
    wants_logprobs: bool,
    /// Of tokens whose text has not left yet.
    logprobs: Vec<TokenLogprob>,
    max_tokens: u32,
    completion: u32,
    reasoning: u64,
    calls: u32,
}

impl<'e> Answer<'e> {
    fn new(engine: &'e Engine, job: &Generate, prompt: &Prompt, max_tokens: u32) -> Self {
        let thinks = engine.template.thinks;
        Self {
            engine,
            id: job.id,
            text: engine.vocabulary.detokeniser(),
            splitter: Splitter::new(prompt.tools.clone(), thinks, prompt.thinking),
            cut: StopCut::new(job.stop.clone()),
            wants_logprobs: job.logprobs.is_some(),
            logprobs: Vec::new(),
            max_tokens,
            completion: 0,
            reasoning: 0,
            calls: 0,
        }
    }

    /// Takes a token; says why the answer ends with it, if it does.
    async fn token(
        &mut self,
        token: &Sampled,
        out: &mpsc::Sender<FromEngine>,
    ) -> Option<FinishReason> {
        self.completion += 1;
        if self.splitter.is_reasoning() {
            self.reasoning += 1;
        }
        if self.engine.ends.contains(&token.id) {
            return Some(FinishReason::Stop);
        }
        if self.wants_logprobs && !self.splitter.is_reasoning() {
            self.logprobs.push(self.engine.vocabulary.logprob(token));
        }
        let text = self.text.push(token.id);
        let pieces = self.splitter.push(&text);
        self.emit(pieces, out).await;
        if self.cut.stopped() {
            return Some(FinishReason::Stop);
        }
        (self.completion >= self.max_tokens).then_some(FinishReason::Length)
    }

    /// Takes the tokens that came with the engine's own end.
    async fn rest(
        &mut self,
        tokens: Vec<Sampled>,
        out: &mpsc::Sender<FromEngine>,
    ) -> Option<FinishReason> {
        for token in tokens {
            let finish = self.token(&token, out).await;
            if finish.is_some() {
                return finish;
            }
        }
        None
    }

    /// Lets out what was held back. A job that called a tool ends with that reason.
    async fn end(&mut self, finish: FinishReason, out: &mpsc::Sender<FromEngine>) -> FinishReason {
        let pieces = self.splitter.finish();
        self.emit(pieces, out).await;
        let rest = self.cut.finish();
        if !self.cut.stopped() && (!rest.is_empty() || !self.logprobs.is_empty()) {
            self.delta(Channel::Content, rest, out).await;
        }
        match finish {
            FinishReason::Stop if self.calls > 0 => FinishReason::ToolCalls,
            other => other,
        }
    }

    async fn emit(&mut self, pieces: Vec<Piece>, out: &mpsc::Sender<FromEngine>) {
        for piece in pieces {
            match piece {
                Piece::Text(Channel::Content, text) => {
                    let text = self.cut.push(&text);
                    if !text.is_empty() {
                        self.delta(Channel::Content, text, out).await;
                    }
                }
                Piece::Text(Channel::Reasoning, text) => {
                    self.delta(Channel::Reasoning, text, out).await;
                }
                Piece::Call { name, arguments } => self.call(name, arguments, out).await,
            }
        }
    }

    async fn delta(&mut self, channel: Channel, text: String, out: &mpsc::Sender<FromEngine>) {
        let logprobs = match channel {
            Channel::Content => std::mem::take(&mut self.logprobs),
            Channel::Reasoning => Vec::new(),
        };
        let delta = FromEngine::Delta {
            id: self.id,
            channel,
            text,
            completion_tokens: self.completion,
            logprobs,
        };
        // The writer goes away only with the process.
        drop(out.send(delta).await);
    }

    async fn call(&mut self, name: String, arguments: String, out: &mpsc::Sender<FromEngine>) {
        // The tokens of a call are no content.
        self.logprobs.clear();
        let call = FromEngine::ToolCall {
            id: self.id,
            index: self.calls,
            call_id: format!("call_{:016x}{:08x}", fresh(), fresh() >> 32),
            name,
            arguments,
            completion_tokens: self.completion,
        };
        self.calls += 1;
        drop(out.send(call).await);
    }

    fn usage(&self, prompt: u64) -> Usage {
        Usage {
            prompt,
            cached: 0,
            completion: u64::from(self.completion),
            reasoning: self.reasoning,
        }
    }
}

/// Randomness of the operating system.
fn fresh() -> u64 {
    getrandom::u64().expect("the operating system has randomness once it runs programs")
}

fn count(tokens: usize) -> u64 {
    u64::try_from(tokens).unwrap_or(u64::MAX)
}

fn size(tokens: u32) -> usize {
    usize::try_from(tokens).unwrap_or(usize::MAX)
}
