//! Texts as completions and embeddings take them: a string, token ids, or a list of either.

use serde_json::Value;

use crate::error::InvalidRequest;
use crate::fields::{Checked, Fields, name_of};

/// One text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Text(String),
    /// Ids of the model's own vocabulary; whether it has them is for the model to say.
    Tokens(Vec<u32>),
}

impl Input {
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Tokens(tokens) => tokens.is_empty(),
        }
    }
}

/// Reads the field `key`, which has at least one text.
pub(crate) fn inputs(fields: &mut Fields, key: &str) -> Checked<Vec<Input>> {
    let path = fields.name(key);
    let items = match fields.take(key) {
        None => return Err(fields.missing(key)),
        Some(Value::String(text)) => return Ok(vec![Input::Text(text)]),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(wrong(&path, &other)),
    };
    match items.first() {
        None => {
            let message = format!("Invalid '{path}': empty array. Expected at least one element.");
            Err(InvalidRequest::param("empty_array", path, message))
        }
        Some(Value::Number(_)) => Ok(vec![Input::Tokens(tokens(&path, items)?)]),
        Some(_) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| {
                let path = format!("{path}[{index}]");
                match item {
                    Value::String(text) => Ok(Input::Text(text)),
                    Value::Array(items) => tokens(&path, items).map(Input::Tokens),
                    other => Err(wrong(&path, &other)),
                }
            })
            .collect(),
    }
}

fn tokens(path: &str, items: Vec<Value>) -> Checked<Vec<u32>> {
    let token = |(index, item): (usize, Value)| {
        let token = item.as_u64().and_then(|token| u32::try_from(token).ok());
        token.ok_or_else(|| {
            let path = format!("{path}[{index}]");
            InvalidRequest::wrong_type(&path, "a token id", name_of(&item))
        })
    };
    items.into_iter().enumerate().map(token).collect()
}

fn wrong(path: &str, got: &Value) -> InvalidRequest {
    let expected = "a string, token ids, or an array of either";
    InvalidRequest::wrong_type(path, expected, name_of(got))
}
