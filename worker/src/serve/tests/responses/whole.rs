//! An answer in one piece.

use cocoon_attest::receipt::Finish;

use super::*;

#[tokio::test]
async fn an_answer_is_one_object_with_every_key() {
    let end = finished(FinishReason::Stop, 2);
    let (rig, _) = Rig::played(vec![started(), delta("hel", 1), delta("lo", 2), end]);
    let body = responses(&json!({}));
    let response = send(&rig, &body).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let frames = frames(response).await;
    assert_eq!(kinds(&frames), [FrameKind::Receipt, FrameKind::Data]);
    let answer: Value = serde_json::from_slice(&frames[1].payload).expect("JSON");
    let output = json!([message("completed", &json!([text_part("hello")]))]);
    assert_eq!(answer, ended(&output, &used(11, 0, 2, 0)));
    let core = verified(&rig, &frames, &body);
    assert_eq!((core.chat_id.as_str(), core.finish), (RESPONSE_ID, Finish::Stop));
}

#[tokio::test]
async fn an_answer_of_the_scripted_engine_is_charged_as_said() {
    let rig = Rig::scripted(4).await;
    let answer = answer(&rig, &responses(&json!({}))).await;
    let text = answer["output"][0]["content"][0]["text"].as_str().expect("text");
    assert_eq!(text.split(' ').count(), 4);
    assert_eq!(answer["usage"]["output_tokens"], 4);
}

#[tokio::test]
async fn thoughts_text_and_calls_are_items_in_their_order() {
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
    let answer = answer(&rig, &responses(&json!({}))).await;
    let thought = json!([{"type": "reasoning_text", "text": "hm…"}]);
    let output = json!([
        {"type": "reasoning", "id": REASONING_ID, "summary": [], "content": thought,
            "status": "completed"},
        message("completed", &json!([text_part("so")])),
        function_call(0, "completed", "{}"),
        function_call(1, "completed", "{}"),
    ]);
    assert_eq!(answer, ended(&output, &used(11, 4, 9, 2)));
}

#[tokio::test]
async fn an_item_that_comes_again_has_an_id_of_its_own() {
    let (rig, _) = Rig::played(vec![
        started(),
        delta("a", 1),
        thought("b", 2),
        delta("c", 3),
        thought("d", 4),
        finished(FinishReason::Stop, 4),
    ]);
    let answer = answer(&rig, &responses(&json!({}))).await;
    let items = answer["output"].as_array().expect("items");
    let ids: Vec<_> = items.iter().map(|item| item["id"].as_str().expect("an id")).collect();
    let second = |id: &str| format!("{id}_1");
    assert_eq!(ids, [MESSAGE_ID, REASONING_ID, &second(MESSAGE_ID), &second(REASONING_ID)]);
}

#[tokio::test]
async fn logprobs_come_only_where_they_were_asked_for() {
    let events = || {
        let with_logprob = EngineEvent::Delta {
            channel: Channel::Content,
            text: "so".to_owned(),
            completion_tokens: 3,
            logprobs: vec![logprob("so")],
        };
        vec![started(), with_logprob, finished(FinishReason::Stop, 3)]
    };
    let include = json!({"include": ["message.output_text.logprobs"], "top_logprobs": 1});
    let asked = answer(&Rig::played(events()).0, &responses(&include)).await;
    let expected = json!([{"token": "so", "logprob": -0.5, "bytes": [115, 111],
        "top_logprobs": [{"token": "so", "logprob": -0.5, "bytes": [115, 111]}]}]);
    assert_eq!(asked["output"][0]["content"][0]["logprobs"], expected);
    let unasked = answer(&Rig::played(events()).0, &responses(&json!({}))).await;
    assert_eq!(unasked["output"][0]["content"][0]["logprobs"], json!([]));
}

#[tokio::test]
async fn an_answer_that_was_cut_says_why() {
    for (finish, reason) in [
        (FinishReason::Length, "max_output_tokens"),
        (FinishReason::ContentFilter, "content_filter"),
    ] {
        let (rig, _) = Rig::played(vec![started(), delta("a", 1), finished(finish, 1)]);
        let answer = answer(&rig, &responses(&json!({}))).await;
        let mut expected =
            ended(&json!([message("incomplete", &json!([text_part("a")]))]), &used(11, 0, 1, 0));
        expected["status"] = "incomplete".into();
        expected["completed_at"] = Value::Null;
        expected["incomplete_details"] = json!({"reason": reason});
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn an_answer_of_nothing_is_an_empty_message() {
    for events in [vec![], vec![thought("hm", 1)]] {
        let mut all = vec![started()];
        all.extend(events);
        all.push(finished(FinishReason::Stop, 1));
        let answer = answer(&Rig::played(all).0, &responses(&json!({}))).await;
        let items = answer["output"].as_array().expect("items");
        let last = items.last().expect("a message");
        assert_eq!(*last, message("completed", &json!([text_part("")])));
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_before_it_spoke_has_no_message() {
    let events = vec![started(), thought("hm", 1), finished(FinishReason::Length, 1)];
    let answer = answer(&Rig::played(events).0, &responses(&json!({}))).await;
    assert_eq!(answer["output"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["output"][0]["status"], "incomplete");
}

#[tokio::test]
async fn what_was_asked_for_is_said_again() {
    let (rig, _) = Rig::played(vec![started(), delta("a", 1), finished(FinishReason::Stop, 1)]);
    let tool = json!({"type": "function", "name": "f", "description": null, "strict": true,
        "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}});
    let answer = answer(
        &rig,
        &responses(&json!({
            "instructions": "be brief", "store": true, "temperature": 0.7, "truncation": "auto",
            "metadata": {"k": "v"}, "max_output_tokens": 50, "tools": [tool, {"type": "mcp"}],
            "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false,
            "reasoning": {"effort": "high", "summary": "auto"}, "safety_identifier": "s",
            "text": {"verbosity": "low", "format": {"type": "json_object"}},
        })),
    )
    .await;
    for (key, expected) in [
        ("instructions", json!("be brief")),
        ("store", json!(false)),
        ("temperature", json!(0.7)),
        ("truncation", json!("disabled")),
        ("metadata", json!({"k": "v"})),
        ("max_output_tokens", json!(50)),
        ("tools", json!([tool])),
        ("tool_choice", json!({"type": "function", "name": "f"})),
        ("parallel_tool_calls", json!(false)),
        ("reasoning", json!({"effort": "high", "summary": "auto"})),
        ("safety_identifier", json!("s")),
        ("text", json!({"verbosity": "low", "format": {"type": "json_object"}})),
    ] {
        assert_eq!(answer[key], expected, "{key}");
    }
}
