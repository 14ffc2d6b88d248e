//! The reference page: all of openapi.yaml on one page that loads nothing and runs nothing.
//!
//! Languages are switched by radio buttons and `:has()`, sections open as `<details>`; so the page can be served under
//! a policy that allows one style sheet, by its hash, and nothing else.

use std::fmt::Write;

use serde_json::Value;

use super::catalogue::{self, ErrorCode};
use super::sample;
use super::text::{block, escape, inline};
use super::{Operation, fields, operations, resolve};

const STYLE: &str = include_str!("page.css");

pub(super) fn render(spec: &Value) -> String {
    let info = &spec["info"];
    let title = words(&info["title"]);
    let errors = catalogue::errors(spec);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    );
    push_languages(&mut out);
    push_contents(spec, &mut out);
    push!(
        out,
        "<main>\n<header><h1>{title}</h1><p class=\"lead\">{}</p><p class=\"version\">Version {} · \
         <a href=\"/openapi.yaml\">openapi.yaml</a> · <a href=\"/openapi.json\">openapi.json</a> · \
         <a href=\"/llms.txt\">llms.txt</a></p></header>\n",
        inline(words(&info["summary"])),
        words(&info["version"])
    );
    out.push_str("<section id=\"start\">\n<h2>Two lines to change</h2>\n");
    out.push_str(&sample::start());
    push!(out, "<h2>Conventions</h2>\n{}</section>\n", block(words(&info["description"])));
    for tag in spec["tags"].as_array().into_iter().flatten() {
        push_tag(spec, tag, &mut out);
    }
    push_errors(&errors, &mut out);
    push_headers(spec, &mut out);
    push_schemas(spec, &mut out);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap_or_default().trim()
}

/// First of the body, so that every sample comes after the buttons that choose it.
fn push_languages(out: &mut String) {
    out.push_str(
        "<div class=\"languages\" role=\"radiogroup\" aria-label=\"Language of the samples\">",
    );
    for (index, (id, name)) in sample::LANGUAGES.into_iter().enumerate() {
        let checked = if index == 0 { " checked" } else { "" };
        push!(
            out,
            "<input type=\"radio\" name=\"language\" id=\"in-{id}\"{checked}>\
             <label for=\"in-{id}\">{name}</label>"
        );
    }
    out.push_str("</div>\n");
}

fn push_contents(spec: &Value, out: &mut String) {
    out.push_str("<nav><p><a href=\"#start\"><b>Start</b></a></p>\n");
    for tag in spec["tags"].as_array().into_iter().flatten() {
        push!(out, "<p><b>{}</b></p><ul>", escape(words(&tag["name"])));
        for operation in operations(spec).filter(|operation| operation.has_tag(&tag["name"])) {
            push!(
                out,
                "<li><a href=\"#{}\">{}</a></li>",
                operation.id(),
                escape(words(&operation.body["summary"]))
            );
        }
        out.push_str("</ul>\n");
    }
    out.push_str(
        "<p><b>Tables</b></p><ul><li><a href=\"#errors\">Errors</a></li>\
         <li><a href=\"#headers\">Headers</a></li><li><a href=\"#schemas\">Schemas</a></li></ul></nav>\n",
    );
}

fn push_tag(spec: &Value, tag: &Value, out: &mut String) {
    push!(
        out,
        "<section>\n<h2>{}</h2>\n{}",
        escape(words(&tag["name"])),
        block(words(&tag["description"]))
    );
    for operation in operations(spec).filter(|operation| operation.has_tag(&tag["name"])) {
        push_operation(spec, &operation, out);
    }
    out.push_str("</section>\n");
}

fn push_operation(spec: &Value, operation: &Operation<'_>, out: &mut String) {
    let (id, body) = (operation.id(), operation.body);
    push!(
        out,
        "<article id=\"{id}\">\n<h3><a href=\"#{id}\">{}</a></h3>\n\
         <p class=\"route\"><span class=\"method {method}\">{method}</span> <code>{path}</code> \
         <span class=\"credential\">{}</span></p>\n{}",
        escape(words(&body["summary"])),
        credential(spec, body),
        block(words(&body["description"])),
        method = operation.method,
        path = escape(operation.path),
    );
    out.push_str(&sample::samples(operation));
    push_parameters(spec, body, out);
    let content = &body["requestBody"]["content"]["application/json"];
    if content.is_object() {
        push!(out, "<h4>Request</h4>\n{}", block(words(&body["requestBody"]["description"])));
        out.push_str(&fields::table(spec, resolve(spec, &content["schema"])));
        push_examples(spec, content, "Example", out);
    }
    push_responses(spec, body, out);
    out.push_str("</article>\n");
}

fn credential(spec: &Value, operation: &Value) -> &'static str {
    let security = operation.get("security").unwrap_or(&spec["security"]);
    let has = |scheme: &str| {
        security.as_array().into_iter().flatten().any(|one| one.get(scheme).is_some())
    };
    match (has("apiKey"), has("session")) {
        (true, true) => "API key or session",
        (true, false) => "API key",
        (false, true) => "session",
        (false, false) => "no credential",
    }
}

fn push_parameters(spec: &Value, operation: &Value, out: &mut String) {
    let Some(parameters) = operation["parameters"].as_array() else { return };
    out.push_str("<h4>Parameters</h4>\n<table class=\"fields\">");
    out.push_str("<tr><th>Parameter</th><th>Type</th><th>Meaning</th></tr>\n");
    for parameter in parameters.iter().map(|parameter| resolve(spec, parameter)) {
        let mark =
            if parameter["required"] == true { "<span class=\"must\">required</span>" } else { "" };
        push!(
            out,
            "<tr><td><code>{}</code>{mark}<span class=\"bound\">{}</span></td>\
             <td class=\"type\">{}</td><td>{}</td></tr>\n",
            escape(words(&parameter["name"])),
            words(&parameter["in"]),
            fields::kind(&parameter["schema"]),
            inline(&words(&parameter["description"]).replace('\n', " "))
        );
    }
    out.push_str("</table>\n");
}

fn push_examples(spec: &Value, content: &Value, what: &str, out: &mut String) {
    for (name, example) in content["examples"].as_object().into_iter().flatten() {
        let example = resolve(spec, example);
        let text = match (example.get("value"), example["dataValue"].as_array()) {
            (Some(value), _) => sample::pretty(value),
            (None, Some(events)) => events.iter().map(event).collect(),
            (None, None) => continue,
        };
        let summary = example["summary"].as_str().unwrap_or(name);
        push!(
            out,
            "<details><summary>{what}: {}</summary><pre>{}</pre></details>\n",
            inline(summary),
            escape(&text)
        );
    }
}

/// A server-sent event as it goes over the wire.
fn event(event: &Value) -> String {
    let name = event["event"].as_str().map_or_else(String::new, |name| format!("event: {name}\n"));
    format!("{name}data: {}\n\n", words(&event["data"]))
}

fn push_responses(spec: &Value, operation: &Value, out: &mut String) {
    out.push_str("<h4>Answers</h4>\n");
    let mut refusals = String::new();
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let response = resolve(spec, response);
        let error = &response["content"]["application/json"];
        if error["schema"]["$ref"] == "#/components/schemas/ErrorBody" {
            let codes = error["examples"].as_object().into_iter().flatten();
            let codes = codes.map(|(code, _)| format!("<a href=\"#error-{code}\">{code}</a>"));
            let codes = codes.collect::<Vec<_>>().join(", ");
            push!(
                refusals,
                "<tr><td>{status}</td><td>{}</td><td>{codes}</td></tr>\n",
                inline(words(&response["description"]))
            );
            continue;
        }
        push!(out, "<p><b>{status}</b> {}</p>\n", inline(words(&response["description"])));
        for (media, content) in response["content"].as_object().into_iter().flatten() {
            let schema = content.get("itemSchema").unwrap_or(&content["schema"]);
            let each = if content.get("itemSchema").is_some() { ", each event: " } else { ": " };
            push!(out, "<p><code>{media}</code>{each}{}</p>\n", fields::kind(schema));
            push_examples(spec, content, "Answer", out);
        }
    }
    if !refusals.is_empty() {
        push!(
            out,
            "<details><summary>Refusals</summary><table><tr><th>Status</th><th>When</th>\
             <th>Codes</th></tr>\n{refusals}</table></details>\n"
        );
    }
}

fn push_errors(errors: &[ErrorCode<'_>], out: &mut String) {
    out.push_str(
        "<section id=\"errors\">\n<h2>Errors</h2>\n<p>Branch on <code>error.code</code>; \
         <code>message</code> is for people. SDKs repeat a request by themselves where the last \
         column allows it.</p>\n<table class=\"errors\"><tr><th>Code</th><th>Status</th>\
         <th>Cause</th><th>What to do</th><th>Repeat?</th></tr>\n",
    );
    for error in errors {
        let anchor =
            if error.is_first { format!(" id=\"error-{}\"", error.code) } else { String::new() };
        push!(
            out,
            "<tr{anchor}><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            error.code,
            error.status,
            inline(error.cause),
            inline(error.fix),
            error.retry_words()
        );
    }
    out.push_str("</table>\n</section>\n");
}

fn push_headers(spec: &Value, out: &mut String) {
    out.push_str("<section id=\"headers\">\n<h2>Headers of answers</h2>\n<table>");
    out.push_str("<tr><th>Header</th><th>Meaning</th></tr>\n");
    for (name, description) in catalogue::headers(spec) {
        push!(out, "<tr><td><code>{name}</code></td><td>{}</td></tr>\n", inline(description));
    }
    out.push_str("</table>\n</section>\n");
}

fn push_schemas(spec: &Value, out: &mut String) {
    out.push_str("<section id=\"schemas\">\n<h2>Schemas</h2>\n");
    for (name, schema) in spec["components"]["schemas"].as_object().into_iter().flatten() {
        push!(
            out,
            "<article id=\"{name}\">\n<h3><a href=\"#{name}\">{name}</a></h3>\n{}",
            block(words(&schema["description"]))
        );
        out.push_str(&fields::table(spec, schema));
        let variants = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
        for variant in variants.into_iter().flatten().filter(|one| one["properties"].is_object()) {
            push!(out, "{}{}", block(words(&variant["description"])), fields::table(spec, variant));
        }
        out.push_str("</article>\n");
    }
    out.push_str("</section>\n");
}
