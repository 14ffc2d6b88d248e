//! `cargo xtask openapi`: openapi.yaml holds together. Whether it matches the routes and live bodies is tested in the
//! gateway; whether it is good OpenAPI is the linter's part, see ./test.

use std::collections::BTreeMap;

use anyhow::Context;
use jsonschema::{Draft, Registry, Validator};
use serde_json::{Value, json};

use crate::repository::Repository;

const SPEC: &str = "openapi.yaml";
const BASE: &str = "urn:openapi";

pub(crate) fn check(repository: &Repository) -> anyhow::Result<Vec<String>> {
    let spec: Value = serde_yaml_ng::from_str(&repository.read(SPEC)?)
        .with_context(|| format!("failed to read {SPEC}"))?;
    let mut findings = Vec::new();
    collect_dangling_references(&spec, &spec, &mut findings);
    findings.extend(operation_findings(&spec));
    findings.extend(example_findings(&spec)?);
    Ok(findings)
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

/// Every operation of the document, as `METHOD /path`.
fn operations(spec: &Value) -> impl Iterator<Item = (String, &Value)> {
    let paths = spec["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods
            .filter(|(method, _)| {
                ["get", "put", "post", "delete", "patch"].contains(&method.as_str())
            })
            .map(move |(method, operation)| {
                (format!("{} {path}", method.to_uppercase()), operation)
            })
    })
}

fn operation_findings(spec: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    let mut ids = BTreeMap::new();
    for (name, operation) in operations(spec) {
        let Some(id) = operation["operationId"].as_str() else {
            findings.push(format!("{SPEC}: {name} has no operationId"));
            continue;
        };
        if let Some(other) = ids.insert(id, name.clone()) {
            findings.push(format!("{SPEC}: {name} and {other} are both called {id}"));
        }
        for (status, response) in operation["responses"].as_object().into_iter().flatten() {
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
        let Some(schema) = content.get("schema") else { continue };
        let validator = validator(schema, &registry)?;
        for (name, example) in content["examples"].as_object().into_iter().flatten() {
            let Some(value) = resolve(spec, example).get("value") else { continue };
            let errors = validator.iter_errors(value);
            findings
                .extend(errors.map(|error| format!("{SPEC}: example {name} in {place}: {error}")));
        }
    }
    Ok(findings)
}

/// Media type objects with examples, wherever they stand.
fn collect_contents<'a>(value: &'a Value, place: &str, contents: &mut Vec<(String, &'a Value)>) {
    let Some(fields) = value.as_object() else { return };
    if fields.contains_key("examples") && (fields.contains_key("schema")) {
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
