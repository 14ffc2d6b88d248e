//! Text from outside with its bound in the type.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// Text of at most `BYTES_MAX` bytes; longer text does not parse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct BoundedText<const BYTES_MAX: usize>(String);

impl<const BYTES_MAX: usize> BoundedText<BYTES_MAX> {
    /// `None` where `text` is longer than the bound.
    pub fn new(text: String) -> Option<Self> {
        (text.len() <= BYTES_MAX).then_some(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de, const BYTES_MAX: usize> Deserialize<'de> for BoundedText<BYTES_MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<const BYTES_MAX: usize>;

        impl<const BYTES_MAX: usize> Visitor<'_> for TextVisitor<BYTES_MAX> {
            type Value = BoundedText<BYTES_MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "text of at most {BYTES_MAX} bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                BoundedText::new(text.to_owned())
                    .ok_or_else(|| E::invalid_length(text.len(), &self))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}
