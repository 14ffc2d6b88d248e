use cocoon_openai_wire::chat::TokenLogprob;
use cocoon_openai_wire::error::{ErrorBody, kind};
use cocoon_openai_wire::responses::{
    Echo, Event, IncompleteDetails, IncompleteReason, OutputItem, OutputPart, Response, Status,
    Usage, failure,
};
use cocoon_openai_wire::sse;
use serde_json::{Value, json};

use super::{parse, with};

fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("JSON")
}

fn message(status: Status, text: &str) -> OutputItem {
    let content = vec![OutputPart::output_text(text.to_owned(), Vec::new())];
    OutputItem::Message { id: "msg_1".to_owned(), role: "assistant", status, content }
}

#[test]
fn an_answer_has_every_key_and_the_defaults() {
    let echo = Echo::of(&parse(&with(&json!({}))));
    let answer = value(&Response::begun("resp_1", 17, &echo).to_json());
    let expected = json!({
        "id": "resp_1", "object": "response", "created_at": 17, "completed_at": null,
        "status": "in_progress", "error": null, "incomplete_details": null, "output": [],
        "usage": null, "model": "m", "instructions": null, "max_output_tokens": null,
        "max_tool_calls": null, "temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0,
        "frequency_penalty": 0.0, "top_logprobs": 0, "text": {"format": {"type": "text"}},
        "tools": [], "tool_choice": "auto", "parallel_tool_calls": true,
        "reasoning": {"effort": null, "summary": null}, "metadata": {},
        "safety_identifier": null, "prompt_cache_key": null, "previous_response_id": null,
        "truncation": "disabled", "service_tier": "default", "store": false, "background": false,
    });
    assert_eq!(answer, expected);
    assert_eq!(answer.as_object().map(serde_json::Map::len), Some(31));
    assert_eq!(echo, Echo::unknown("m".to_owned()));
}

#[test]
fn parameters_are_repeated() {
    let schema = json!({"z": 1, "a": 2});
    let echo = Echo::of(&parse(&with(&json!({
        "instructions": "i", "max_output_tokens": 5, "max_tool_calls": 2, "temperature": 0.7,
        "top_p": 0.9, "top_logprobs": 3, "store": true, "truncation": "auto", "user": "u",
        "service_tier": "flex", "safety_identifier": "s", "prompt_cache_key": "k",
        "metadata": {"a": "b"}, "parallel_tool_calls": false, "tool_choice": "required",
        "reasoning": {"effort": "minimal", "summary": "detailed"},
        "text": {"verbosity": "high", "format": {"type": "json_schema", "name": "n",
            "schema": schema}},
        "tools": [{"type": "function", "name": "f", "parameters": schema},
            {"type": "custom", "name": "c", "description": "d"}],
    }))));
    let text = serde_json::to_string(&echo).expect("JSON");
    assert!(text.contains(r#""temperature":0.7,"top_p":0.9"#), "{text}");
    assert!(text.contains(r#"{"z":1,"a":2}"#), "the client's order");
    let echo: Value = serde_json::from_str(&text).expect("JSON");
    for (key, expected) in [
        ("instructions", json!("i")),
        ("max_output_tokens", json!(5)),
        ("max_tool_calls", json!(2)),
        ("top_logprobs", json!(3)),
        ("store", json!(false)),
        ("truncation", json!("disabled")),
        ("service_tier", json!("default")),
        ("user", json!("u")),
        ("safety_identifier", json!("s")),
        ("prompt_cache_key", json!("k")),
        ("metadata", json!({"a": "b"})),
        ("parallel_tool_calls", json!(false)),
        ("tool_choice", json!("required")),
        ("reasoning", json!({"effort": "minimal", "summary": "detailed"})),
        (
            "text",
            json!({"verbosity": "high", "format": {"type": "json_schema", "name": "n",
                "description": null, "schema": schema, "strict": false}}),
        ),
        (
            "tools",
            json!([{"type": "function", "name": "f", "description": null, "parameters": schema,
                "strict": null}, {"type": "custom", "name": "c", "description": "d",
                    "format": {"type": "text"}}]),
        ),
    ] {
        assert_eq!(echo[key], expected, "{key}");
    }
}

#[test]
fn items_have_the_shapes_of_the_schema() {
    let text = || "t".to_owned();
    let (id, call_id, name) = (|| "i".to_owned(), || "c".to_owned(), || "n".to_owned());
    let status = Status::Completed;
    let reasoning = OutputItem::Reasoning {
        id: id(),
        summary: Vec::new(),
        content: vec![OutputPart::ReasoningText { text: text() }],
        status,
    };
    let function = OutputItem::FunctionCall {
        id: id(),
        call_id: call_id(),
        name: name(),
        arguments: text(),
        status,
    };
    let custom = OutputItem::CustomToolCall {
        id: id(),
        call_id: call_id(),
        name: name(),
        input: text(),
        status,
    };
    for (item, expected) in [
        (
            message(Status::Incomplete, "t"),
            json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "incomplete",
                "content": [{"type": "output_text", "text": "t", "annotations": [],
                    "logprobs": []}]}),
        ),
        (
            reasoning,
            json!({"type": "reasoning", "id": "i", "summary": [], "status": "completed",
                "content": [{"type": "reasoning_text", "text": "t"}]}),
        ),
        (
            function,
            json!({"type": "function_call", "id": "i", "call_id": "c", "name": "n",
                "arguments": "t", "status": "completed"}),
        ),
        (
            custom,
            json!({"type": "custom_tool_call", "id": "i", "call_id": "c", "name": "n",
                "input": "t", "status": "completed"}),
        ),
    ] {
        assert_eq!(serde_json::to_value(&item).expect("JSON"), expected);
    }
}

#[test]
fn an_incomplete_answer_says_why_and_what_it_used() {
    let echo = Echo::unknown("m".to_owned());
    let output = [message(Status::Incomplete, "t")];
    let response = Response {
        status: Status::Incomplete,
        incomplete_details: Some(IncompleteDetails { reason: IncompleteReason::MaxOutputTokens }),
        output: &output,
        usage: Some(Usage::new(5, 2, 7, 3)),
        ..Response::begun("resp_1", 17, &echo)
    };
    let answer = value(&response.to_json());
    assert_eq!(answer["status"], "incomplete");
    assert_eq!(answer["incomplete_details"], json!({"reason": "max_output_tokens"}));
    let usage = json!({"input_tokens": 5, "output_tokens": 7, "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 3}});
    assert_eq!(answer["usage"], usage);
    assert_eq!(answer["output"][0]["content"][0]["text"], "t");
}

/// Each event, its type, and what else its data says.
fn assert_events<'a>(table: impl IntoIterator<Item = (Event<'a>, &'static str, Value)>) {
    for (event, kind, rest) in table {
        let mut expected = json!({"type": kind, "sequence_number": 4});
        let rest = rest.as_object().expect("an object").clone();
        expected.as_object_mut().expect("an object").extend(rest);
        let json = event.to_json(4);
        assert_eq!(value(&json), expected);
        assert_eq!(event.is_delta(), kind.ends_with(".delta"));
        let mut out = Vec::new();
        event.write(&json, &mut out);
        assert!(out.starts_with(format!("event: {kind}\ndata: {{").as_bytes()));
        assert!(out.ends_with(b"}\n\n"));
    }
}

#[test]
fn events_of_an_answer_and_its_items_carry_them_whole() {
    let echo = Echo::unknown("m".to_owned());
    let response = &Response::begun("resp_1", 17, &echo);
    let whole = json!({"response": value(&response.to_json())});
    let item = &message(Status::Completed, "t");
    let (output_index, about) = (1, json!({"output_index": 1, "item": item}));
    assert_events([
        (Event::Created { response }, "response.created", whole.clone()),
        (Event::InProgress { response }, "response.in_progress", whole.clone()),
        (Event::Completed { response }, "response.completed", whole.clone()),
        (Event::Incomplete { response }, "response.incomplete", whole.clone()),
        (Event::Failed { response }, "response.failed", whole),
        (
            Event::OutputItemAdded { output_index, item },
            "response.output_item.added",
            about.clone(),
        ),
        (Event::OutputItemDone { output_index, item }, "response.output_item.done", about),
    ]);
}

#[test]
fn events_of_a_text_say_where_it_stands() {
    let part = &OutputPart::ReasoningText { text: "t".to_owned() };
    let part_json = json!({"type": "reasoning_text", "text": "t"});
    let logprobs = &[TokenLogprob {
        token: "t".to_owned(),
        logprob: -0.5,
        bytes: Some(vec![116]),
        top_logprobs: Vec::new(),
    }][..];
    let logprobs_json =
        json!([{"token": "t", "logprob": -0.5, "bytes": [116], "top_logprobs": []}]);
    let (item_id, output_index, content_index, delta, text) = ("i", 1, 0, "d", "t");
    let at = |more: &Value| {
        let mut at = json!({"item_id": "i", "output_index": 1, "content_index": 0});
        at.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        at
    };
    assert_events([
        (
            Event::ContentPartAdded { item_id, output_index, content_index, part },
            "response.content_part.added",
            at(&json!({"part": part_json})),
        ),
        (
            Event::ContentPartDone { item_id, output_index, content_index, part },
            "response.content_part.done",
            at(&json!({"part": part_json})),
        ),
        (
            Event::OutputTextDelta { item_id, output_index, content_index, delta, logprobs },
            "response.output_text.delta",
            at(&json!({"delta": "d", "logprobs": logprobs_json})),
        ),
        (
            Event::OutputTextDone { item_id, output_index, content_index, text, logprobs },
            "response.output_text.done",
            at(&json!({"text": "t", "logprobs": logprobs_json})),
        ),
        (
            Event::ReasoningTextDelta { item_id, output_index, content_index, delta },
            "response.reasoning_text.delta",
            at(&json!({"delta": "d"})),
        ),
        (
            Event::ReasoningTextDone { item_id, output_index, content_index, text },
            "response.reasoning_text.done",
            at(&json!({"text": "t"})),
        ),
    ]);
}

#[test]
fn events_of_a_call_say_which() {
    let (item_id, output_index, delta) = ("i", 1, "d");
    let (name, arguments, input) = ("f", "{}", "x");
    assert_events([
        (
            Event::FunctionCallArgumentsDelta { item_id, output_index, delta },
            "response.function_call_arguments.delta",
            json!({"item_id": "i", "output_index": 1, "delta": "d"}),
        ),
        (
            Event::FunctionCallArgumentsDone { item_id, output_index, name, arguments },
            "response.function_call_arguments.done",
            json!({"item_id": "i", "output_index": 1, "name": "f", "arguments": "{}"}),
        ),
        (
            Event::CustomToolCallInputDelta { item_id, output_index, delta },
            "response.custom_tool_call_input.delta",
            json!({"item_id": "i", "output_index": 1, "delta": "d"}),
        ),
        (
            Event::CustomToolCallInputDone { item_id, output_index, input },
            "response.custom_tool_call_input.done",
            json!({"item_id": "i", "output_index": 1, "input": "x"}),
        ),
    ]);
}

#[test]
fn a_failure_is_told_in_every_clients_words() {
    let error = ErrorBody::new(kind::SERVER, "The worker was lost.").code("worker_lost").error;
    let echo = Echo::unknown("m".to_owned());
    let output = [message(Status::Incomplete, "t")];
    let response = Response::failed("resp_1", 17, &echo, &output, &error);
    let mut out = Vec::new();
    failure(&error, &response, 9, &mut out);
    let mut decoder = sse::Decoder::new(100_000);
    decoder.push(&out);
    let mut next = || decoder.next_event().expect("an event stream").expect("an event");

    let told = next();
    assert_eq!(told.name.as_deref(), Some("error"));
    let object = json!({"type": "server_error", "code": "worker_lost",
        "message": "The worker was lost.", "param": null});
    let expected = json!({"type": "error", "sequence_number": 9, "code": "worker_lost",
        "message": "The worker was lost.", "param": null, "error": object});
    assert_eq!(value(told.data.as_bytes()), expected);

    let failed = next();
    assert_eq!(failed.name.as_deref(), Some("response.failed"));
    let failed = value(failed.data.as_bytes());
    assert_eq!(failed["sequence_number"], 10);
    let (status, error) = (&failed["response"]["status"], &failed["response"]["error"]);
    assert_eq!(status, "failed");
    assert_eq!(*error, json!({"code": "server_error", "message": "The worker was lost."}));
    assert_eq!(failed["response"]["output"][0]["status"], "incomplete");
    assert!(next().is_done());
}
