use cocoon_openai_wire::sse::Decoder;
use cocoon_primitives::Clock;
use cocoon_store::StoreError;
use serde_json::{Value, json};

use super::*;
use crate::dispatch::fixture;

fn teller(endpoint: Endpoint) -> Teller {
    Teller::new(&fixture::agreement_with(1, true, |agreement| agreement.endpoint = endpoint))
}

/// Name and data of every event; `[DONE]` as a string.
fn events(farewell: &Farewell) -> Vec<(Option<String>, Value)> {
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(&farewell.event);
    let mut events = Vec::new();
    while let Some(event) = decoder.next_event().unwrap() {
        let data = if event.is_done() {
            json!("[DONE]")
        } else {
            serde_json::from_str(&event.data).unwrap()
        };
        events.push((event.name, data));
    }
    events
}

#[test]
fn texts_end_in_an_error_object_and_a_broken_connection() {
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Completions] {
        let farewell = teller(endpoint).tell(&DispatchError::WorkerLost);
        assert_eq!(farewell.end, End::Abort);
        let [(None, error)] = &*events(&farewell) else { panic!("{farewell:?}") };
        assert_eq!(error["error"]["code"], "worker_lost");
    }
}

/// What openai-python 3.54 and Open Responses require of a response, and its status.
const RESPONSE_KEYS: [&str; 31] = [
    "id",
    "object",
    "created_at",
    "completed_at",
    "status",
    "incomplete_details",
    "model",
    "previous_response_id",
    "instructions",
    "output",
    "error",
    "tools",
    "tool_choice",
    "truncation",
    "parallel_tool_calls",
    "text",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_logprobs",
    "temperature",
    "reasoning",
    "usage",
    "max_output_tokens",
    "max_tool_calls",
    "store",
    "background",
    "service_tier",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
];

#[test]
fn a_response_fails_in_all_three_ways_and_ends_cleanly() {
    let farewell = teller(Endpoint::Responses).tell(&DispatchError::WorkerLost);
    assert_eq!(farewell.end, End::Clean);
    let told = events(&farewell);
    let [(_, created), (_, progress), (error_name, error), (failed_name, failed), (None, done)] =
        &*told
    else {
        panic!("{farewell:?}")
    };
    // Nothing was forwarded: the stream begins as every stream does.
    let begun = [(created, "response.created"), (progress, "response.in_progress")];
    for (number, (event, name)) in begun.into_iter().enumerate() {
        assert_eq!((&event["type"], &event["sequence_number"]), (&json!(name), &json!(number)));
        assert_eq!(event["response"]["status"], "in_progress");
        assert_eq!(event["response"]["id"], failed["response"]["id"]);
    }
    let names = (error_name.as_deref(), failed_name.as_deref(), done.as_str());
    assert_eq!(names, (Some("error"), Some("response.failed"), Some("[DONE]")));
    // Flat for OpenAI's schema, nested for that of Open Responses: each client reads one of them.
    for object in [error, &error["error"]] {
        assert_eq!((&object["code"], &object["param"]), (&json!("worker_lost"), &Value::Null));
        assert!(object["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    assert_eq!(
        (&error["type"], &error["error"]["type"]),
        (&json!("error"), &json!("server_error"))
    );
    assert_eq!((&error["sequence_number"], &failed["sequence_number"]), (&json!(2), &json!(3)));
    let response = &failed["response"];
    assert_eq!(failed["type"], "response.failed");
    assert_eq!(response["id"], format!("resp_{}", "01".repeat(16)));
    assert_eq!((&response["status"], &response["model"]), (&json!("failed"), &json!("tiny-demo")));
    assert_eq!(response["error"]["code"], "server_error");
    assert_eq!(response["created_at"], fixture::clock().now().as_seconds());
    for key in RESPONSE_KEYS {
        assert!(response.get(key).is_some(), "there is no {key} in {response}");
    }
}

#[test]
fn numbers_go_on_from_the_last_event_that_was_forwarded() {
    for (payload, next) in [
        (&b""[..], 2),
        (b": a comment\n\n", 2),
        (b"data: {\"type\":\"response.created\",\"sequence_number\":0}\n\n", 1),
        (b"event: a\ndata: {\"sequence_number\":3}\n\nevent: b\ndata: {\"sequence_number\":4}\n\n", 5),
        (b"data:{\"sequence_number\":7}\r\n\r\n", 8),
        // What stands in a schema or in a text is not the event's number.
        (b"data: {\"sequence_number\":2,\"response\":{\"tools\":[{\"sequence_number\":90}]}}\n\n", 3),
        (b"data: {\"sequence_number\":2,\"delta\":\"\\\"sequence_number\\\":90\"}\n\n", 3),
        (b"data: {\"sequence_number\":2}\n\ndata: [DONE]\n\n", 3),
        (b"data: {\"sequence_number\":18446744073709551615}\n\n", u64::MAX),
    ] {
        let mut teller = teller(Endpoint::Responses);
        teller.forwarded(&Bytes::from_static(payload));
        let told = events(&teller.tell(&DispatchError::Store(StoreError::Closed)));
        let [.., (_, error), (_, failed), _] = &*told else { panic!("{told:?}") };
        assert_eq!(error["sequence_number"], next, "{}", String::from_utf8_lossy(payload));
        assert_eq!(failed["sequence_number"], next.saturating_add(1));
    }
}

#[test]
fn a_workers_own_words_are_passed_on_as_they_are() {
    for (endpoint, end) in
        [(Endpoint::Responses, End::Clean), (Endpoint::ChatCompletions, End::Abort)]
    {
        let event = Bytes::from_static(b"event: error\n\n");
        let farewell = teller(endpoint).pass_on("event: error\n\n".to_owned());
        assert_eq!(farewell, Farewell { event, end });
    }
}
