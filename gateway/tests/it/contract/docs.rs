//! The contract as the gateway serves it.

use serde_json::Value;

use super::{SPEC, operations};
use crate::rig::{Rig, Setup};

async fn fetch(rig: &Rig, path: &str) -> (http::HeaderMap, String) {
    let response = rig.client.get(rig.url(path)).send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{path}");
    let headers = response.headers().clone();
    assert_eq!(headers["x-content-type-options"], "nosniff");
    (headers, response.text().await.expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_page_is_whole_and_asks_nobody_for_anything() {
    let rig = Rig::with(Setup { engine: None, ..Setup::default() }).await;
    let (headers, page) = fetch(&rig, "/docs").await;
    assert!(headers["content-type"].to_str().expect("text").starts_with("text/html"));
    let policy = headers["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.matches("<style>").count(), 1, "the policy allows one style sheet");

    for operation in operations() {
        assert!(page.contains(&format!("id=\"{}\"", operation.id())), "{}", operation.id());
    }
    let schemas = SPEC["components"]["schemas"].as_object().expect("schemas");
    for name in schemas.keys() {
        assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
    }
    // Nothing is loaded, from here or elsewhere, and nothing runs.
    for what in [
        "src=",
        "<link",
        "<script",
        "<img",
        "<iframe",
        "url(",
        "@import",
        "href=\"http",
        "href=\"//",
        "javascript:",
        "style=\"",
    ] {
        assert!(!page.contains(what), "the page has {what}");
    }
    // A link within the page leads somewhere.
    for target in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(page.contains(&format!("id=\"{target}\"")), "#{target} leads nowhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_served_for_programs() {
    let rig = Rig::with(Setup { engine: None, ..Setup::default() }).await;
    let (headers, yaml) = fetch(&rig, "/openapi.yaml").await;
    assert!(headers["content-type"].to_str().expect("text").starts_with("application/yaml"));
    assert_eq!(serde_yaml_ng::from_str::<Value>(&yaml).expect("it is YAML"), *SPEC);
    let (headers, json) = fetch(&rig, "/openapi.json").await;
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(serde_json::from_str::<Value>(&json).expect("it is JSON"), *SPEC);
    let (_, text) = fetch(&rig, "/llms.txt").await;
    for operation in operations() {
        assert!(text.contains(operation.path), "{}", operation.path);
    }
    assert!(text.contains("`context_length_exceeded`"));
}
