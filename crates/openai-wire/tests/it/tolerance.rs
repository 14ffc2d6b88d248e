//! What holds for every endpoint's request: no value makes a parser panic, and no field that
//! nobody knows makes it refuse.

use cocoon_openai_wire::chat::ChatRequest;
use cocoon_openai_wire::completions::CompletionsRequest;
use cocoon_openai_wire::embeddings::EmbeddingsRequest;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Words that mean something somewhere, and some that do not.
const WORDS: [&str; 34] = [
    "model",
    "messages",
    "prompt",
    "input",
    "stream",
    "stream_options",
    "include_obfuscation",
    "n",
    "stop",
    "tools",
    "tool_choice",
    "type",
    "function",
    "name",
    "parameters",
    "allowed_tools",
    "mode",
    "functions",
    "function_call",
    "response_format",
    "json_schema",
    "schema",
    "strict",
    "role",
    "content",
    "text",
    "tool_calls",
    "arguments",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "dimensions",
    "encoding_format",
    "reasoning_effort",
];
const TEXTS: [&str; 12] = [
    "",
    "user",
    "assistant",
    "tool",
    "developer",
    "text",
    "function",
    "json_schema",
    "auto",
    "required",
    "allowed_tools",
    "5",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..2000).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(&TEXTS[..]).prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let key = prop::sample::select(&WORDS[..]).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A body that the scan lets through, so that the parsers see the rest.
fn any_body() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(&WORDS[..]).prop_map(str::to_owned);
    prop::collection::vec((key, any_json()), 0..5).prop_map(|fields| {
        let mut body: Map<String, Value> = fields.into_iter().collect();
        body.entry("model").or_insert_with(|| "m".into());
        body.entry("messages").or_insert_with(|| json!([{"role": "user", "content": "x"}]));
        body.entry("prompt").or_insert_with(|| "x".into());
        body.entry("input").or_insert_with(|| "x".into());
        Value::Object(body)
    })
}

/// One request of each endpoint that uses what it has.
fn chat() -> Value {
    let function = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
    json!({"model": "m", "n": 2, "stream": true, "stream_options": {"include_usage": true},
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "a"}]},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "d"}],
        "tools": [function, {"type": "web_search"}],
        "tool_choice": {"type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [function]}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}})
}

fn completions() -> Value {
    json!({"model": "m", "prompt": ["a", "b"], "stream_options": {"include_obfuscation": false}})
}

fn embeddings() -> Value {
    json!({"model": "m", "input": [[1], [2]], "dimensions": 3})
}

/// Adds a field to the object that is met at `place` on a walk, and counts objects.
fn add_field(value: &mut Value, place: usize, met: &mut usize, key: &str, more: &Value) {
    match value {
        Value::Object(map) => {
            let is_here = *met == place;
            *met += 1;
            for inner in map.values_mut() {
                add_field(inner, place, met, key, more);
            }
            if is_here {
                map.insert(key.to_owned(), more.clone());
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| add_field(item, place, met, key, more));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn arbitrary_json_never_panics(body in any_body()) {
        let body = body.to_string();
        drop(ChatRequest::parse(body.as_bytes()));
        drop(CompletionsRequest::parse(body.as_bytes()));
        drop(EmbeddingsRequest::parse(body.as_bytes()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(CompletionsRequest::parse(&body));
        drop(EmbeddingsRequest::parse(&body));
    }

    #[test]
    fn a_field_that_nobody_knows_is_never_in_the_way(
        place in 0_usize..20,
        key in "x_[a-z]{0,8}",
        more in any_json(),
    ) {
        let with = |mut body: Value| {
            add_field(&mut body, place, &mut 0, &key, &more);
            body.to_string()
        };
        prop_assert!(ChatRequest::parse(with(chat()).as_bytes()).is_ok());
        prop_assert!(CompletionsRequest::parse(with(completions()).as_bytes()).is_ok());
        prop_assert!(EmbeddingsRequest::parse(with(embeddings()).as_bytes()).is_ok());
    }
}
