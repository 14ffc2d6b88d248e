//! What asks mistral.rs for a vector.
//!
//! Invariants: it holds one sequence at a time, since it pads what it batches and then pools over
//! the padding; and each request's receiver lives until mistral.rs has answered, whoever has left
//! meanwhile: a whole answer that it cannot deliver counts as a failed step there, and the error
//! about that, which it cannot deliver either, ends its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use mistralrs::{
    EmbeddingModelBuilder, Model, NormalRequest, Request, RequestMessage, Response, SamplingParams,
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Folder;

/// One answer for each request, and room for an error behind it.
const ANSWERS: usize = 4;

pub(super) struct Backend {
    /// Holds the engine's thread.
    _model: Model,
    requests: mpsc::Sender<Request>,
    next_id: AtomicUsize,
    turn: Arc<Semaphore>,
}

impl Backend {
    pub(super) async fn load(folder: &Folder) -> anyhow::Result<Self> {
        let builder = EmbeddingModelBuilder::new(folder.path.display()).with_max_num_seqs(1);
        let builder = device(builder);
        // Some broken files make it panic: that ends this task alone.
        #[expect(clippy::disallowed_methods, reason = "awaited at once")]
        let model = tokio::spawn(builder.build())
            .await
            .context("mistral.rs panicked while it loaded the model")?
            .context("mistral.rs cannot load the model")?;
        let requests = model.inner().get_sender(None).context("mistral.rs has no engine")?;
        Ok(Self {
            _model: model,
            requests,
            next_id: AtomicUsize::new(1),
            turn: Arc::new(Semaphore::new(1)),
        })
    }

    /// One input's vector, as mistral.rs has it; `None` when it failed. Turns are taken first come,
    /// first served. Dropping this gives the place up, or lets what has begun run to its end.
    pub(super) async fn embed(&self, ids: Vec<u32>) -> Option<Vec<f32>> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.expect("the semaphore is never closed");
        let (sender, mut answers) = mpsc::channel(ANSWERS);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let message = RequestMessage::EmbeddingTokens { prompt: ids };
        let sampling = SamplingParams::neutral();
        let normal = NormalRequest::new_simple(message, sampling, sender, id, None, None);
        let requests = self.requests.clone();
        let (tell, told) = oneshot::channel();
        #[expect(clippy::disallowed_methods, reason = "it must outlive a caller that leaves")]
        tokio::spawn(async move {
            let sent = requests.send(Request::Normal(Box::new(normal))).await;
            let vector = if sent.is_ok() { vector(answers.recv().await) } else { None };
            // The sequence is over once its sender is gone; only then may the next one enter.
            while answers.recv().await.is_some() {}
            drop(turn);
            drop(tell.send(vector));
        });
        told.await.ok().flatten()
    }
}

/// Everything was checked before, so that whatever is no vector is a failure of the engine.
fn vector(answer: Option<Response>) -> Option<Vec<f32>> {
    match answer {
        Some(Response::Embeddings { embeddings, .. }) => Some(embeddings),
        Some(Response::ModelError(error, _)) => {
            tracing::error!("mistral.rs failed: {error}");
            None
        }
        Some(Response::InternalError(error) | Response::ValidationError(error)) => {
            tracing::error!("mistral.rs failed: {error}");
            None
        }
        _ => None,
    }
}

#[cfg(not(feature = "cuda"))]
fn device(builder: EmbeddingModelBuilder) -> EmbeddingModelBuilder {
    // F16 is slow on a processor and BF16 does not exist there.
    builder.with_force_cpu().with_dtype(mistralrs::ModelDType::F32)
}

/// Unproven on a GPU.
#[cfg(feature = "cuda")]
const fn device(builder: EmbeddingModelBuilder) -> EmbeddingModelBuilder {
    builder
}
