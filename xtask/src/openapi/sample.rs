//! Code samples: curl from the operation's first example, the other languages from `x-codeSamples`.

use std::fmt::Write;

use serde_json::Value;

use super::Operation;
use super::text::escape;

/// Identifier and name, in the order of the buttons.
pub(super) const LANGUAGES: [(&str, &str); 4] =
    [("curl", "curl"), ("python", "Python"), ("typescript", "TypeScript"), ("rust", "Rust")];

const START: [(&str, &str); 4] = [
    (
        "curl",
        "export OPENAI_BASE_URL=http://127.0.0.1:8080/v1\nexport OPENAI_API_KEY=sk-cocoon-v1-…",
    ),
    (
        "python",
        "client = OpenAI(\n    base_url=\"http://127.0.0.1:8080/v1\",\n    api_key=\"sk-cocoon-v1-…\",\n)",
    ),
    (
        "typescript",
        "const client = new OpenAI({\n  baseURL: \"http://127.0.0.1:8080/v1\",\n  apiKey: \"sk-cocoon-v1-…\",\n});",
    ),
    (
        "rust",
        "let config = OpenAIConfig::new()\n    .with_api_base(\"http://127.0.0.1:8080/v1\")\n    .with_api_key(\"sk-cocoon-v1-…\");\nlet client = Client::with_config(config);",
    ),
];

/// How a client is pointed at the gateway.
pub(super) fn start() -> String {
    let mut out = String::from("<div class=\"samples\">");
    for (language, text) in START {
        push!(out, "<pre class=\"sample in-{language}\">{}</pre>", escape(text));
    }
    out.push_str("</div>\n");
    out
}

/// One for each language, or curl for all where the operation is none that an SDK has.
pub(super) fn samples(operation: &Operation<'_>) -> String {
    let mut out = String::from("<div class=\"samples\">");
    let others = operation.body["x-codeSamples"].as_array();
    let class = if others.is_some() { "sample in-curl" } else { "sample" };
    push!(out, "<pre class=\"{class}\">{}</pre>", escape(&curl(operation)));
    for other in others.into_iter().flatten() {
        let language = other["lang"].as_str().unwrap_or_default().to_lowercase();
        let source = other["source"].as_str().unwrap_or_default().trim_end();
        push!(out, "<pre class=\"sample in-{language}\">{}</pre>", escape(source));
    }
    out.push_str("</div>\n");
    out
}

fn curl(operation: &Operation<'_>) -> String {
    let path = operation
        .path
        .replace("{id}", if operation.path.contains("models") { "tiny-demo" } else { "$ID" });
    let url = match path.strip_prefix("/v1") {
        Some(rest) => format!("$OPENAI_BASE_URL{rest}"),
        None => format!("http://127.0.0.1:8080{path}"),
    };
    let mut out = format!("curl \"{url}\"");
    if operation.method == "delete" {
        out.push_str(" -X DELETE");
    }
    let needs_session = operation.body["security"][0].get("session").is_some();
    if needs_session {
        out.push_str(" \\\n  -H \"Authorization: Bearer $SESSION_TOKEN\"");
    } else if operation.body["security"] != serde_json::json!([]) {
        out.push_str(" \\\n  -H \"Authorization: Bearer $OPENAI_API_KEY\"");
    }
    let examples = &operation.body["requestBody"]["content"]["application/json"]["examples"];
    let first = examples.as_object().and_then(|examples| examples.values().next());
    if let Some(example) = first {
        push!(
            out,
            " \\\n  -H \"Content-Type: application/json\" \\\n  -d '{}'",
            pretty(&example["value"])
        );
    }
    out
}

/// JSON as a person writes it: short things on one line.
pub(super) fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, 0, &mut out);
    out
}

const WIDTH: usize = 88;

fn write_value(value: &Value, indent: usize, out: &mut String) {
    let line = one_line(value);
    if indent + line.chars().count() <= WIDTH {
        out.push_str(&line);
        return;
    }
    let pad = " ".repeat(indent + 2);
    match value {
        Value::Object(fields) => {
            out.push('{');
            for (index, (key, field)) in fields.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                push!(out, "{comma}\n{pad}{}: ", Value::from(key.as_str()));
                write_value(field, indent + 2, out);
            }
            push!(out, "\n{}}}", " ".repeat(indent));
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                push!(out, "{comma}\n{pad}");
                write_value(item, indent + 2, out);
            }
            push!(out, "\n{}]", " ".repeat(indent));
        }
        _ => out.push_str(&line),
    }
}

fn one_line(value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields
                .map(|(key, field)| format!("{}: {}", Value::from(key.as_str()), one_line(field)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(one_line).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_breaks_where_a_line_would_be_too_long() {
        assert_eq!(pretty(&json!({"a": [1, {"b": null}]})), r#"{ "a": [1, { "b": null }] }"#);
        let long = json!({"a": "x".repeat(80), "b": [1, 2]});
        let text = pretty(&long);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("it is JSON"), long);
    }
}
