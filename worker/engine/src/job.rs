//! One answer, from prompt to last message.
//!
//! Shape: [`prompt`] makes of a job what the engine reads, and what its answer may be; [`answer`]
//! makes messages of the tokens; between them [`Engine`] runs the engine.

mod answer;
mod prompt;

use std::collections::BTreeSet;
use std::sync::Arc;

use cocoon_engine_wire::{Failure, FinishReason, FromEngine, Generate, Usage};
use tokio::sync::{mpsc, oneshot};

use self::answer::Answer;
use self::prompt::Prompt;
use crate::backend::{Backend, Signal, Submission};
use crate::folder::Folder;
use crate::grammar::{Grammars, Probe};
use crate::sampler::{Plan, Sampled, Sampler};
use crate::template::Template;
use crate::tokens::Vocabulary;

/// Room in a job's token channel above its token limit.
const CHANNEL_MARGIN: usize = 64;

pub(crate) struct Engine {
    pub(crate) context_length: u32,
    pub(crate) vocab: u32,
    /// Worked on at once.
    pub(crate) jobs: u16,
    ends: Arc<BTreeSet<u32>>,
    /// Where a text begins that nothing comes before.
    begin: Option<u32>,
    vocabulary: Vocabulary,
    template: Template,
    grammars: Grammars,
    backend: Backend,
}

/// How an answer ended, and what it took. `None`: it was cancelled.
type Outcome = Result<Option<(FinishReason, Usage)>, Failure>;

impl Engine {
    pub(crate) fn new(folder: Folder, backend: Backend, probe: Probe) -> Arc<Self> {
        let vocabulary = Vocabulary::new(folder.tokenizer);
        let ends = Arc::new(folder.ends);
        // A tokenizer may know tokens beyond the model's; one that ends answers is among them.
        let size = ends.last().map_or(0, |last| last + 1).max(folder.vocab);
        Arc::new(Self {
            context_length: folder.context_length,
            vocab: folder.vocab,
            jobs: backend.jobs,
            grammars: Grammars::new(vocabulary.words(size), Arc::clone(&ends), Some(probe)),
            ends,
            begin: folder.begin,
            vocabulary,
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
    ) -> Outcome {
        let engine = Arc::clone(self);
        // Long prompts and large grammars take longer than a thread of the runtime should be away.
        let prepared = tokio::task::spawn_blocking(move || {
            let prompt = Prompt::new(&engine, &job)?;
            Ok((job, prompt))
        });
        let (job, mut prompt) = prepared.await.unwrap_or(Err(Failure::Engine))?;
        let prompt_tokens = count(prompt.ids.len());
        let started = FromEngine::Started { id: job.id, prompt_tokens };
        let room = u32::try_from(u64::from(self.context_length) - prompt_tokens);
        let max_tokens = job.max_tokens.clamp(1, room.unwrap_or(u32::MAX));
        let (sender, mut tokens) = mpsc::channel(size(max_tokens) + CHANNEL_MARGIN);
        let sampler = Arc::new(Sampler::new(self.plan(&job, &mut prompt), sender));
        let mut answer = Answer::new(self, &job, &prompt, max_tokens);
        let demanded_by = prompt.demanded_by;
        let submission = Submission {
            ids: prompt.ids,
            max_tokens: size(max_tokens),
            sampler: Arc::clone(&sampler),
        };
        if out.send(started).await.is_err() {
            return Ok(None);
        }
        if job.max_tokens == 0 {
            // Only the prompt was in question.
            let usage = Usage { prompt: prompt_tokens, ..Usage::default() };
            return Ok(Some((FinishReason::Length, usage)));
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
                    Signal::Broken => return Err(Failure::Engine),
                    Signal::Done { .. } if sampler.is_stuck() => {
                        return Err(prompt::too_hard(demanded_by));
                    }
                    Signal::Done { stopped } => {
                        let rest: Vec<Sampled> =
                            std::iter::from_fn(|| tokens.try_recv().ok()).collect();
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

    fn plan(&self, job: &Generate, prompt: &mut Prompt) -> Plan {
        Plan {
            seed: job.sampling.seed.unwrap_or_else(fresh),
            sampling: job.sampling.clone(),
            prompt_tokens: prompt.ids.len(),
            logprobs: job.logprobs,
            end: self.ends.first().copied().unwrap_or_default(),
            guide: prompt.guide.take(),
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
