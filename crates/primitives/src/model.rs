//! What is served, and how far its claims reach.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::text::{ParseError, text_form};

/// A model's public name, as in `tiny-demo` or `Qwen/Qwen3-0.6B`: 1 to 200 bytes of
/// letters, digits and `-._:/@+`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName(Arc<str>);

impl ModelName {
    pub const BYTES_MAX: usize = 200;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:/@+".contains(&b);
        if text.is_empty() || text.len() > Self::BYTES_MAX || !text.bytes().all(plain) {
            return Err(ParseError { what: "model name" });
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(ModelName, "model name");

/// What a model makes of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// Text that goes on from a conversation or from other text.
    Chat,
    /// A vector for each text.
    Embedding,
}

impl ModelKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
        }
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What stands behind a worker's evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assurance {
    /// A processor's maker vouches for it.
    Hardware,
    /// A key of our own vouches for it: for development, no confidentiality at all.
    Software,
}

impl Assurance {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Software => "software",
        }
    }
}

impl fmt::Display for Assurance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
