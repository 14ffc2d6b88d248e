//! Live answers against `openapi.yaml`, and its paths against the router's table.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use cocoon_gateway::api::ROUTES;
use http::HeaderMap;
use serde_json::{Value, json};

static SPEC: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi.yaml");
    let text = std::fs::read_to_string(path).expect("openapi.yaml is there");
    serde_yaml_ng::from_str(&text).expect("openapi.yaml is YAML")
});

/// Fails unless the operation documents this status with these headers and this body.
pub(crate) fn check(operation: &str, status: u16, headers: &HeaderMap, body: &Value) {
    let name = format!("{operation} {status}");
    let response = &find(operation)["responses"][status.to_string()];
    assert!(!response.is_null(), "{name} is not documented; the answer was {body}");
    let response = resolve(response);
    for (header, declared) in response["headers"].as_object().into_iter().flatten() {
        if resolve(declared)["required"] == true {
            assert!(headers.contains_key(header), "{name} has no header {header}");
        }
    }
    check_schema(&name, &response["content"]["application/json"]["schema"], body);
}

/// Fails unless `body` fits the named schema.
pub(crate) fn check_component(component: &str, body: &Value) {
    let reference = json!({ "$ref": format!("#/components/schemas/{component}") });
    check_schema(component, &reference, body);
}

fn check_schema(name: &str, schema: &Value, body: &Value) {
    assert!(!schema.is_null(), "{name} documents no JSON body");
    // References within the schema start at the document's root.
    let root = json!({ "allOf": [schema], "components": SPEC["components"] });
    let validator = jsonschema::validator_for(&root).expect("the schema is a schema");
    let errors: Vec<String> = validator
        .iter_errors(body)
        .map(|error| format!("{} at {:?}", error, error.instance_path().to_string()))
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}\nin {body:#}");
}

fn resolve(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("references are local");
            SPEC.pointer(pointer).expect("references lead somewhere")
        }
        None => value,
    }
}

fn operations() -> impl Iterator<Item = (String, String, &'static Value)> {
    let paths = SPEC["paths"].as_object().expect("the spec has paths");
    paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("a path is an object");
        let methods = item.iter().filter(|(_, operation)| operation["operationId"].is_string());
        methods.map(move |(method, operation)| (method.clone(), path.clone(), operation))
    })
}

fn find(operation_id: &str) -> &'static Value {
    let found = operations().find(|(_, _, operation)| operation["operationId"] == operation_id);
    found.unwrap_or_else(|| panic!("openapi.yaml has no operation {operation_id}")).2
}

#[test]
fn every_route_is_documented_and_every_documented_route_is_there() {
    let documented: BTreeSet<_> =
        operations().map(|(method, path, _)| format!("{method} {path}")).collect();
    let served: BTreeSet<_> = ROUTES
        .iter()
        .map(|(method, path)| format!("{method} {}", path.replace("{*", "{")))
        .collect();
    assert_eq!(served, documented);
}

#[test]
fn a_body_that_does_not_fit_is_noticed() {
    let wrong = json!({ "wallet": "0:00", "currency": "GRAM" });
    assert!(std::panic::catch_unwind(|| check_component("Balance", &wrong)).is_err());
    let nowhere = std::panic::catch_unwind(|| check("getBalance", 418, &HeaderMap::new(), &wrong));
    assert!(nowhere.is_err());
}
