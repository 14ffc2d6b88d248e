//! What a client sees when all goes well.

use cocoon_attest::receipt::Finish;

use super::*;
use crate::serve::padding::BUCKET_BYTES;

#[tokio::test]
async fn a_stream_of_the_scripted_engine_has_its_shape_and_its_receipt() {
    let rig = Rig::scripted(5).await;
    let body = chat(&json!({"stream": true}));
    let response = rig.send(&body).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(response.headers()[headers::PROMPT_TOKENS], "5");
    let frames = frames(response).await;

    let kinds = kinds(&frames);
    let (data, end) = kinds.split_at(kinds.len() - 2);
    assert!(!data.is_empty() && data.iter().all(|kind| *kind == FrameKind::Data));
    assert_eq!(end, [FrameKind::Receipt, FrameKind::Data]);

    let chunks = chunks(&frames);
    assert_eq!(chunks[0], chunk(&json!({"role": "assistant", "content": ""}), &Value::Null));
    assert_eq!(chunks[chunks.len() - 1], chunk(&json!({}), &json!("stop")));
    let mut text = String::new();
    for seen in &chunks[1..chunks.len() - 1] {
        let delta = seen["choices"][0]["delta"].clone();
        text += delta["content"].as_str().expect("content");
        assert_eq!(*seen, chunk(&delta, &Value::Null));
    }
    assert_eq!(text.split_whitespace().count(), 5);

    let core = rig.verified(&receipt_in(&frames), &body, &frames);
    assert_eq!((core.finish, core.usage.prompt, core.usage.completion), (Finish::Stop, 5, 5));
    assert_eq!(rig.posted(), receipt_in(&frames));
}

#[tokio::test]
async fn usage_comes_only_when_asked() {
    let rig = Rig::scripted(3).await;
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    let body = chat(&json!({"stream": true, "stream_options": options}));
    let mut chunks = chunks(&rig.frames(&body).await);
    let last = chunks.pop().expect("a usage chunk");
    assert_eq!(last["choices"], json!([]));
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}});
    assert_eq!(last["usage"], usage);
    assert!(chunks.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
    assert_eq!(chunks.last().expect("a finish")["choices"][0]["finish_reason"], "stop");

    let plain = chat(&json!({"stream": true, "stream_options": {}}));
    let chunks = super::chunks(&Rig::scripted(3).await.frames(&plain).await);
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn padding_hides_the_lengths_of_deltas() {
    let lengths = async |text: &str| {
        let (rig, _) =
            Rig::played(vec![started(), delta(text, 1), finished(FinishReason::Stop, 1)]);
        let frames = rig.frames(&chat(&json!({"stream": true}))).await;
        let mut events = events(&frames);
        events.pop();
        for event in &events {
            let chunk: Value = serde_json::from_str(event).expect("JSON");
            assert!(chunk["obfuscation"].as_str().is_some_and(|padding| !padding.is_empty()));
        }
        events.iter().map(String::len).collect::<Vec<_>>()
    };
    let (short, long) = (lengths("a").await, lengths("a considerably longer token").await);
    for (short, long) in short.iter().zip(&long) {
        let apart = short.abs_diff(*long);
        assert!(apart == 0 || apart == BUCKET_BYTES, "{short} and {long}");
    }
}

#[tokio::test]
async fn padding_can_be_switched_off() {
    let rig = Rig::scripted(2).await;
    let options = json!({"include_obfuscation": false});
    let frames = rig.frames(&chat(&json!({"stream": true, "stream_options": options}))).await;
    assert!(events(&frames).iter().all(|event| !event.contains("obfuscation")));
}

#[tokio::test]
async fn a_whole_answer_is_one_object_with_usage() {
    let rig = Rig::scripted(4).await;
    let body = chat(&json!({}));
    let response = rig.send(&body).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let frames = frames(response).await;
    assert_eq!(kinds(&frames), [FrameKind::Receipt, FrameKind::Data]);
    let answer: Value = serde_json::from_slice(&frames[1].payload).expect("JSON");
    let content = answer["choices"][0]["message"]["content"].clone();
    assert_eq!(content.as_str().map(|text| text.split(' ').count()), Some(4));
    let expected = json!({"id": CHAT_ID, "object": "chat.completion", "created": 1_700_000_000,
        "model": "m", "service_tier": "default", "system_fingerprint": null,
        "choices": [{"index": 0, "logprobs": null, "finish_reason": "stop", "message":
            {"role": "assistant", "content": content, "refusal": null, "annotations": []}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}});
    assert_eq!(answer, expected);
    let core = rig.verified(&receipt_in(&frames), &body, &frames);
    assert_eq!((core.frames, core.usage.completion), (1, 4));
}

#[tokio::test]
async fn ready_deltas_share_a_chunk_and_a_frame() {
    let mut events = vec![started()];
    events.extend((1..=20).map(|count| delta("x", count)));
    events.push(finished(FinishReason::Stop, 20));
    let (rig, _) = Rig::played(events);
    let frames = rig.frames(&chat(&json!({"stream": true}))).await;
    assert_eq!(kinds(&frames), [FrameKind::Data, FrameKind::Receipt, FrameKind::Data]);
    let chunks = chunks(&frames);
    assert_eq!(chunks[1]["choices"][0]["delta"]["content"], "x".repeat(20));
    assert_eq!(chunks.len(), 3);
}

fn thinking_and_calling() -> Vec<EngineEvent> {
    let with_logprob = EngineEvent::Delta {
        channel: Channel::Content,
        text: "so".to_owned(),
        completion_tokens: 3,
        logprobs: vec![logprob("so")],
    };
    let usage = Usage { prompt: 11, cached: 4, completion: 9, reasoning: 2 };
    let end = EngineEvent::Finished { finish: FinishReason::Stop, usage };
    vec![
        started(),
        thought("hm", 1),
        thought("…", 2),
        with_logprob,
        call(0, "f", 5),
        call(1, "g", 8),
        end,
    ]
}

#[tokio::test]
async fn a_stream_carries_thoughts_calls_and_logprobs() {
    let (rig, _) = Rig::played(thinking_and_calling());
    let options = json!({"include_usage": true});
    let body = chat(
        &json!({"stream": true, "stream_options": options, "logprobs": true, "top_logprobs": 1}),
    );
    let frames = rig.frames(&body).await;
    let mut chunks = chunks(&frames);
    let usage = chunks.pop().expect("usage");
    assert_eq!(usage["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
    assert_eq!(usage["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    let parts: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]).collect();
    let deltas: Vec<_> = parts.iter().map(|choice| choice["delta"].clone()).collect();
    let function = |index: u32, name: &str| {
        json!({"tool_calls": [{"index": index, "id": format!("call_{index}"), "type": "function",
            "function": {"name": name, "arguments": "{}"}}]})
    };
    let expected = [
        json!({"role": "assistant", "content": ""}),
        json!({"reasoning_content": "hm…"}),
        json!({"content": "so"}),
        function(0, "f"),
        function(1, "g"),
        json!({}),
    ];
    assert_eq!(deltas, expected);
    let logprobs = json!({"refusal": null, "content": [{"token": "so", "logprob": -0.5,
        "bytes": [115, 111], "top_logprobs": [{"token": "so", "logprob": -0.5, "bytes": [115, 111]}]}]});
    assert_eq!(parts[2]["logprobs"], logprobs);
    let ends: Vec<_> = parts.iter().filter(|choice| !choice["finish_reason"].is_null()).collect();
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0]["finish_reason"], "tool_calls");
    let core = rig.verified(&receipt_in(&frames), &body, &frames);
    assert_eq!((core.finish, core.usage.reasoning, core.usage.cached), (Finish::ToolCalls, 2, 4));
}

#[tokio::test]
async fn a_whole_answer_carries_thoughts_calls_and_logprobs() {
    let (rig, _) = Rig::played(thinking_and_calling());
    let frames = rig.frames(&chat(&json!({"logprobs": true}))).await;
    let answer: Value = serde_json::from_slice(&frames[1].payload).expect("JSON");
    let choice = &answer["choices"][0];
    let call = |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
    let message = json!({"role": "assistant", "content": "so", "refusal": null, "annotations": [],
        "reasoning_content": "hm…", "tool_calls": [call("call_0", "f"), call("call_1", "g")]});
    assert_eq!(choice["message"], message);
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["logprobs"]["content"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_answer_of_calls_alone_has_null_content() {
    let events = vec![started(), call(0, "f", 3), finished(FinishReason::ToolCalls, 3)];
    let (rig, _) = Rig::played(events);
    let frames = rig.frames(&chat(&json!({}))).await;
    let answer: Value = serde_json::from_slice(&frames[1].payload).expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], Value::Null);
}

#[tokio::test]
async fn an_empty_answer_still_names_its_role() {
    let (rig, _) = Rig::played(vec![started(), finished(FinishReason::Stop, 1)]);
    let frames = rig.frames(&chat(&json!({"stream": true}))).await;
    assert_eq!(kinds(&frames), [FrameKind::Receipt, FrameKind::Data]);
    let chunks = chunks(&frames);
    assert_eq!(chunks[0], chunk(&json!({"role": "assistant", "content": ""}), &Value::Null));
    assert_eq!(chunks[1], chunk(&json!({}), &json!("stop")));
}

#[tokio::test]
async fn functions_are_called_in_their_deprecated_form() {
    let events = || vec![started(), call(0, "f", 3), finished(FinishReason::Stop, 3)];
    let functions = json!([{"name": "f", "parameters": {"type": "object"}}]);
    let (rig, _) = Rig::played(events());
    let frames = rig.frames(&chat(&json!({"functions": functions}))).await;
    let answer: Value = serde_json::from_slice(&frames[1].payload).expect("JSON");
    let choice = &answer["choices"][0];
    let message = json!({"role": "assistant", "content": null, "refusal": null, "annotations": [],
        "function_call": {"name": "f", "arguments": "{}"}});
    assert_eq!((&choice["message"], &choice["finish_reason"]), (&message, &json!("function_call")));

    let (rig, _) = Rig::played(events());
    let body = chat(&json!({"functions": functions, "function_call": "auto", "stream": true}));
    let chunks = chunks(&rig.frames(&body).await);
    let called = json!({"function_call": {"name": "f", "arguments": "{}"}});
    assert_eq!(chunks[1], chunk(&called, &Value::Null));
    assert_eq!(chunks[2], chunk(&json!({}), &json!("function_call")));
}

#[tokio::test]
async fn thoughts_have_no_logprobs() {
    let event = |channel| EngineEvent::Delta {
        channel,
        text: "x".to_owned(),
        completion_tokens: 1,
        logprobs: vec![logprob("x")],
    };
    let events = || {
        vec![
            started(),
            event(Channel::Reasoning),
            event(Channel::Content),
            finished(FinishReason::Stop, 2),
        ]
    };
    let (rig, _) = Rig::played(events());
    let chunks = chunks(&rig.frames(&chat(&json!({"stream": true, "logprobs": true}))).await);
    assert_eq!(chunks[1]["choices"][0]["delta"], json!({"reasoning_content": "x"}));
    assert_eq!(chunks[1]["choices"][0]["logprobs"], Value::Null);
    assert_eq!(chunks[2]["choices"][0]["logprobs"]["content"].as_array().map(Vec::len), Some(1));
    let (rig, _) = Rig::played(events());
    let frames = rig.frames(&chat(&json!({"logprobs": true}))).await;
    let answer: Value = serde_json::from_slice(&frames[1].payload).expect("JSON");
    assert_eq!(answer["choices"][0]["logprobs"]["content"].as_array().map(Vec::len), Some(1));
}
