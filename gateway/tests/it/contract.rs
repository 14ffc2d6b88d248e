//! Live answers against `openapi.yaml`, and its paths against the router's table.
//!
//! [`Client`] is the client of every test here: whatever it gets is judged by the operation that
//! its method and path name, status, headers, body, and each event of a stream as it comes. A
//! test that wants to see an answer gets a valid one or fails.

mod client;
mod docs;
mod examples;
mod judge;
mod stream;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use cocoon_gateway::api::ROUTES;
use http::HeaderMap;
use jsonschema::Validator;
use serde_json::{Value, json};

pub(crate) use client::{Client, Request, Response};
pub(crate) use judge::Judge;

static SPEC: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi.yaml");
    let text = std::fs::read_to_string(path).expect("openapi.yaml is there");
    serde_yaml_ng::from_str(&text).expect("openapi.yaml is YAML")
});

/// One method of one path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    method: &'static str,
    path: &'static str,
    body: &'static Value,
}

impl Operation {
    pub(crate) fn id(self) -> &'static str {
        self.body["operationId"].as_str().expect("every operation has a name")
    }

    /// The operation that a request is for; a path without a place holder goes first.
    pub(crate) fn of(method: &str, path: &str) -> Option<Self> {
        let mut found: Vec<_> = operations()
            .filter(|one| one.method.eq_ignore_ascii_case(method) && one.fits(path))
            .collect();
        found.sort_by_key(|one| one.path.contains('{'));
        found.first().copied()
    }

    fn fits(self, path: &str) -> bool {
        let Some((before, after)) = self.path.split_once('{') else { return self.path == path };
        let after = after.split_once('}').map_or("", |(_, after)| after);
        let rest = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        // Only a model's name may contain slashes.
        rest.is_some_and(|id| !id.is_empty() && (before == "/v1/models/" || !id.contains('/')))
    }

    fn response(self, status: u16) -> Option<&'static Value> {
        self.body["responses"].get(status.to_string()).map(resolve)
    }
}

fn operations() -> impl Iterator<Item = Operation> {
    let paths = SPEC["paths"].as_object().expect("the spec has paths");
    paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("a path is an object");
        let methods = item.iter().filter(|(_, body)| body["operationId"].is_string());
        methods.map(move |(method, body)| Operation { method, path, body })
    })
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => resolve(target(reference)),
        None => value,
    }
}

fn target(reference: &str) -> &'static Value {
    let pointer = reference.strip_prefix('#').expect("references are local");
    SPEC.pointer(pointer).expect("references lead somewhere")
}

/// Fails unless the call named this operation and its answer is what it documents. That it fits
/// at all, [`Client`] has seen to already.
pub(crate) fn check(operation: &str, status: u16, headers: &HeaderMap, body: &Value) {
    let found = operations().find(|one| one.id() == operation);
    let found = found.unwrap_or_else(|| panic!("openapi.yaml has no operation {operation}"));
    let faults = judge::answer_faults(found, status, headers, body);
    assert!(faults.is_empty(), "{operation} {status}: {faults:#?}\nin {body:#}");
}

/// Fails unless `body` fits the named schema.
pub(crate) fn check_component(component: &str, body: &Value) {
    let reference = json!({ "$ref": format!("#/components/schemas/{component}") });
    let faults = schema_faults(&reference, body);
    assert!(faults.is_empty(), "{component}: {faults:#?}\nin {body:#}");
}

/// What of `value` does not fit, in words.
fn schema_faults(schema: &Value, value: &Value) -> Vec<String> {
    let errors = validator(&narrowed(schema, value));
    let errors = errors.iter_errors(value);
    errors.map(|error| format!("{error} at {:?}", error.instance_path().to_string())).collect()
}

/// The branch that a discriminator names, so that a complaint is about that branch alone.
fn narrowed(schema: &Value, value: &Value) -> Value {
    let named = schema["$ref"].as_str().map(target);
    let discriminator = &named.unwrap_or(schema)["discriminator"];
    let property = discriminator["propertyName"].as_str().unwrap_or_default();
    let branch = value[property].as_str().and_then(|name| discriminator["mapping"].get(name));
    branch.map_or_else(|| schema.clone(), |branch| json!({ "$ref": branch }))
}

/// Schemas are compiled once in a process: the large ones take milliseconds.
fn validator(schema: &Value) -> Arc<Validator> {
    static COMPILED: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> =
        LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = compiled.entry(schema.to_string()).or_insert_with(|| {
        // References within the schema start at the document's root.
        let root = json!({ "allOf": [schema], "components": SPEC["components"] });
        Arc::new(jsonschema::validator_for(&root).expect("the schema is a schema"))
    });
    Arc::clone(known)
}

#[test]
fn every_route_is_documented_and_every_documented_route_is_there() {
    let documented: BTreeSet<_> =
        operations().map(|one| format!("{} {}", one.method, one.path)).collect();
    let served: BTreeSet<_> = ROUTES
        .iter()
        .map(|(method, path)| format!("{method} {}", path.replace("{*", "{")))
        .collect();
    assert_eq!(served, documented);
}

#[test]
fn operations_are_found_by_method_and_path() {
    for (method, path, operation) in [
        ("POST", "/v1/chat/completions", Some("createChatCompletion")),
        ("GET", "/v1/models", Some("listModels")),
        ("GET", "/v1/models/org/name", Some("getModel")),
        ("DELETE", "/v1/keys/key_0", Some("deleteKey")),
        ("GET", "/v1/keys/key_0", None),
        ("DELETE", "/v1/keys/key_0/more", None),
        ("GET", "/v1/models/", None),
    ] {
        assert_eq!(Operation::of(method, path).map(Operation::id), operation, "{method} {path}");
    }
}

#[test]
fn a_body_that_does_not_fit_is_noticed() {
    let wrong = json!({ "wallet": "0:00", "currency": "GRAM" });
    assert!(std::panic::catch_unwind(|| check_component("Balance", &wrong)).is_err());
    let nowhere = std::panic::catch_unwind(|| check("getBalance", 418, &HeaderMap::new(), &wrong));
    assert!(nowhere.is_err());
}
