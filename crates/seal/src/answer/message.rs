//! What head and refusal say, as JSON.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Bytes of either at most.
const BYTES_MAX: usize = 64 * 1024;

/// The first frame of an answer: what its client sees before the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerHead {
    pub status: u16,
    pub content_type: String,
    /// Types of the tools that were left out, comma-separated.
    pub dropped_tools: Option<String>,
}

impl AnswerHead {
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a head has string keys")
    }

    /// `None` where that is no head.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        read(json)
    }
}

/// The only frame of a refusal: a status and OpenAI's error object.
#[derive(Clone, Serialize, Deserialize)]
pub struct SealedRefusal {
    pub status: u16,
    /// `{"error": …}`, as the worker wrote it.
    pub body: Box<RawValue>,
}

impl SealedRefusal {
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a refusal has string keys")
    }

    /// `None` where that is no refusal.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        read(json)
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    (json.len() <= BYTES_MAX).then(|| serde_json::from_slice(json).ok()).flatten()
}
