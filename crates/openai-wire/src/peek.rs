//! The few fields of a request that routing and metering need, read in one scan of the body.
//!
//! Nothing is copied but escaped strings, and no tree is built. A gateway that peeks and a worker
//! that parses must never disagree about what a body says, so a field that appears twice is
//! refused, and so is a body nested more deeply, or made of more values, than a parser will take.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

pub use crate::error::InvalidRequest as PeekError;

/// JSON values in one body. Text of any length is one value; this bounds what a tree would take.
pub const VALUES_MAX: usize = 500_000;
/// The greatest `n` that the API defines.
pub const CHOICES_MAX: u32 = 128;

/// What a chat completion request asks for, as far as money and routing go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek<'a> {
    pub model: Cow<'a, str>,
    pub stream: bool,
    /// `stream_options.include_usage`: the client expects a last chunk with the usage.
    pub include_usage: bool,
    /// `max_completion_tokens`, else `max_tokens`; at least 1.
    pub max_tokens: Option<u64>,
    /// Choices, 1 to [`CHOICES_MAX`].
    pub n: u32,
}

/// Reads the body of a chat completion request.
pub fn chat(body: &[u8]) -> Result<Peek<'_>, PeekError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let place = error.valid_up_to();
        let message = format!("The request body is not valid UTF-8 (at byte {place}).");
        PeekError::body("invalid_utf8", message)
    })?;
    let mut values_left = VALUES_MAX;
    let mut input = serde_json::Deserializer::from_str(text);
    let fields = (&mut input)
        .deserialize_map(Top { values_left: &mut values_left })
        .and_then(|fields| input.end().map(|()| fields));
    match fields {
        Ok(fields) => fields.check(),
        Err(_) if values_left == 0 => {
            let message = format!("The request body has more than {VALUES_MAX} JSON values.");
            Err(PeekError::body("too_many_values", message))
        }
        Err(error) => Err(unreadable(&error)),
    }
}

pub(crate) fn unreadable(error: &serde_json::Error) -> PeekError {
    if error.is_data() {
        return PeekError::body("invalid_type", "The request body must be a JSON object.");
    }
    // A syntax error of serde_json names a place, never the text around it.
    let message = format!("We could not parse the JSON body of your request: {error}.");
    PeekError::body("invalid_json", message)
}

/// The fields as they stand in the body, of whatever type, before any is judged.
#[derive(Default)]
struct Fields<'a> {
    model: Slot<'a>,
    messages: Slot<'a>,
    stream: Slot<'a>,
    stream_options: Slot<'a>,
    include_usage: Slot<'a>,
    max_completion_tokens: Slot<'a>,
    max_tokens: Slot<'a>,
    n: Slot<'a>,
}

impl<'a> Fields<'a> {
    fn slot(&mut self, key: &str) -> Option<&mut Slot<'a>> {
        match key {
            "model" => Some(&mut self.model),
            "messages" => Some(&mut self.messages),
            "stream" => Some(&mut self.stream),
            "max_completion_tokens" => Some(&mut self.max_completion_tokens),
            "max_tokens" => Some(&mut self.max_tokens),
            "n" => Some(&mut self.n),
            _ => None,
        }
    }

    fn check(self) -> Result<Peek<'a>, PeekError> {
        let model = match self.model.once("model")? {
            Shape::Null => return Err(PeekError::missing("model")),
            Shape::Text(text) if text.is_empty() => {
                return Err(PeekError::param("invalid_value", "model", "'model' is empty."));
            }
            Shape::Text(text) => text,
            other => return Err(other.is_not("model", "a string")),
        };
        match self.messages.once("messages")? {
            Shape::Null => return Err(PeekError::missing("messages")),
            Shape::Array { is_empty: true } => {
                let message = "Invalid 'messages': empty array. Expected at least one message.";
                return Err(PeekError::param("empty_array", "messages", message));
            }
            Shape::Array { is_empty: false } => {}
            other => return Err(other.is_not("messages", "an array of objects")),
        }
        match self.stream_options.once("stream_options")? {
            Shape::Null | Shape::Object => {}
            other => return Err(other.is_not("stream_options", "an object")),
        }
        let wanted = self.max_completion_tokens.tokens("max_completion_tokens")?;
        let older = self.max_tokens.tokens("max_tokens")?;
        Ok(Peek {
            model,
            stream: self.stream.boolean("stream")?,
            include_usage: self.include_usage.boolean("stream_options.include_usage")?,
            max_tokens: wanted.or(older),
            n: self.n.choices("n")?,
        })
    }
}

/// One field, absent or there, and whether it came more than once.
#[derive(Default)]
struct Slot<'a> {
    shape: Option<Shape<'a>>,
    is_repeated: bool,
}

impl<'a> Slot<'a> {
    fn fill(&mut self, shape: Shape<'a>) {
        self.is_repeated |= self.shape.replace(shape).is_some();
    }

    /// The value, `null` where the field is absent.
    fn once(self, name: &str) -> Result<Shape<'a>, PeekError> {
        if self.is_repeated {
            let message = format!("Duplicate parameter: '{name}'.");
            return Err(PeekError::param("duplicate_parameter", name, message));
        }
        Ok(self.shape.unwrap_or(Shape::Null))
    }

    fn boolean(self, name: &str) -> Result<bool, PeekError> {
        match self.once(name)? {
            Shape::Null => Ok(false),
            Shape::Bool(value) => Ok(value),
            other => Err(other.is_not(name, "a boolean")),
        }
    }

    fn tokens(self, name: &str) -> Result<Option<u64>, PeekError> {
        match self.once(name)? {
            Shape::Null => Ok(None),
            Shape::Integer(value) => match u64::try_from(value) {
                Ok(value) if value >= 1 => Ok(Some(value)),
                _ => {
                    let message = format!("Invalid '{name}': expected a value of at least 1.");
                    Err(PeekError::param("integer_below_min_value", name, message))
                }
            },
            other => Err(other.is_not(name, "an integer")),
        }
    }

    fn choices(self, name: &str) -> Result<u32, PeekError> {
        match self.once(name)? {
            Shape::Null => Ok(1),
            Shape::Integer(value) => match u32::try_from(value) {
                Ok(value) if (1..=CHOICES_MAX).contains(&value) => Ok(value),
                _ => {
                    let message =
                        format!("Invalid '{name}': expected a value from 1 to {CHOICES_MAX}.");
                    Err(PeekError::param("integer_out_of_range", name, message))
                }
            },
            other => Err(other.is_not(name, "an integer")),
        }
    }
}

/// One value, as much of it as a type check needs.
enum Shape<'a> {
    Null,
    Bool(bool),
    Integer(i128),
    Fraction,
    Text(Cow<'a, str>),
    Array { is_empty: bool },
    Object,
}

impl Shape<'_> {
    fn is_not(&self, name: &str, expected: &str) -> PeekError {
        let got = match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Fraction => "a decimal number",
            Self::Text(_) => "a string",
            Self::Array { .. } => "an array",
            Self::Object => "an object",
        };
        PeekError::wrong_type(name, expected, got)
    }
}

/// Takes one value from what is left; the error only ends the scan, [`chat`] words it.
fn spend<E: serde::de::Error>(values_left: &mut usize) -> Result<(), E> {
    *values_left = values_left.saturating_sub(1);
    if *values_left == 0 { Err(E::custom("too many values")) } else { Ok(()) }
}

/// Reads the outermost object.
struct Top<'c> {
    values_left: &'c mut usize,
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        let values_left = self.values_left;
        while let Some(Text(key)) = map.next_key()? {
            if key == "stream_options" {
                let include_usage = Some(&mut fields.include_usage);
                let shape = map.next_value_seed(Look { values_left, include_usage })?;
                fields.stream_options.fill(shape);
            } else if let Some(slot) = fields.slot(&key) {
                slot.fill(map.next_value_seed(Look { values_left, include_usage: None })?);
            } else {
                map.next_value_seed(Skip { values_left })?;
            }
        }
        Ok(fields)
    }
}

/// A key: borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads the shape of one value, and `include_usage` inside it where there is a slot for it.
struct Look<'c, 'de> {
    values_left: &'c mut usize,
    include_usage: Option<&'c mut Slot<'de>>,
}

impl<'de> DeserializeSeed<'de> for Look<'_, 'de> {
    type Value = Shape<'de>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Shape<'de>, D::Error> {
        spend(self.values_left)?;
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_, 'de> {
    type Value = Shape<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Shape<'de>, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape<'de>, E> {
        Ok(Shape::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape<'de>, E> {
        Ok(Shape::Integer(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape<'de>, E> {
        Ok(Shape::Integer(value.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape<'de>, E> {
        Ok(Shape::Fraction)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Shape<'de>, E> {
        Ok(Shape::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape<'de>, E> {
        Ok(Shape::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape<'de>, A::Error> {
        let mut is_empty = true;
        while seq.next_element_seed(Skip { values_left: self.values_left })?.is_some() {
            is_empty = false;
        }
        Ok(Shape::Array { is_empty })
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Shape<'de>, A::Error> {
        let values_left = self.values_left;
        while let Some(Text(key)) = map.next_key()? {
            match &mut self.include_usage {
                Some(slot) if key == "include_usage" => {
                    slot.fill(map.next_value_seed(Look { values_left, include_usage: None })?);
                }
                _ => map.next_value_seed(Skip { values_left })?,
            }
        }
        Ok(Shape::Object)
    }
}

/// Passes over one value, counting the values inside it. Unlike `IgnoredAny` it goes through the
/// parser's recursion limit, and fails where a tree of the same text would.
struct Skip<'c> {
    values_left: &'c mut usize,
}

impl<'de> DeserializeSeed<'de> for Skip<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        spend(self.values_left)?;
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Skip { values_left: self.values_left })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<Text<'de>>()?.is_some() {
            map.next_value_seed(Skip { values_left: self.values_left })?;
        }
        Ok(())
    }
}
