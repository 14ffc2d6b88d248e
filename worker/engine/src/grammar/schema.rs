//! A client's JSON schema, made fit for a model to write by.
//!
//! Where a schema leaves room that only a lost model would use, the room is closed. What a schema
//! accepts is narrowed in these ways and no others:
//!
//! - between the parts of an answer stands at most one space, where people put one;
//! - an object whose `properties` are listed has these and no others, unless the schema says
//!   something of others (`additionalProperties`, `patternProperties`, …) or puts itself together
//!   from several (`allOf`, …);
//! - an integer without a bound lies within ±10¹⁸;
//! - properties come in the schema's order.
//!
//! It is widened in one: `oneOf` counts as `anyOf`. A `format` that nobody here knows is a comment,
//! as JSON Schema has it. Strings, fractions and arrays without bounds have none: only the token
//! limit ends them.

use serde_json::{Map, Value, json};

use super::GrammarError;

/// An integer without a bound of its own lies between this and its negative.
const INTEGER_MAX: f64 = 1e18;

/// Formats that are enforced.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];

/// What the grammars cannot enforce and JSON Schema means.
const UNENFORCED: [&str; 16] = [
    "$dynamicRef",
    "$recursiveRef",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "maxContains",
    "minContains",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
];

/// The schema as the grammar's compiler takes it. `strict` refuses what cannot be enforced; without
/// it such keywords are as good as absent.
pub(super) fn prepare(schema: &Value, strict: bool) -> Result<Value, GrammarError> {
    let mut schema = schema.clone();
    let closes = !is_composed(&schema);
    visit(&mut schema, closes, strict)?;
    let Some(root) = schema.as_object_mut() else { return Err(GrammarError::Refused) };
    let options = json!({
        "whitespace_flexible": false,
        "item_separator": ", ?",
        "key_separator": ": ?",
        "coerce_one_of": true,
        "lenient": !strict,
    });
    root.insert("x-guidance".to_owned(), options);
    Ok(schema)
}

/// Whether some object is described in more than one place, so that none may be closed.
fn is_composed(schema: &Value) -> bool {
    let Some(object) = schema.as_object() else { return false };
    let has = |name: &str| object.contains_key(name);
    let refers_and_describes = has("$ref") && (has("properties") || has("required"));
    has("allOf")
        || has("if")
        || has("dependentSchemas")
        || has("unevaluatedProperties")
        || refers_and_describes
        || children(object).any(is_composed)
}

fn visit(schema: &mut Value, closes: bool, strict: bool) -> Result<(), GrammarError> {
    let Some(object) = schema.as_object_mut() else { return Ok(()) };
    if object.get("propertyNames").is_some_and(says_nothing_of_names) {
        object.remove("propertyNames");
    }
    if let Some(keyword) = UNENFORCED.into_iter().find(|name| strict && object.contains_key(*name))
    {
        return Err(GrammarError::Keyword(keyword));
    }
    let format = object.get("format").and_then(Value::as_str);
    if format.is_some_and(|format| !FORMATS.contains(&format)) {
        object.remove("format");
    }
    bound_integer(object);
    let says_more = ["additionalProperties", "patternProperties", "anyOf", "oneOf"];
    let describes = object.contains_key("properties");
    if closes && describes && !says_more.into_iter().any(|name| object.contains_key(name)) {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    // An alternative of an object that is described here as well must leave room for the rest.
    let alternatives_close = closes && !describes;
    for (name, value) in object.iter_mut() {
        match (name.as_str(), value) {
            (
                "properties" | "patternProperties" | "$defs" | "definitions",
                Value::Object(named),
            ) => {
                for schema in named.values_mut() {
                    visit(schema, closes, strict)?;
                }
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(several)) => {
                for schema in several {
                    visit(schema, alternatives_close, strict)?;
                }
            }
            ("prefixItems" | "items", Value::Array(several)) => {
                for schema in several {
                    visit(schema, closes, strict)?;
                }
            }
            ("items" | "additionalItems" | "additionalProperties", schema) => {
                visit(schema, closes, strict)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Every name is a string; generators of schemas say so for maps.
fn says_nothing_of_names(names: &Value) -> bool {
    *names == json!({ "type": "string" }) || *names == json!({}) || *names == Value::Bool(true)
}

/// A weak model would write digits until its limit.
fn bound_integer(object: &mut Map<String, Value>) {
    let is_integer = match object.get("type") {
        Some(Value::String(name)) => name == "integer",
        Some(Value::Array(names)) => {
            names.iter().any(|name| name == "integer") && !names.iter().any(|name| name == "number")
        }
        _ => false,
    };
    let is_listed = object.contains_key("enum") || object.contains_key("const");
    if !is_integer || is_listed {
        return;
    }
    let bound = |names: [&str; 2]| {
        names.into_iter().find_map(|name| object.get(name)).map(|value| value.as_f64())
    };
    let lower = bound(["minimum", "exclusiveMinimum"]);
    let upper = bound(["maximum", "exclusiveMaximum"]);
    // Bounds beyond ours, or none that are numbers, are the client's own affair.
    let fits = |bound: Option<Option<f64>>| match bound {
        None => true,
        Some(bound) => bound.is_some_and(|bound| bound.abs() < INTEGER_MAX),
    };
    if !fits(lower) || !fits(upper) {
        return;
    }
    if lower.is_none() {
        object.insert("minimum".to_owned(), (-INTEGER_MAX).into());
    }
    if upper.is_none() {
        object.insert("maximum".to_owned(), INTEGER_MAX.into());
    }
}

/// Schemas directly inside this one.
fn children(object: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    object.iter().flat_map(|(name, value)| -> Vec<&Value> {
        match (name.as_str(), value) {
            (
                "properties" | "patternProperties" | "$defs" | "definitions",
                Value::Object(named),
            ) => named.values().collect(),
            ("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items", Value::Array(several)) => {
                several.iter().collect()
            }
            ("items" | "additionalItems" | "additionalProperties", schema) => vec![schema],
            _ => Vec::new(),
        }
    })
}
