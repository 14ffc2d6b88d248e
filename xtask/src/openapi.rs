//! `cargo xtask openapi`: openapi.yaml holds together, and what is rendered from it is up to date. Whether it matches
//! the routes and live bodies is tested in the gateway; whether it is good OpenAPI is the linters' part, see ./test.
//!
//! `cargo xtask docs` renders it: the page that the gateway serves, the document as JSON, and a text for language models.
//! They are committed, so that neither the gateway nor its build needs a renderer.

use std::collections::BTreeMap;

use anyhow::Context;
use jsonschema::{Draft, Registry, Validator};
use serde_json::{Value, json};

use crate::repository::Repository;

/// `write!` to a string.
macro_rules! push {
    ($out:expr, $($text:tt)*) => {
        write!($out, $($text)*).expect("writing to a string never fails")
    };
}

mod catalogue;
mod fields;
mod llms;
mod page;
mod sample;
mod text;

const SPEC: &str = "openapi.yaml";
const BASE: &str = "urn:openapi";

pub(crate) fn check(repository: &Repository) -> anyhow::Result<Vec<String>> {
    let spec = read(repository)?;
    let mut findings = Vec::new();
    collect_dangling_references(&spec, &spec, &mut findings);
    findings.extend(operation_findings(&spec));
    findings.extend(example_findings(&spec)?);
    for (path, text) in rendered(&spec)? {
        if repository.text(path).as_deref() != Some(text.as_str()) {
            findings.push(format!("{path}: not what {SPEC} says: run cargo xtask docs"));
        }
    }
    Ok(findings)
}

/// Writes everything that is rendered from the document.
pub(crate) fn render(repository: &Repository) -> anyhow::Result<Vec<String>> {
    for (path, text) in rendered(&read(repository)?)? {
        let path = repository.path(path);
        std::fs::create_dir_all(path.parent().context("a file stands in a folder")?)?;
        std::fs::write(&path, text)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(Vec::new())
}

fn read(repository: &Repository) -> anyhow::Result<Value> {
    serde_yaml_ng::from_str(&repository.read(SPEC)?)
        .with_context(|| format!("failed to read {SPEC}"))
}

/// Path and content.
fn rendered(spec: &Value) -> anyhow::Result<[(&'static str, String); 3]> {
    Ok([
        ("docs/reference/index.html", page::render(spec)),
        ("docs/reference/openapi.json", serde_json::to_string(spec)?),
        ("docs/reference/llms.txt", llms::render(spec)),
    ])
}

fn resolve<'a>(spec: &'a Value, value: &'a Value) -> &'a Value {
    let reference = value.get("$ref").and_then(Value::as_str);
    let pointer = reference.and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| spec.pointer(pointer)).unwrap_or(value)
}

fn collect_dangling_references(spec: &Value, value: &Value, findings: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let target = reference.strip_prefix('#').and_then(|pointer| spec.pointer(pointer));
                if target.is_none() {
                    findings.push(format!("{SPEC}: {reference} leads nowhere"));
                }
            }
            fields.values().for_each(|field| collect_dangling_references(spec, field, findings));
        }
        Value::Array(items) => {
            items.iter().for_each(|item| collect_dangling_references(spec, item, findings));
        }
        _ => {}
    }
}

/// A method of a path.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    body: &'a Value,
}

impl Operation<'_> {
    fn id(&self) -> &str {
        self.body["operationId"].as_str().unwrap_or_default()
    }

    fn has_tag(&self, tag: &Value) -> bool {
        self.body["tags"].as_array().is_some_and(|tags| tags.contains(tag))
    }
}

fn operations(spec: &Value) -> impl Iterator<Item = Operation<'_>> {
    let paths = spec["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods
            .filter(|(method, _)| {
                ["get", "put", "post", "delete", "patch"].contains(&method.as_str())
            })
            .map(move |(method, body)| Operation { method, path, body })
    })
}

fn operation_findings(spec: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    let mut ids = BTreeMap::new();
    for operation in operations(spec) {
        let name = format!("{} {}", operation.method.to_uppercase(), operation.path);
        let Some(id) = operation.body["operationId"].as_str() else {
            findings.push(format!("{SPEC}: {name} has no operationId"));
            continue;
        };
        if let Some(other) = ids.insert(id, name.clone()) {
            findings.push(format!("{SPEC}: {name} and {other} are both called {id}"));
        }
        for (status, response) in operation.body["responses"].as_object().into_iter().flatten() {
            let response = resolve(spec, response);
            if response["headers"].get("x-request-id").is_none() {
                findings
                    .push(format!("{SPEC}: {id} {status} does not say that it has x-request-id"));
            }
            if name.contains(" /v1/") && !status.starts_with('2') {
                findings.extend(error_finding(id, status, response));
            }
        }
    }
    findings
}

/// Every error under /v1 is OpenAI's error object and has an example whose name is its code.
fn error_finding(id: &str, status: &str, response: &Value) -> Option<String> {
    let content = &response["content"]["application/json"];
    let is_error_body = content["schema"]["$ref"] == "#/components/schemas/ErrorBody";
    let examples = content["examples"].as_object();
    let names_match = examples.is_some_and(|examples| {
        !examples.is_empty()
            && examples.iter().all(|(code, example)| example["value"]["error"]["code"] == *code)
    });
    (!is_error_body || !names_match).then(|| {
        format!("{SPEC}: {id} {status}: not the error object with an example for each code")
    })
}

fn example_findings(spec: &Value) -> anyhow::Result<Vec<String>> {
    let registry = Registry::new().add(BASE, spec.clone())?.prepare()?;
    let mut contents = Vec::new();
    collect_contents(spec, "", &mut contents);
    let mut findings = Vec::new();
    for (place, content) in contents {
        let is_stream = content.get("itemSchema").is_some();
        let schema = if is_stream { event_schema(spec, content) } else { &content["schema"] };
        let validator = validator(schema, &registry)?;
        for (name, example) in content["examples"].as_object().into_iter().flatten() {
            let example = resolve(spec, example);
            let values = if is_stream { events(example)? } else { vec![example["value"].clone()] };
            let errors = values.iter().flat_map(|value| validator.iter_errors(value));
            findings
                .extend(errors.map(|error| format!("{SPEC}: example {name} in {place}: {error}")));
        }
    }
    Ok(findings)
}

/// The schema of what an event's data says.
fn event_schema<'a>(spec: &'a Value, content: &'a Value) -> &'a Value {
    let data = &resolve(spec, &content["itemSchema"])["properties"]["data"];
    let branches = data["anyOf"].as_array().into_iter().flatten();
    let mut schemas = branches.map(|branch| &branch["contentSchema"]);
    schemas.find(|schema| schema.is_object()).unwrap_or(&Value::Null)
}

/// What the events of an example stream say, the end left out.
fn events(example: &Value) -> anyhow::Result<Vec<Value>> {
    let events = example["dataValue"].as_array().into_iter().flatten();
    let texts = events.filter_map(|event| event["data"].as_str()).filter(|text| *text != "[DONE]");
    texts.map(|text| Ok(serde_json::from_str(text)?)).collect()
}

/// Media type objects with examples, wherever they stand.
fn collect_contents<'a>(value: &'a Value, place: &str, contents: &mut Vec<(String, &'a Value)>) {
    let Some(fields) = value.as_object() else { return };
    let has_schema = fields.contains_key("schema") || fields.contains_key("itemSchema");
    // A parameter has a schema too; its examples are no bodies, but they are values all the same.
    if fields.contains_key("examples") && has_schema {
        contents.push((place.to_owned(), value));
    }
    for (name, field) in fields {
        collect_contents(field, &format!("{place}/{name}"), contents);
    }
}

fn validator(schema: &Value, registry: &Registry<'_>) -> anyhow::Result<Validator> {
    let absolute = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => json!({ "$ref": format!("{BASE}{reference}") }),
        None => schema.clone(),
    };
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_registry(registry)
        .build(&absolute)
        .map_err(|error| anyhow::anyhow!("a schema in {SPEC} is not one: {error}"))
}
