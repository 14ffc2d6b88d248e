//! One JSON object taken apart field by field, so that every complaint names its parameter.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::InvalidRequest;

pub(crate) type Checked<T> = Result<T, InvalidRequest>;

/// What is left of an object, and where it stands in the body: `""`, `messages[0]`, ….
pub(crate) struct Fields {
    map: Map<String, Value>,
    path: String,
}

impl Fields {
    pub(crate) fn top(map: Map<String, Value>) -> Self {
        Self { map, path: String::new() }
    }

    /// The object at `path`, or a complaint that `path` is no object.
    pub(crate) fn at(path: String, value: Value) -> Checked<Self> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            other => Err(InvalidRequest::wrong_type(&path, "an object", name_of(&other))),
        }
    }

    /// The full name of a field of this object.
    pub(crate) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Where this object stands.
    pub(crate) fn path(self) -> String {
        self.path
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    /// `None` where the field is absent or null.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    pub(crate) fn rest(self) -> Map<String, Value> {
        self.map
    }

    pub(crate) fn missing(&self, key: &str) -> InvalidRequest {
        InvalidRequest::missing(&self.name(key))
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Checked<Option<bool>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong_type(key, "a boolean", &other)),
        }
    }

    pub(crate) fn text(&mut self, key: &str) -> Checked<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong_type(key, "a string", &other)),
        }
    }

    pub(crate) fn array(&mut self, key: &str) -> Checked<Option<Vec<Value>>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.wrong_type(key, "an array", &other)),
        }
    }

    pub(crate) fn object(&mut self, key: &str) -> Checked<Option<Self>> {
        let path = self.name(key);
        self.take(key).map(|value| Self::at(path, value)).transpose()
    }

    pub(crate) fn integer(&mut self, key: &str) -> Checked<Option<i64>> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(integer) => Ok(Some(integer)),
                None => Err(self.wrong_type(key, "an integer", &value)),
            },
        }
    }

    pub(crate) fn number(&mut self, key: &str, range: RangeInclusive<f32>) -> Checked<Option<f32>> {
        let name = self.name(key);
        self.take(key).map(|value| number_within(&name, &value, range)).transpose()
    }

    pub(crate) fn wrong_type(&self, key: &str, expected: &str, got: &Value) -> InvalidRequest {
        InvalidRequest::wrong_type(&self.name(key), expected, name_of(got))
    }

    pub(crate) fn invalid(&self, key: &str, why: &str) -> InvalidRequest {
        let name = self.name(key);
        let message = format!("Invalid '{name}': {why}.");
        InvalidRequest::param("invalid_value", name, message)
    }
}

/// A finite number inside `range`.
pub(crate) fn number_within(name: &str, value: &Value, range: RangeInclusive<f32>) -> Checked<f32> {
    let Ok(number) = f32::deserialize(value) else {
        return Err(InvalidRequest::wrong_type(name, "a number", name_of(value)));
    };
    if !range.contains(&number) {
        let (low, high) = range.into_inner();
        let message = format!("Invalid '{name}': expected a value from {low} to {high}.");
        return Err(InvalidRequest::param("decimal_out_of_range", name, message));
    }
    Ok(number)
}

pub(crate) fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
