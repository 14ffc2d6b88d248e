//! The events of a stream, in their order and against expected values.

use super::*;
use crate::serve::padding::BUCKET_BYTES;

/// An event about the item or part at these places.
fn event(kind: &str, rest: &Value) -> Value {
    let mut event = json!({"type": kind});
    let fields = rest.as_object().expect("an object").clone();
    event.as_object_mut().expect("an object").extend(fields);
    event
}

/// The events of a message of one text that came in these deltas.
fn said(output_index: u32, deltas: &[&str]) -> Vec<Value> {
    let text = deltas.concat();
    let at = json!({"item_id": MESSAGE_ID, "output_index": output_index, "content_index": 0});
    let about = |kind: &str, more: &Value| {
        let mut event = event(kind, &at);
        event.as_object_mut().expect("an object").extend(more.as_object().expect("it").clone());
        event
    };
    let item =
        |kind: &str, item: Value| event(kind, &json!({"output_index": output_index, "item": item}));
    let mut events = vec![
        item("response.output_item.added", message("in_progress", &json!([]))),
        about("response.content_part.added", &json!({"part": text_part("")})),
    ];
    events.extend(deltas.iter().map(|delta| {
        about("response.output_text.delta", &json!({"delta": delta, "logprobs": []}))
    }));
    events.extend([
        about("response.output_text.done", &json!({"text": text, "logprobs": []})),
        about("response.content_part.done", &json!({"part": text_part(&text)})),
        item("response.output_item.done", message("completed", &json!([text_part(&text)]))),
    ]);
    events
}

/// The events of a call of the function with this number.
fn called(output_index: u32, number: u32, arguments: &str) -> Vec<Value> {
    let done = function_call(number, "completed", arguments);
    let at = json!({"item_id": done["id"], "output_index": output_index});
    let mut delta = event("response.function_call_arguments.delta", &at);
    delta["delta"] = arguments.into();
    let mut whole = event("response.function_call_arguments.done", &at);
    whole["name"] = done["name"].clone();
    whole["arguments"] = arguments.into();
    let item = |item: Value| json!({"output_index": output_index, "item": item});
    vec![
        event("response.output_item.added", &item(function_call(number, "in_progress", ""))),
        delta,
        whole,
        event("response.output_item.done", &item(done)),
    ]
}

fn opening() -> Vec<Value> {
    let response = json!({"response": begun()});
    vec![event("response.created", &response), event("response.in_progress", &response)]
}

#[tokio::test]
async fn a_text_is_told_event_by_event() {
    let end = finished(FinishReason::Stop, 2);
    let (rig, _) = Rig::played(vec![started(), delta("hel", 1), delta("lo", 2), end]);
    let events = streamed(&rig, &json!({})).await;
    let mut expected = opening();
    expected.extend(said(0, &["hello"]));
    let output = json!([message("completed", &json!([text_part("hello")]))]);
    let response = json!({"response": ended(&output, &used(11, 0, 2, 0))});
    expected.push(event("response.completed", &response));
    assert_eq!(events, expected);
}

#[tokio::test]
async fn deltas_leave_as_they_come() {
    let (rig, engine) = Rig::played(vec![started(), delta("hel", 1)]);
    let body = responses(&json!({"stream": true}));
    let response = send(&rig, &body).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let mut answer = response.into_body();
    let first = answer.frame().await.expect("a frame").expect("infallible");
    let mut decoder = FrameDecoder::new(1_000_000);
    decoder.push(first.into_data().expect("data"));
    let first = decoder.next_frame().expect("frames").expect("one frame");
    let (events, is_done) = numbered(&first.payload, 0);
    assert!(!is_done);
    assert_eq!(events[4]["delta"], "hel");
    engine.say(delta("lo", 2)).await;
    engine.say(finished(FinishReason::Stop, 2)).await;
    decoder.push(answer.collect().await.expect("infallible").to_bytes());
    let mut rest = Vec::new();
    while let Some(frame) = decoder.next_frame().expect("frames") {
        rest.push(frame);
    }
    let (rest, is_done) = numbered(&payloads(&rest), 5);
    assert!(is_done);
    let seen: Vec<_> = events.into_iter().chain(rest).skip(2).take(7).collect();
    assert_eq!(seen, said(0, &["hel", "lo"]));
}

#[tokio::test]
async fn thoughts_text_and_calls_are_told_in_their_order() {
    let usage = Usage { prompt: 11, cached: 4, completion: 9, reasoning: 2 };
    let end = EngineEvent::Finished { finish: FinishReason::Stop, usage };
    let (rig, _) = Rig::played(vec![
        started(),
        thought("hm", 1),
        thought("…", 2),
        delta("so", 3),
        call(0, "f0", 5),
        call(1, "f1", 8),
        end,
    ]);
    let events = streamed(&rig, &json!({})).await;
    let reasoning = |status: &str, content: Value| {
        json!({"output_index": 0, "item": {"type": "reasoning", "id": REASONING_ID, "summary": [],
            "content": content, "status": status}})
    };
    let part = |text: &str| json!({"type": "reasoning_text", "text": text});
    let at = |key: &str, value: Value| {
        let mut at = json!({"item_id": REASONING_ID, "output_index": 0, "content_index": 0});
        at[key] = value;
        at
    };
    let mut expected = opening();
    let thought = json!([part("hm…")]);
    expected.extend([
        event("response.output_item.added", &reasoning("in_progress", json!([]))),
        event("response.content_part.added", &at("part", part(""))),
        event("response.reasoning_text.delta", &at("delta", "hm…".into())),
        event("response.reasoning_text.done", &at("text", "hm…".into())),
        event("response.content_part.done", &at("part", part("hm…"))),
        event("response.output_item.done", &reasoning("completed", thought.clone())),
    ]);
    expected.extend(said(1, &["so"]));
    expected.extend(called(2, 0, "{}"));
    expected.extend(called(3, 1, "{}"));
    let output = json!([
        reasoning("completed", thought)["item"],
        message("completed", &json!([text_part("so")])),
        function_call(0, "completed", "{}"),
        function_call(1, "completed", "{}"),
    ]);
    let response = json!({"response": ended(&output, &used(11, 4, 9, 2))});
    expected.push(event("response.completed", &response));
    assert_eq!(events, expected);
}

/// The type, the index inside the item and the text of what is told of thoughts.
fn told(event: &Value) -> (&str, &Value, &str) {
    let kind = event["type"].as_str().expect("a type");
    let is_summary = kind.contains("summary");
    let index = &event[if is_summary { "summary_index" } else { "content_index" }];
    if let Some(kind) = event["part"]["type"].as_str() {
        assert_eq!(kind, if is_summary { "summary_text" } else { "reasoning_text" });
    }
    let texts = [&event["delta"], &event["text"], &event["part"]["text"]];
    (kind, index, texts.iter().find_map(|text| text.as_str()).expect("a text"))
}

#[tokio::test]
async fn thoughts_are_their_summary_where_one_is_asked_for() {
    for word in ["auto", "concise", "detailed"] {
        let said = vec![
            started(),
            thought("h", 1),
            thought("m", 2),
            delta("so", 3),
            finished(FinishReason::Stop, 3),
        ];
        let more = json!({"reasoning": {"summary": word}});
        let events = streamed(&Rig::played(said.clone()).0, &more).await;
        assert_eq!(events[2]["item"]["summary"], json!([]));
        let zero = &json!(0);
        let expected = [
            ("response.content_part.added", zero, ""),
            ("response.reasoning_summary_part.added", zero, ""),
            ("response.reasoning_text.delta", zero, "hm"),
            ("response.reasoning_summary_text.delta", zero, "hm"),
            ("response.reasoning_text.done", zero, "hm"),
            ("response.content_part.done", zero, "hm"),
            ("response.reasoning_summary_text.done", zero, "hm"),
            ("response.reasoning_summary_part.done", zero, "hm"),
        ];
        assert_eq!(events[3..11].iter().map(told).collect::<Vec<_>>(), expected);
        for event in &events[3..11] {
            assert_eq!((&event["item_id"], &event["output_index"]), (&json!(REASONING_ID), zero));
        }
        let item = json!({"type": "reasoning", "id": REASONING_ID, "status": "completed",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "content": [{"type": "reasoning_text", "text": "hm"}]});
        assert_eq!(
            (types(&events[11..12]), &events[11]["item"]),
            (vec!["response.output_item.done"], &item)
        );
        let last = events.last().expect("an end");
        assert_eq!(
            (&last["response"]["output"][0], &last["response"]["reasoning"]["summary"]),
            (&item, &json!(word))
        );
        let whole = answer(&Rig::played(said).0, &responses(&more)).await;
        assert_eq!(whole["output"][0], item);
    }
}

#[tokio::test]
async fn the_padding_of_summaries_hides_their_lengths_too() {
    let said = vec![started(), thought("hm", 1), finished(FinishReason::Stop, 1)];
    let body = responses(&json!({"stream": true, "reasoning": {"summary": "auto"}}));
    let frames = answer_frames(&Rig::played(said).0, &body).await;
    let text = String::from_utf8(payloads(&frames)).expect("text");
    let delta =
        text.lines().find(|line| line.contains(r#""response.reasoning_summary_text.delta""#));
    assert!(delta.expect("a delta").contains("obfuscation"));
}

#[tokio::test]
async fn a_stream_ends_in_the_object_of_the_whole_answer() {
    let events = || {
        vec![
            started(),
            thought("hm", 1),
            delta("a", 2),
            call(0, "f0", 3),
            delta("b", 4),
            finished(FinishReason::Length, 4),
        ]
    };
    let more = json!({"instructions": "i", "temperature": 0.25});
    let whole = answer(&Rig::played(events()).0, &responses(&more)).await;
    let mut streamed = streamed(&Rig::played(events()).0, &more).await;
    let last = streamed.pop().expect("an end");
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"], whole);
}

#[tokio::test]
async fn an_answer_that_was_cut_ends_incomplete() {
    let (rig, _) = Rig::played(vec![started(), delta("a", 1), finished(FinishReason::Length, 1)]);
    let events = streamed(&rig, &json!({})).await;
    let [.., item, last] = &events[..] else { panic!("an end") };
    assert_eq!(
        (&item["type"], &item["item"]["status"]),
        (&json!("response.output_item.done"), &json!("incomplete"),)
    );
    assert_eq!(last["type"], "response.incomplete");
    let details = &last["response"]["incomplete_details"];
    assert_eq!(*details, json!({"reason": "max_output_tokens"}));
    assert_eq!(last["response"]["usage"], used(11, 0, 1, 0));
}

#[tokio::test]
async fn an_answer_of_nothing_is_told_as_an_empty_message() {
    let (rig, _) = Rig::played(vec![started(), finished(FinishReason::Stop, 1)]);
    let events = streamed(&rig, &json!({})).await;
    let mut expected = opening();
    expected.extend(said(0, &[]));
    assert_eq!(events[..events.len() - 1], expected);
    assert_eq!(events.last().expect("an end")["type"], "response.completed");
}

#[tokio::test]
async fn logprobs_stand_beside_their_delta_and_once_more_at_its_end() {
    let piece = |text: &str, completion_tokens| EngineEvent::Delta {
        channel: Channel::Content,
        text: text.to_owned(),
        completion_tokens,
        logprobs: vec![logprob(text)],
    };
    let end = finished(FinishReason::Stop, 2);
    let (rig, _) = Rig::played(vec![started(), piece("so", 1), piece("la", 2), end]);
    let include = json!({"include": ["message.output_text.logprobs"], "top_logprobs": 1});
    let events = streamed(&rig, &include).await;
    let logprobs = |event: &Value| {
        let all = event["logprobs"].as_array().expect("logprobs").iter();
        all.map(|one| one["token"].as_str().expect("a token").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (logprobs(&events[4]), logprobs(&events[5])),
        (vec!["so".to_owned(), "la".to_owned()], vec!["so".to_owned(), "la".to_owned()],)
    );
    assert_eq!(events[6]["part"]["logprobs"], events[5]["logprobs"]);
}

/// The padding of every event, by its type.
async fn padding(text: &str, more: &Value) -> Vec<(String, usize, Option<String>)> {
    let (rig, _) = Rig::played(vec![
        started(),
        thought(text, 1),
        delta(text, 2),
        call(0, "f0", 3),
        finished(FinishReason::Stop, 3),
    ]);
    let mut body = responses(more);
    body["stream"] = true.into();
    let frames = answer_frames(&rig, &body).await;
    let mut events = events(&frames);
    events.pop();
    let event = |text: &String| {
        let value: Value = serde_json::from_str(text).expect("JSON");
        let padding = value["obfuscation"].as_str().map(str::to_owned);
        (value["type"].as_str().expect("a type").to_owned(), text.len(), padding)
    };
    events.iter().map(event).collect()
}

#[tokio::test]
async fn padding_hides_the_lengths_of_deltas() {
    let (short, long) =
        (padding("a", &json!({})).await, padding(&"b".repeat(27), &json!({})).await);
    assert_eq!(short.len(), long.len());
    for ((kind, short, padding), (_, long, _)) in short.iter().zip(&long) {
        assert_eq!(padding.is_some(), kind.ends_with(".delta"), "{kind}");
        if let Some(padding) = padding {
            assert!(!padding.is_empty());
            assert_eq!(short.abs_diff(*long) % BUCKET_BYTES, 0, "{kind}: {short} and {long}");
        }
    }
    let deltas = short.iter().filter(|(.., padding)| padding.is_some()).count();
    assert_eq!(deltas, 3);
}

#[tokio::test]
async fn padding_can_be_switched_off() {
    let off = json!({"stream_options": {"include_obfuscation": false}});
    assert!(padding("a", &off).await.iter().all(|(.., padding)| padding.is_none()));
}

#[tokio::test]
async fn an_answer_of_the_scripted_engine_has_its_events() {
    let events = streamed(&Rig::scripted(5).await, &json!({})).await;
    let types = types(&events);
    assert_eq!(
        types[..4],
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
        ]
    );
    assert_eq!(
        types[types.len() - 4..],
        [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let deltas = &events[4..events.len() - 4];
    assert!(deltas.iter().all(|event| event["type"] == "response.output_text.delta"));
    let text: String = deltas.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(text, events[events.len() - 4]["text"].as_str().expect("text"));
    assert_eq!(text.split_whitespace().count(), 5);
}
