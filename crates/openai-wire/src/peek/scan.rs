//! The scan: JSON passes by once, and of a field that matters its shape stays behind.
//!
//! Every value goes through the parser's recursion limit and is counted; where too many came the
//! scan ends, and the caller words it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{CHOICES_MAX, Fields, PeekError};
use crate::endpoint::Endpoint;

/// Reads one object, and nothing behind it.
pub(super) fn scan<'a>(text: &'a str, top: Top<'_>) -> Result<Fields<'a>, serde_json::Error> {
    let mut input = serde_json::Deserializer::from_str(text);
    let fields = (&mut input).deserialize_map(top)?;
    input.end().map(|()| fields)
}

/// One field, absent or there, and whether it came more than once.
#[derive(Default)]
pub(super) struct Slot<'a> {
    shape: Option<Shape<'a>>,
    is_repeated: bool,
}

impl<'a> Slot<'a> {
    fn fill(&mut self, shape: Shape<'a>) {
        self.is_repeated |= self.shape.replace(shape).is_some();
    }

    /// The value, `null` where the field is absent.
    pub(super) fn once(self, name: &str) -> Result<Shape<'a>, PeekError> {
        if self.is_repeated {
            let message = format!("Duplicate parameter: '{name}'.");
            return Err(PeekError::param("duplicate_parameter", name, message));
        }
        Ok(self.shape.unwrap_or(Shape::Null))
    }

    pub(super) fn boolean(self, name: &str) -> Result<bool, PeekError> {
        match self.once(name)? {
            Shape::Null => Ok(false),
            Shape::Bool(value) => Ok(value),
            other => Err(other.is_not(name, "a boolean")),
        }
    }

    pub(super) fn tokens(self, name: &str) -> Result<Option<u64>, PeekError> {
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

    /// How many there are in a list.
    pub(super) fn elements(self, name: &str) -> Result<u32, PeekError> {
        match self.once(name)? {
            Shape::Null => Ok(0),
            Shape::Array(elements) => Ok(elements.count),
            other => Err(other.is_not(name, "an array")),
        }
    }

    pub(super) fn choices(self, name: &str) -> Result<u32, PeekError> {
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
pub(super) enum Shape<'a> {
    Null,
    Bool(bool),
    Integer(i128),
    Fraction,
    Text(Cow<'a, str>),
    Array(Elements),
    Object,
}

/// What a list holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elements {
    pub(super) count: u32,
    /// Of all of them; `None` where there is none, or where they differ.
    pub(super) kind: Option<Kind>,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Integer,
    Fraction,
    Text,
    Array,
    Object,
}

impl Shape<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Bool(_) => Kind::Bool,
            Self::Integer(_) => Kind::Integer,
            Self::Fraction => Kind::Fraction,
            Self::Text(_) => Kind::Text,
            Self::Array(_) => Kind::Array,
            Self::Object => Kind::Object,
        }
    }

    pub(super) fn is_not(&self, name: &str, expected: &str) -> PeekError {
        let got = match self.kind() {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Integer => "an integer",
            Kind::Fraction => "a decimal number",
            Kind::Text => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        };
        PeekError::wrong_type(name, expected, got)
    }
}

/// Takes one value from what is left; the error only ends the scan.
fn spend<E: serde::de::Error>(values_left: &mut usize) -> Result<(), E> {
    *values_left = values_left.saturating_sub(1);
    if *values_left == 0 { Err(E::custom("too many values")) } else { Ok(()) }
}

/// Reads the outermost object.
pub(super) struct Top<'c> {
    pub(super) endpoint: Endpoint,
    pub(super) values_left: &'c mut usize,
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        let Self { endpoint, values_left } = self;
        while let Some(Text(key)) = map.next_key()? {
            if key == "stream_options" && endpoint != Endpoint::Embeddings {
                let include_usage = Some(&mut fields.include_usage);
                let shape = map.next_value_seed(Look { values_left, include_usage })?;
                fields.stream_options.fill(shape);
            } else if let Some(slot) = fields.slot(endpoint, &key) {
                slot.fill(map.next_value_seed(Look { values_left, include_usage: None })?);
            } else {
                let kind = map.next_value_seed(Skip { values_left })?;
                let is_rule = matches!(key.as_ref(), "logit_bias" | "stop");
                fields.has_token_rules |= is_rule && kind != Kind::Null;
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
        let mut elements = Elements { count: 0, kind: None };
        while let Some(kind) = seq.next_element_seed(Skip { values_left: self.values_left })? {
            elements.kind = match elements {
                Elements { count: 0, .. } => Some(kind),
                Elements { kind: known, .. } => known.filter(|known| *known == kind),
            };
            // Bounded by the values of a body.
            elements.count = elements.count.saturating_add(1);
        }
        Ok(Shape::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Shape<'de>, A::Error> {
        let values_left = self.values_left;
        while let Some(Text(key)) = map.next_key()? {
            match &mut self.include_usage {
                Some(slot) if key == "include_usage" => {
                    slot.fill(map.next_value_seed(Look { values_left, include_usage: None })?);
                }
                _ => {
                    map.next_value_seed(Skip { values_left })?;
                }
            }
        }
        Ok(Shape::Object)
    }
}

/// Passes over one value, counting the values inside it, and tells its type. Unlike `IgnoredAny`
/// it goes through the parser's recursion limit, and fails where a tree of the same text would.
struct Skip<'c> {
    values_left: &'c mut usize,
}

impl<'de> DeserializeSeed<'de> for Skip<'_> {
    type Value = Kind;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Kind, D::Error> {
        spend(self.values_left)?;
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip<'_> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Kind, E> {
        Ok(Kind::Bool)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Kind, E> {
        Ok(Kind::Integer)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Kind, E> {
        Ok(Kind::Integer)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Kind, E> {
        Ok(Kind::Fraction)
    }

    fn visit_str<E>(self, _: &str) -> Result<Kind, E> {
        Ok(Kind::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        while seq.next_element_seed(Skip { values_left: self.values_left })?.is_some() {}
        Ok(Kind::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        while map.next_key::<Text<'de>>()?.is_some() {
            map.next_value_seed(Skip { values_left: self.values_left })?;
        }
        Ok(Kind::Object)
    }
}
