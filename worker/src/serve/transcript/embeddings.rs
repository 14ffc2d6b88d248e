//! Vectors as one JSON object. Each is written when it comes, so that no turn of the runtime has
//! to write them all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_openai_wire::embeddings::{self, Embedding, EmbeddingsUsage, Encoding, Vector};

use super::{Facts, place};
use crate::engine;
use crate::serve::embeddings::EmbeddingsShape;

/// An answer of vectors, as they come in.
pub(in crate::serve) struct EmbeddingsWhole {
    facts: Facts,
    encoding: Encoding,
    /// JSON of each input's entry, once its vector is there.
    entries: Vec<Option<Vec<u8>>>,
}

impl EmbeddingsWhole {
    pub(super) fn new(shape: EmbeddingsShape, facts: Facts) -> Self {
        Self { facts, encoding: shape.encoding, entries: vec![None; place(shape.inputs)] }
    }

    /// False for an input that nobody sent, or one that has its vector.
    pub(super) fn vector(&mut self, index: u32, vector: Vec<f32>) -> bool {
        let Some(entry @ None) = self.entries.get_mut(place(index)) else { return false };
        if !vector.iter().all(|number| number.is_finite()) {
            return false;
        }
        let vector = match self.encoding {
            Encoding::Float => Vector::Float(vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.into_iter().flat_map(f32::to_le_bytes).collect();
                Vector::Base64(STANDARD.encode(bytes))
            }
        };
        *entry = Some(Embedding::new(index, vector).to_json());
        true
    }

    /// Whether every input has its vector.
    pub(super) fn is_complete(&self) -> bool {
        self.entries.iter().all(Option::is_some)
    }

    pub(super) fn finish(&mut self, usage: engine::Usage) -> Vec<u8> {
        let entries = std::mem::take(&mut self.entries).into_iter().flatten();
        let usage = EmbeddingsUsage { prompt_tokens: usage.prompt, total_tokens: usage.prompt };
        embeddings::answer(entries, &self.facts.model, usage)
    }
}
