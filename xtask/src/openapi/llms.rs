//! The contract for a language model's context: conventions, operations, error codes.

use std::fmt::Write;

use serde_json::Value;

use super::{catalogue, operations};

pub(super) fn render(spec: &Value) -> String {
    let words = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    let info = &spec["info"];
    let mut out = format!("# {}\n\n> {}\n\n", words(&info["title"]), words(&info["summary"]));
    push!(out, "{}\n\n", words(&info["description"]));
    out.push_str(
        "The whole contract: [openapi.yaml](/openapi.yaml), [openapi.json](/openapi.json).\n",
    );
    for tag in spec["tags"].as_array().into_iter().flatten() {
        push!(out, "\n## {}\n\n{}\n\n", words(&tag["name"]), words(&tag["description"]));
        for operation in operations(spec).filter(|operation| operation.has_tag(&tag["name"])) {
            push!(
                out,
                "- `{} {}`: [{}](/docs#{})\n",
                operation.method.to_uppercase(),
                operation.path,
                words(&operation.body["summary"]),
                operation.id()
            );
        }
    }
    out.push_str("\n## Errors\n\n");
    for error in catalogue::errors(spec) {
        push!(out, "- {} `{}`: {} {}\n", error.status, error.code, error.cause, error.fix);
    }
    out
}
