//! What stands in many places of openapi.yaml, gathered: every error code, every header.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{operations, resolve};

/// A code under one status.
pub(super) struct ErrorCode<'a> {
    pub(super) code: &'a str,
    pub(super) status: &'a str,
    pub(super) cause: &'a str,
    pub(super) fix: &'a str,
    retry: &'a str,
    /// Some codes stand under two statuses.
    pub(super) is_first: bool,
}

impl ErrorCode<'_> {
    pub(super) fn retry_words(&self) -> &'static str {
        match self.retry {
            "never" => "no",
            "after" => "after <code>Retry-After</code>",
            _ => "if there is a <code>Retry-After</code>",
        }
    }
}

/// By status, then as the document has them.
pub(super) fn errors(spec: &Value) -> Vec<ErrorCode<'_>> {
    let mut by_status = BTreeMap::new();
    let elsewhere = std::iter::once(&spec["x-unserved"]);
    for operation in operations(spec).map(|operation| operation.body).chain(elsewhere) {
        for (status, response) in operation["responses"].as_object().into_iter().flatten() {
            let content = &resolve(spec, response)["content"]["application/json"];
            if content["schema"]["$ref"] == "#/components/schemas/ErrorBody" {
                by_status.insert(status.as_str(), &content["examples"]);
            }
        }
    }
    let mut known = BTreeSet::new();
    let mut errors = Vec::new();
    for (status, examples) in by_status {
        for (code, example) in examples.as_object().into_iter().flatten() {
            errors.push(ErrorCode {
                code,
                status,
                cause: example["summary"].as_str().unwrap_or_default(),
                fix: example["description"].as_str().unwrap_or_default(),
                retry: example["x-retry"].as_str().unwrap_or_default(),
                is_first: known.insert(code),
            });
        }
    }
    errors
}

/// Name and meaning, by name.
pub(super) fn headers(spec: &Value) -> BTreeMap<&str, &str> {
    let mut headers = BTreeMap::new();
    for operation in operations(spec) {
        for response in operation.body["responses"].as_object().into_iter().flatten() {
            let declared = resolve(spec, response.1)["headers"].as_object();
            for (name, header) in declared.into_iter().flatten() {
                let description = resolve(spec, header)["description"].as_str();
                headers.insert(name.as_str(), description.unwrap_or_default());
            }
        }
    }
    headers
}
