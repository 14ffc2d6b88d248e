//! A schema as rows: one for each field, nested ones under their full name.

use std::fmt::Write;

use serde_json::Value;

use super::resolve;
use super::text::{escape, inline};

/// Inline objects inside one another; what goes deeper has a name and a section of its own.
const DEPTH_MAX: usize = 5;

/// A table of the fields of an object, or a line where the schema is something else.
pub(super) fn table(spec: &Value, schema: &Value) -> String {
    let mut rows = String::new();
    push_rows(spec, schema, "", 0, &mut rows);
    if rows.is_empty() {
        return format!("<p class=\"type\">{}</p>\n", kind(schema));
    }
    let head = "<tr><th>Field</th><th>Type</th><th>Meaning</th></tr>";
    format!("<table class=\"fields\">{head}\n{rows}</table>\n")
}

fn push_rows(spec: &Value, schema: &Value, prefix: &str, depth: usize, rows: &mut String) {
    if depth > DEPTH_MAX {
        return;
    }
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let full = format!("{prefix}{name}");
        let mark = if is_required(name) { "<span class=\"must\">required</span>" } else { "" };
        push!(
            rows,
            "<tr><td><code>{}</code>{mark}</td><td class=\"type\">{}</td><td>{}</td></tr>\n",
            escape(&full),
            kind(field),
            meaning(spec, field)
        );
        push_rows(spec, field, &format!("{full}."), depth + 1, rows);
        push_rows(spec, &field["items"], &format!("{full}[]."), depth + 1, rows);
        if let Some(variants) = variants(field) {
            for variant in variants {
                push_rows(spec, variant, &format!("{full}."), depth + 1, rows);
            }
        }
    }
}

fn variants(schema: &Value) -> Option<&Vec<Value>> {
    schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array())
}

/// What a value may be, in a few words with links.
pub(super) fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    if let Some(value) = schema.get("const") {
        return code(value);
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(code).collect::<Vec<_>>().join(" · ");
    }
    if let Some(variants) = variants(schema) {
        return variants.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let one = |name: &str| match name {
        "array" if schema["items"].is_object() => format!("list of {}", kind(&schema["items"])),
        "array" => "list".to_owned(),
        name => name.to_owned(),
    };
    match &schema["type"] {
        Value::String(name) => one(name),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).map(one).collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".to_owned(),
    }
}

fn code(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("<code>{}</code>", escape(&text))
}

/// The description of a field, else of what it refers to, then bounds and default.
fn meaning(spec: &Value, field: &Value) -> String {
    let target = resolve(spec, field);
    let own = field["description"].as_str();
    let words = own.or_else(|| target["description"].as_str()).unwrap_or_default();
    let mut out = inline(words.trim());
    for bound in bounds(target) {
        push!(out, " <span class=\"bound\">{bound}</span>");
    }
    if field["deprecated"] == true {
        out.push_str(" <span class=\"bound\">deprecated</span>");
    }
    let default = field.get("default").or_else(|| target.get("default"));
    if let Some(default) = default {
        push!(out, " <span class=\"bound\">default {}</span>", code(default));
    }
    out
}

fn bounds(schema: &Value) -> Vec<String> {
    let pairs = [
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " elements"),
        ("minProperties", "maxProperties", " entries"),
    ];
    // What an integer can hold is no bound that anybody wants to read.
    let is_endless =
        |value: &Value| [i64::MAX.cast_unsigned(), u64::MAX].map(Value::from).contains(value);
    let value = |name: &str| schema.get(name).filter(|value| !is_endless(value));
    pairs
        .into_iter()
        .filter_map(|(low, high, unit)| match (value(low), value(high)) {
            (Some(low), Some(high)) => Some(format!("{low} to {high}{unit}")),
            (None, Some(high)) => Some(format!("at most {high}{unit}")),
            (Some(low), None) if low != 0 => Some(format!("at least {low}{unit}")),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_read_like_a_sentence() {
        let cases = [
            (json!({"type": ["integer", "null"]}), "integer or null"),
            (json!({"type": "array", "items": {"type": "string"}}), "list of string"),
            (json!({"$ref": "#/components/schemas/Usage"}), "<a href=\"#Usage\">Usage</a>"),
            (json!({"enum": ["a", null]}), "<code>a</code> · <code>null</code>"),
            (json!({"anyOf": [{"const": 1}, {"type": "null"}]}), "<code>1</code> or null"),
            (json!({}), "anything"),
        ];
        for (schema, words) in cases {
            assert_eq!(kind(&schema), words, "{schema}");
        }
    }

    #[test]
    fn rows_have_bounds_defaults_and_nested_names() {
        let schema = json!({"required": ["a"], "properties": {
            "a": {"type": "integer", "minimum": 1, "maximum": 9, "default": 2, "description": "A."},
            "b": {"type": "array", "items": {"properties": {"c": {"type": "string", "maxLength": 4}}}},
        }});
        let html = table(&Value::Null, &schema);
        for part in ["<code>a</code><span class=\"must\">", "1 to 9", "default <code>2</code>"] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
        assert!(html.contains("<code>b[].c</code>") && html.contains("at most 4 characters"));
    }
}
