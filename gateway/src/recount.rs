//! A second count of what workers say that they generated, of a random sample in clear mode.
//!
//! A sampled answer is kept while it is forwarded, bounded; before it is settled its text is cut
//! into tokens by the model's own tokenizer, off the runtime's threads. The worker's count may be
//! somewhat higher, because text can be cut finer than a tokenizer does and because tokens without
//! text are counted too ([`allowance`]). Above that the lower count is charged and the worker is in
//! quarantine: it gets nothing more, and its keys are refused.
//!
//! Limits: prompts are not counted anew, they are bounded by the body; a sealed answer cannot be
//! read here; a model without a tokenizer in the configuration is not sampled, nor is a request that
//! biases tokens, with which a client could make an honest worker cut its text finer than anybody
//! would.

mod text;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_primitives::ModelName;
use tokenizers::Tokenizer;

use text::Spoken;

/// A sample that grows over this is given up.
const SAMPLE_BYTES_MAX: usize = 2 << 20;
/// Samples that are kept or counted at a time; a request beyond that is not sampled.
const SAMPLES_MAX: usize = 64;
/// The longest tokenizer that is read.
const TOKENIZER_BYTES_MAX: u64 = 64 << 20;
/// Tokens without text that one choice may have: ends, and a stop text that was cut off.
const CHOICE_ALLOWANCE: u64 = 16;
/// The same of one tool call: the marks and keys around it.
const CALL_ALLOWANCE: u64 = 32;
/// What makes a request unfit.
const BIAS: &[u8] = b"\"logit_bias\"";

/// Which models are recounted, and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecountConfig {
    /// One in so many answers; 0 is none.
    pub one_in: u32,
    /// Each model's `tokenizer.json`.
    pub tokenizers: Vec<(ModelName, PathBuf)>,
}

/// A tokenizer that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecountError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is longer than 64 MiB", path.display())]
    TooLarge { path: PathBuf },
    #[error("{} is not a tokenizer: {reason}", path.display())]
    Parse { path: PathBuf, reason: String },
}

/// Draws samples and counts them.
pub struct Recounter {
    one_in: u32,
    tokenizers: HashMap<ModelName, Arc<Tokenizer>>,
    places: Arc<()>,
}

/// The payloads of one sampled answer, as far as they were forwarded.
#[derive(Debug, Clone)]
pub struct Sample {
    payloads: Vec<Bytes>,
    bytes: usize,
    /// It is kept for as long as a place is.
    _place: Arc<()>,
}

/// What a second count found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recount {
    /// Tokens of the text.
    pub counted: u64,
    /// The most that a worker may claim for it.
    pub most: u64,
}

impl Recounter {
    /// Reads every tokenizer. Takes as long as that takes: not for the runtime's threads.
    pub fn load(config: &RecountConfig) -> Result<Self, RecountError> {
        let load = |(name, path): &(ModelName, PathBuf)| Ok((name.clone(), Arc::new(read(path)?)));
        let tokenizers = config.tokenizers.iter().map(load).collect::<Result<_, _>>()?;
        Ok(Self { one_in: config.one_in, tokenizers, places: Arc::new(()) })
    }

    /// A sample to fill, for the few requests that are drawn.
    pub fn draw(&self, model: &ModelName, request: &[u8]) -> Option<Sample> {
        if self.one_in == 0 || !self.tokenizers.contains_key(model) {
            return None;
        }
        if Arc::strong_count(&self.places) > SAMPLES_MAX {
            return None;
        }
        let mut random = [0; 4];
        getrandom::fill(&mut random).ok()?;
        if !u32::from_be_bytes(random).is_multiple_of(self.one_in) {
            return None;
        }
        if memchr::memmem::find(request, BIAS).is_some() {
            return None;
        }
        Some(Sample { payloads: Vec::new(), bytes: 0, _place: Arc::clone(&self.places) })
    }

    /// Counts a sample; `None` where it is not readable or leaves out what was generated. Works as
    /// long as the text is.
    pub fn count(
        &self,
        model: &ModelName,
        endpoint: Endpoint,
        is_streamed: bool,
        has_reasoning: bool,
        sample: &Sample,
    ) -> Option<Recount> {
        let tokenizer = self.tokenizers.get(model)?;
        let spoken = Spoken::read(endpoint, is_streamed, &sample.payloads)?;
        if has_reasoning && !spoken.has_reasoning {
            return None;
        }
        let mut counted: u64 = 0;
        for text in spoken.texts.values() {
            let encoding = tokenizer.encode_fast(text.as_str(), false).ok()?;
            counted = counted.saturating_add(u64::try_from(encoding.len()).ok()?);
        }
        Some(Recount { counted, most: counted.saturating_add(allowance(counted, &spoken)) })
    }
}

/// Half of the text's tokens, and what has no text.
fn allowance(counted: u64, spoken: &Spoken) -> u64 {
    let choices = CHOICE_ALLOWANCE.saturating_mul(spoken.choices);
    counted / 2 + choices.saturating_add(CALL_ALLOWANCE.saturating_mul(spoken.calls))
}

impl Sample {
    /// Adds a payload; false where the sample has grown too large and is of no use any more.
    #[must_use]
    pub fn push(&mut self, payload: &Bytes) -> bool {
        self.bytes = self.bytes.saturating_add(payload.len());
        if self.bytes > SAMPLE_BYTES_MAX {
            return false;
        }
        self.payloads.push(payload.clone());
        true
    }
}

impl std::fmt::Debug for Recounter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recounter").field("one_in", &self.one_in).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Tokenizer, RecountError> {
    let failed = |source| RecountError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > TOKENIZER_BYTES_MAX {
        return Err(RecountError::TooLarge { path: path.to_owned() });
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    Tokenizer::from_bytes(&bytes)
        .map_err(|error| RecountError::Parse { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests;
