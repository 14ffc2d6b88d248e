//! The one module that knows mistral.rs.
//!
//! Requests go below its client API, whose channel of one entry lets a slow reader stall every
//! other job: here each request's channel holds more than its token limit. Requests always stream,
//! since a whole-answer request whose reader leaves brings mistral.rs 0.8 down.
//!
//! Invariant: on a processor the engine holds one sequence at a time. Its attention kernel for
//! decoding there (`attention/backends/cpu.rs`, `flash_attn_cpu_single_q`) keeps one scratch row
//! for a whole batch, so that sequences of equal length, which it batches, get each other's
//! attention: one client's answer would be made from another's prompt. `with_max_num_seqs` does
//! not prevent it, since an idle scheduler takes everything that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use candle_core::Tensor;
use mistralrs::{
    CustomLogitsProcessor, Model, NormalRequest, Request, RequestMessage, Response, SamplingParams,
    TextModelBuilder,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::folder::Folder;
use crate::sampler::Sampler;

/// Room in a request's channel above one chunk for each token.
const CHANNEL_MARGIN: usize = 64;

pub(crate) struct Backend {
    /// Holds the engine's thread.
    _model: Model,
    requests: mpsc::Sender<Request>,
    next_id: AtomicUsize,
    turns: Arc<Semaphore>,
    /// Permits of `turns`: sequences that the engine may hold.
    pub(crate) jobs: u16,
}

/// The right to be in the engine; comes back when the engine has dropped the request.
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// What the engine holds of a request, and nobody else: dropped with its sequence.
struct Seated {
    sampler: Arc<Sampler>,
    _turn: Turn,
}

impl CustomLogitsProcessor for Seated {
    fn apply(&self, logits: &Tensor, context: &[u32]) -> candle_core::Result<Tensor> {
        self.sampler.apply(logits, context)
    }
}

/// What the engine says about one request, beyond the tokens that its sampler sees.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// A token was accepted.
    Progress,
    /// No token follows. `stopped`: at a token that the engine calls an end.
    Done { stopped: bool },
    /// The engine failed, or refused a request that was checked before it got it.
    Broken,
}

pub(crate) struct Signals(mpsc::Receiver<Response>);

pub(crate) struct Submission {
    pub(crate) ids: Vec<u32>,
    pub(crate) max_tokens: usize,
    pub(crate) sampler: Arc<Sampler>,
}

impl Backend {
    pub(crate) async fn load(folder: &Folder, jobs: u16) -> anyhow::Result<Self> {
        let builder = TextModelBuilder::new(folder.path.display())
            // Its cache on a processor is never emptied, and cached tokens are not reported.
            .with_prefix_cache_n(None)
            .with_max_num_seqs(usize::from(jobs.max(1)));
        let builder = device(builder)?;
        // Some broken files make it panic: that ends this task alone.
        #[expect(clippy::disallowed_methods, reason = "awaited at once")]
        let model = tokio::spawn(builder.build())
            .await
            .context("mistral.rs panicked while it loaded the model")?
            .context("mistral.rs cannot load the model")?;
        let requests = model.inner().get_sender(None).context("mistral.rs has no engine")?;
        let jobs = if cfg!(feature = "cuda") { jobs.max(1) } else { 1 };
        Ok(Self {
            _model: model,
            requests,
            next_id: AtomicUsize::new(1),
            turns: Arc::new(Semaphore::new(jobs.into())),
            jobs,
        })
    }

    /// First come, first served. Cancel-safe.
    pub(crate) async fn turn(&self) -> Turn {
        let permit = Arc::clone(&self.turns).acquire_owned().await;
        Turn { _permit: permit.expect("the semaphore is never closed") }
    }

    /// Hands the request over. Dropping the signals ends its work at the next token.
    pub(crate) async fn submit(&self, turn: Turn, request: Submission) -> Option<Signals> {
        let (sender, receiver) = mpsc::channel(request.max_tokens.saturating_add(CHANNEL_MARGIN));
        let mut sampling = SamplingParams::neutral();
        sampling.max_len = Some(request.max_tokens);
        // The sampler leaves one finite logit; the engine only has to take the largest.
        sampling.temperature = Some(0.0);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let messages = RequestMessage::CompletionTokens(request.ids);
        let mut normal = NormalRequest::new_simple(messages, sampling, sender, id, None, None);
        normal.is_streaming = true;
        normal.logits_processors =
            Some(vec![Arc::new(Seated { sampler: request.sampler, _turn: turn })]);
        self.requests.send(Request::Normal(Box::new(normal))).await.ok()?;
        Some(Signals(receiver))
    }
}

impl Signals {
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        let finish = match self.0.recv().await {
            None => return Signal::Done { stopped: false },
            Some(Response::CompletionChunk(chunk)) => {
                chunk.choices.into_iter().find_map(|choice| choice.finish_reason)
            }
            Some(Response::Chunk(chunk)) => {
                chunk.choices.into_iter().find_map(|choice| choice.finish_reason)
            }
            Some(Response::ValidationError(error) | Response::InternalError(error)) => {
                tracing::error!("mistral.rs failed: {error}");
                return Signal::Broken;
            }
            Some(Response::ModelError(error, _)) => {
                tracing::error!("mistral.rs failed: {error}");
                return Signal::Broken;
            }
            Some(_) => None,
        };
        match finish.as_deref() {
            None => Signal::Progress,
            Some("error") => Signal::Broken,
            Some(reason) => Signal::Done { stopped: reason == "stop" },
        }
    }
}

#[cfg(not(feature = "cuda"))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as with a GPU")]
fn device(builder: TextModelBuilder) -> anyhow::Result<TextModelBuilder> {
    // F16 is slow on a processor and BF16 does not exist there.
    Ok(builder.with_force_cpu().with_dtype(mistralrs::ModelDType::F32))
}

/// Unproven on a GPU.
#[cfg(feature = "cuda")]
fn device(builder: TextModelBuilder) -> anyhow::Result<TextModelBuilder> {
    use mistralrs::{MemoryGpuConfig, PagedAttentionMetaBuilder};
    let paged = PagedAttentionMetaBuilder::default()
        .with_block_size(32)
        // The default pool holds one context of 4096 tokens: far too little for several jobs.
        .with_gpu_memory(MemoryGpuConfig::Utilization(0.85))
        .build()?;
    Ok(if mistralrs::paged_attn_supported() { builder.with_paged_attn(paged) } else { builder })
}
