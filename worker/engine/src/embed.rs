//! Embedding: texts in, vectors out.
//!
//! Shape: [`folder`] reads and checks the model's files, [`backend`] asks mistral.rs, and
//! [`Embedder`] runs jobs: every input of a job is tokenised and checked before the first one is
//! computed, then they go through one at a time, each in a turn of its own, so that a short job
//! passes between the inputs of a long one.
//!
//! Invariants: a vector has unit length, the announced number of dimensions and finite numbers
//! only; an input gives the same vector whatever stands beside it; what counts as prompt are the
//! client's own tokens, without the end token that the model wants behind them.

mod backend;
mod folder;

use std::sync::Arc;

use cocoon_engine_wire::{
    EmbedInput, Failure, FinishReason, FromEngine, Generate, PROTOCOL, Prompt, Ready, Usage,
};
use tokio::sync::{mpsc, oneshot};

use self::backend::Backend;
pub(crate) use self::folder::Folder;
use self::folder::Reader;

pub(crate) struct Embedder {
    context_length: u32,
    vocab: u32,
    dimensions: u32,
    jobs: u16,
    reader: Reader,
    backend: Backend,
}

/// One text as the model reads it.
struct Input {
    ids: Vec<u32>,
    /// The client's own of them.
    tokens: u64,
}

impl Embedder {
    pub(crate) async fn load(folder: Folder, jobs: u16) -> anyhow::Result<Arc<Self>> {
        let backend = Backend::load(&folder).await?;
        Ok(Arc::new(Self {
            context_length: folder.context_length,
            vocab: folder.vocab,
            dimensions: folder.dimensions,
            jobs: jobs.max(1),
            reader: folder.reader,
            backend,
        }))
    }

    pub(crate) fn ready(&self) -> Ready {
        Ready {
            protocol: PROTOCOL,
            context_length: self.context_length,
            vocab: self.vocab,
            jobs: self.jobs,
            embedding_dimensions: self.dimensions,
        }
    }

    /// Runs a job and returns its last message; what comes before it goes to `out`. Once
    /// `cancelled` resolves, no further input is computed.
    pub(crate) async fn run(
        self: &Arc<Self>,
        job: Generate,
        cancelled: oneshot::Receiver<()>,
        out: &mpsc::Sender<FromEngine>,
    ) -> FromEngine {
        let id = job.id;
        match self.embed(job, cancelled, out).await {
            Ok(Some(prompt)) => {
                let usage = Usage { prompt, ..Usage::default() };
                FromEngine::Finished { id, finish: FinishReason::Stop, usage }
            }
            Ok(None) => FromEngine::Cancelled { id },
            Err(failure) => FromEngine::Failed { id, failure },
        }
    }

    /// The tokens that were read; `None` for a job that was cancelled.
    async fn embed(
        self: &Arc<Self>,
        job: Generate,
        mut cancelled: oneshot::Receiver<()>,
        out: &mpsc::Sender<FromEngine>,
    ) -> Result<Option<u64>, Failure> {
        let id = job.id;
        let Prompt::Embed(inputs) = job.prompt else {
            let message = "this is an embedding model: it generates no text";
            return Err(invalid("model", message.to_owned()));
        };
        let embedder = Arc::clone(self);
        // Many long inputs take longer to tokenise than a thread of the runtime should be away.
        let read = tokio::task::spawn_blocking(move || embedder.read(inputs));
        let inputs = read.await.unwrap_or(Err(Failure::Engine))?;
        let prompt_tokens = inputs.iter().map(|input| input.tokens).sum();
        if out.send(FromEngine::Started { id, prompt_tokens }).await.is_err() {
            return Ok(None);
        }
        for (index, input) in (0_u32..).zip(inputs) {
            let vector = tokio::select! {
                biased;
                _ = &mut cancelled => return Ok(None),
                vector = self.backend.embed(input.ids) => vector,
            };
            let vector = vector.and_then(|vector| self.checked(vector)).ok_or(Failure::Engine)?;
            if out.send(FromEngine::Embedding { id, index, vector }).await.is_err() {
                return Ok(None);
            }
        }
        Ok(Some(prompt_tokens))
    }

    /// Every input as the model reads it, or what is wrong with the first bad one.
    fn read(&self, inputs: Vec<EmbedInput>) -> Result<Vec<Input>, Failure> {
        if inputs.is_empty() {
            return Err(invalid("input", "there is nothing to embed".to_owned()));
        }
        (0_u32..).zip(inputs).map(|(index, input)| self.read_one(index, input)).collect()
    }

    fn read_one(&self, index: u32, input: EmbedInput) -> Result<Input, Failure> {
        let refused = |problem: &str| Err(invalid("input", format!("input[{index}] {problem}")));
        let is_empty = match &input {
            EmbedInput::Text(text) => text.is_empty(),
            EmbedInput::Tokens(ids) => ids.is_empty(),
        };
        if is_empty {
            return refused("is empty");
        }
        let own = match input {
            EmbedInput::Text(text) => self.reader.encode(&text).ok_or(Failure::Engine)?,
            EmbedInput::Tokens(ids) => ids,
        };
        let ids = self.reader.complete(&own);
        if ids.iter().any(|id| *id >= self.vocab) {
            return refused("has a token outside the model's vocabulary");
        }
        let (tokens, limit) = (count(ids.len()), u64::from(self.context_length));
        if tokens > limit {
            return Err(Failure::InputLength { index, tokens, limit });
        }
        // mistral.rs 0.8 makes no attention mask for one token and panics for want of it
        // (`embedding_models/qwen3_embedding.rs`). It takes a tokenizer without an end token, and
        // a model that goes with such a one, to get here.
        if ids.len() < 2 {
            return refused("is a single token, which this model cannot read");
        }
        Ok(Input { tokens: count(own.len()), ids })
    }

    /// Unit length, also for models that leave that to others.
    fn checked(&self, mut vector: Vec<f32>) -> Option<Vec<f32>> {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        let is_usable = length.is_finite() && length > 0.0;
        if count(vector.len()) != u64::from(self.dimensions) || !is_usable {
            tracing::error!("mistral.rs made a vector that is none: {} numbers", vector.len());
            return None;
        }
        for x in &mut vector {
            *x /= length;
        }
        Some(vector)
    }
}

fn invalid(param: &str, message: String) -> Failure {
    Failure::Invalid { message, param: Some(param.to_owned()) }
}

fn count(tokens: usize) -> u64 {
    u64::try_from(tokens).unwrap_or(u64::MAX)
}
