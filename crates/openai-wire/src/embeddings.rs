//! Embeddings: the request as a typed view, and the shape of an answer.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::error::InvalidRequest;
use crate::fields::{Checked, Fields};
use crate::inputs::{Input, inputs};
use crate::peek::{self, Peek};

/// What a client asks for. Types are checked; whether it can be honoured is not.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingsRequest {
    pub model: String,
    /// At least one, none of them empty.
    pub inputs: Vec<Input>,
    pub encoding: Encoding,
    /// At least 1.
    pub dimensions: Option<u32>,
    /// Every field that this view does not name, as it came; `null`s included.
    pub extra: Map<String, Value>,
}

/// How a vector is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// An array of numbers.
    Float,
    /// Base64 of 32-bit floats, least byte first.
    Base64,
}

impl EmbeddingsRequest {
    /// Reads a body that [`peek::read`] takes; both always agree about the model.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidRequest> {
        Self::parse_peeked(&peek::read(Endpoint::Embeddings, body)?, body)
    }

    /// The same for a body that was looked at already, as `peek`.
    pub fn parse_peeked(peek: &Peek<'_>, body: &[u8]) -> Result<Self, InvalidRequest> {
        let map = serde_json::from_slice(body).map_err(|error| peek::unreadable(&error))?;
        let mut fields = Fields::top(map);
        fields.take("model");
        let inputs = inputs(&mut fields, "input")?;
        if let Some(index) = inputs.iter().position(Input::is_empty) {
            let param =
                if inputs.len() == 1 { "input".to_owned() } else { format!("input[{index}]") };
            let message = format!("Invalid '{param}': there is nothing to embed.");
            return Err(InvalidRequest::param("invalid_value", param, message));
        }
        Ok(Self {
            model: peek.model.clone().into_owned(),
            inputs,
            encoding: encoding(&mut fields)?,
            dimensions: dimensions(&mut fields)?,
            extra: fields.rest(),
        })
    }
}

fn encoding(fields: &mut Fields) -> Checked<Encoding> {
    match fields.text("encoding_format")?.as_deref() {
        None | Some("float") => Ok(Encoding::Float),
        Some("base64") => Ok(Encoding::Base64),
        Some(_) => Err(fields.invalid("encoding_format", "supported are float and base64")),
    }
}

fn dimensions(fields: &mut Fields) -> Checked<Option<u32>> {
    let Some(dimensions) = fields.integer("dimensions")? else { return Ok(None) };
    match u32::try_from(dimensions) {
        Ok(dimensions) if dimensions >= 1 => Ok(Some(dimensions)),
        _ => Err(fields.invalid("dimensions", "expected a value of at least 1")),
    }
}

/// A whole answer around its vectors, which are JSON already: there may be many megabytes of
/// them, and each is written when it comes. `entries` are in the order of the inputs.
pub fn answer(
    entries: impl IntoIterator<Item = Vec<u8>>,
    model: &str,
    usage: EmbeddingsUsage,
) -> Vec<u8> {
    let mut out = b"{\"object\":\"list\",\"data\":[".to_vec();
    for (index, entry) in entries.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&entry);
    }
    out.extend_from_slice(b"],\"model\":");
    out.extend_from_slice(&json(&model));
    out.extend_from_slice(b",\"usage\":");
    out.extend_from_slice(&json(&usage));
    out.push(b'}');
    out
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("an answer has string keys and finite numbers")
}

/// One vector of an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Embedding {
    pub object: Cow<'static, str>,
    pub index: u32,
    pub embedding: Vector,
}

impl Embedding {
    pub fn new(index: u32, embedding: Vector) -> Self {
        Self { object: Cow::Borrowed("embedding"), index, embedding }
    }

    pub fn to_json(&self) -> Vec<u8> {
        json(self)
    }
}

/// A vector in one of its two encodings.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EmbeddingsUsage {
    pub prompt_tokens: u64,
    pub total_tokens: u64,
}
