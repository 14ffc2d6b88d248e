//! A second count of what workers say that they generated, of a random sample in clear mode.
//!
//! A sampled answer is kept while it is forwarded, bounded; before it is settled its text is cut
//! into tokens by the model's own tokenizer, off the runtime's threads. The worker's count may be
//! somewhat higher, because text can be cut finer than a tokenizer does and because tokens without
//! text are counted too ([`allowance`]). Above that the lower count is charged and the worker is
//! struck. Once that happened to the answers of [`WALLETS`] wallets the worker is in quarantine: it
//! gets nothing more, and its keys are refused. One client alone cannot bring a worker there.
//!
//! Limits: prompts are not counted anew, they are bounded by the body; a sealed answer cannot be
//! read here; a model without a tokenizer in the configuration is not sampled, nor is a request
//! with a say in how its answer's text is cut (`logit_bias`, `stop`, token ids), with which a
//! client could make an honest worker count more than its text shows; the hidden reasoning of a
//! response is believed; a count that takes longer than [`WAIT`] is given up, and no answer waits
//! longer for it. Who holds several wallets and knows text that a model cuts much finer than its
//! tokenizer can still have a worker suspected.

mod suspects;
mod text;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::peek::Peek;
use cocoon_primitives::{ModelName, WalletAddress, WorkerId};
use tokenizers::Tokenizer;

use suspects::Suspects;
use text::{Kind, Spoken};

pub(crate) use suspects::WALLETS;

/// How long the end of an answer waits for its count.
pub(crate) const WAIT: Duration = Duration::from_millis(100);

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
/// All calls together have no more of it than so many times their text, and one call's.
const CALL_ALLOWANCE_FACTOR: u64 = 4;

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
    suspects: Mutex<Suspects>,
}

/// The payloads of one sampled answer, as far as they were forwarded.
#[derive(Debug, Clone)]
pub struct Sample {
    payloads: Vec<Bytes>,
    bytes: usize,
    /// As the request asked.
    choices: u32,
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
        let (one_in, places, suspects) = (config.one_in, Arc::new(()), Mutex::default());
        Ok(Self { one_in, tokenizers, places, suspects })
    }

    /// A sample to fill, for the few requests that are drawn.
    pub fn draw(&self, model: &ModelName, request: &Peek<'_>) -> Option<Sample> {
        if self.one_in == 0 || !self.tokenizers.contains_key(model) || request.has_uneven_text {
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
        let (choices, place) = (request.choices, Arc::clone(&self.places));
        Some(Sample { payloads: Vec::new(), bytes: 0, choices, _place: place })
    }

    /// Counts a sample; `None` where it is not readable. `reasoning` is what the worker claims of
    /// it: only a response may keep that to itself. Works as long as the text is.
    pub fn count(
        &self,
        model: &ModelName,
        endpoint: Endpoint,
        is_streamed: bool,
        reasoning: u64,
        sample: &Sample,
    ) -> Option<Recount> {
        let tokenizer = self.tokenizers.get(model)?;
        let spoken = Spoken::read(endpoint, is_streamed, sample.choices, &sample.payloads)?;
        let (mut counted, mut of_calls): (u64, u64) = (0, 0);
        for ((_, kind, _), text) in &spoken.texts {
            let encoding = tokenizer.encode_fast(text.as_str(), false).ok()?;
            let tokens = u64::try_from(encoding.len()).ok()?;
            counted = counted.saturating_add(tokens);
            if *kind == Kind::Call {
                of_calls = of_calls.saturating_add(tokens);
            }
        }
        let hidden = if endpoint == Endpoint::Responses { reasoning } else { 0 };
        let allowance = allowance(counted, of_calls, &spoken).saturating_add(hidden);
        Some(Recount { counted, most: counted.saturating_add(allowance) })
    }

    /// Notes that `worker` claimed too much of this wallet; true once enough wallets saw that.
    pub(crate) fn suspect(&self, worker: WorkerId, wallet: WalletAddress) -> bool {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.note(worker, wallet)
    }
}

/// Half of the text's tokens, and what has no text.
fn allowance(counted: u64, of_calls: u64, spoken: &Spoken) -> u64 {
    let choices = CHOICE_ALLOWANCE.saturating_mul(spoken.choices());
    let calls = CALL_ALLOWANCE.saturating_mul(spoken.calls());
    let calls_most = CALL_ALLOWANCE.saturating_add(CALL_ALLOWANCE_FACTOR.saturating_mul(of_calls));
    (counted / 2).saturating_add(choices).saturating_add(calls.min(calls_most))
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
