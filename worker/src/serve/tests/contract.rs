//! What leaves the worker against `openapi.yaml`: every body and every event of every test here.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use cocoon_openai_wire::sse;
use cocoon_uplink_wire::{Frame, FrameKind};
use jsonschema::Validator;
use serde_json::{Value, json};

static COMPONENTS: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi.yaml");
    let text = std::fs::read_to_string(path).expect("openapi.yaml is there");
    let mut document: Value = serde_yaml_ng::from_str(&text).expect("openapi.yaml is YAML");
    document["components"].take()
});

/// Made when first used: compiling one takes longer than most tests.
static VALIDATORS: LazyLock<Mutex<HashMap<&str, Validator>>> = LazyLock::new(Mutex::default);

/// No test streams an event as large as this.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// Fails unless the data in these frames is what the contract promises of such an answer.
pub(super) fn check(frames: &[Frame], is_stream: bool) {
    let data = frames.iter().filter(|frame| frame.kind == FrameKind::Data);
    let data: Vec<u8> = data.flat_map(|frame| frame.payload.iter().copied()).collect();
    if !is_stream {
        if !data.is_empty() {
            check_object(&serde_json::from_slice(&data).expect("a body is JSON"), false);
        }
        return;
    }
    let mut decoder = sse::Decoder::new(EVENT_BYTES_MAX);
    decoder.push(&data);
    while let Some(event) = decoder.next_event().expect("an event stream") {
        if event.data != "[DONE]" {
            check_object(&serde_json::from_str(&event.data).expect("an event is JSON"), true);
        }
    }
}

fn check_object(object: &Value, is_event: bool) {
    let component = match (object["object"].as_str(), is_event) {
        (Some("chat.completion"), false) => "ChatCompletion",
        (Some("chat.completion.chunk"), true) => "ChatCompletionChunk",
        (Some("text_completion"), false) => "Completion",
        (Some("text_completion"), true) => "CompletionChunk",
        (Some("response"), false) => "Response",
        (Some("list"), false) => "EmbeddingList",
        (None, true) if object["type"].is_string() => "ResponseStreamEvent",
        _ => panic!("no endpoint answers this: {object}"),
    };
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let validator = validators.entry(component).or_insert_with(|| {
        let reference = format!("#/components/schemas/{component}");
        let root = json!({ "$ref": reference, "components": *COMPONENTS });
        jsonschema::validator_for(&root).expect("the contract's schemas are schemas")
    });
    let faults: Vec<String> = validator
        .iter_errors(object)
        .map(|fault| format!("{fault} at {}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{component}: {}\nin {object:#}", faults.join("; "));
}

#[test]
#[should_panic(expected = "\"choices\" is a required property")]
fn an_event_without_what_clients_need_is_found() {
    check_object(&json!({"object": "chat.completion.chunk", "id": "a", "created": 1}), true);
}
