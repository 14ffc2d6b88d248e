//! Failures, aborts, limits.

use cocoon_attest::receipt::Finish;

use super::*;

#[tokio::test]
async fn a_failure_mid_stream_is_told_in_this_protocols_words() {
    let crashed = EngineEvent::Failed(EngineError::Crashed);
    let (rig, engine) = Rig::played(vec![started(), thought("hm", 1), delta("a", 3), crashed]);
    let body = responses(&json!({"stream": true}));
    let frames = answer_frames(&rig, &body).await;
    assert_eq!(kinds(&frames), [FrameKind::Data, FrameKind::Receipt, FrameKind::Error]);
    assert!(engine.is_cancelled());
    let core = verified(&rig, &frames, &body);
    assert_eq!((core.finish, core.usage.completion), (Finish::Error, 3));

    let (told, is_done) = numbered(&frames[0].payload, 0);
    assert!(!is_done);
    let payload: Value = serde_json::from_slice(&frames[2].payload).expect("JSON");
    assert_eq!(payload["status"], 502);
    let event = payload["event"].as_str().expect("events");
    let next = u64::try_from(told.len()).expect("a small number");
    let (events, is_done) = numbered(event.as_bytes(), next);
    assert!(is_done);
    assert_eq!(types(&events), ["error", "response.failed"]);
    let error = &payload["error"];
    let mut expected = json!({"type": "error", "error": error});
    for key in ["code", "message", "param"] {
        expected[key] = error[key].clone();
    }
    assert_eq!(events[0], expected);
    assert_eq!(events[0]["code"], "engine_failed");

    let mut response = begun();
    response["status"] = "failed".into();
    response["error"] = json!({"code": "server_error", "message": error["message"]});
    response["output"] = json!([
        {"type": "reasoning", "id": REASONING_ID, "summary": [], "status": "completed",
            "content": [{"type": "reasoning_text", "text": "hm"}]},
        message("incomplete", &json!([text_part("a")])),
    ]);
    assert_eq!(events[1], json!({"type": "response.failed", "response": response}));
}

#[tokio::test]
async fn a_failure_before_any_event_begins_the_stream_first() {
    let (rig, engine) = Rig::played(vec![started()]);
    engine.say(EngineEvent::Failed(EngineError::Timeout)).await;
    let frames = answer_frames(&rig, &responses(&json!({"stream": true}))).await;
    assert_eq!(kinds(&frames), [FrameKind::Error]);
    let payload: Value = serde_json::from_slice(&frames[0].payload).expect("JSON");
    let (events, is_done) = numbered(payload["event"].as_str().expect("events").as_bytes(), 0);
    assert!(is_done && rig.outbox.is_empty());
    let expected = ["response.created", "response.in_progress", "error", "response.failed"];
    assert_eq!(types(&events), expected);
}

#[tokio::test]
async fn a_whole_answer_that_fails_has_no_events() {
    let crashed = EngineEvent::Failed(EngineError::Crashed);
    let (rig, _) = Rig::played(vec![started(), delta("lost", 3), crashed]);
    let frames = answer_frames(&rig, &responses(&json!({}))).await;
    assert_eq!(kinds(&frames), [FrameKind::Error]);
    let payload: Value = serde_json::from_slice(&frames[0].payload).expect("JSON");
    assert_eq!(payload.get("event"), None);
    assert!(rig.outbox.is_empty());
}

#[tokio::test]
async fn the_end_of_a_long_failed_answer_leaves_the_output_out() {
    let piece = "x".repeat(1024 * 1024);
    let mut events = vec![started()];
    events.extend((1..=5).map(|count| delta(&piece, count)));
    events.push(EngineEvent::Failed(EngineError::Crashed));
    let (rig, _) = Rig::played(events);
    let more = json!({"stream": true, "instructions": "be brief"});
    let frames = answer_frames(&rig, &responses(&more)).await;
    let error = frames.last().expect("an end");
    assert_eq!(error.kind, FrameKind::Error);
    let payload: Value = serde_json::from_slice(&error.payload).expect("JSON");
    let text = payload["event"].as_str().expect("events");
    assert!(text.len() < 10_000);
    let (events, is_done) = numbered(text.as_bytes(), 5);
    assert!(is_done);
    assert_eq!(events[1]["response"]["output"], json!([]));
    assert_eq!(events[1]["response"]["id"], RESPONSE_ID);
}

#[tokio::test]
async fn a_failure_before_the_start_is_a_status_that_names_the_parameter() {
    let error = EngineError::ContextLengthExceeded { prompt: 9, limit: 8 };
    let rig = Rig::over(Arc::new(Played::refusing(error)));
    let (status, error) = refusal(&rig, &responses(&json!({"stream": true}))).await;
    assert_eq!((status, &error["code"]), (400, &json!("context_length_exceeded")));
    assert_eq!(error["param"], "input");
    assert!(rig.outbox.is_empty());
}

#[tokio::test]
async fn a_client_that_goes_leaves_the_receipt_of_an_abort() {
    for stream in [true, false] {
        let (rig, engine) = Rig::played(vec![started(), thought("a", 2), delta("b", 4)]);
        let mut answer = send(&rig, &responses(&json!({"stream": stream}))).await.into_body();
        drop(futures_util::poll!(std::pin::pin!(answer.frame())));
        drop(answer);
        assert!(engine.is_cancelled());
        let core = rig.posted().verify().expect("a receipt");
        assert_eq!((core.finish, core.chat_id.as_str()), (Finish::ClientAbort, RESPONSE_ID));
        assert_eq!((core.usage.completion, core.usage.reasoning), (4, 2));
    }
}

#[tokio::test]
async fn the_clients_limit_holds() {
    let rig = Rig::scripted(500).await;
    let body = responses(&json!({"stream": true, "max_output_tokens": 7}));
    let frames = answer_frames(&rig, &body).await;
    let (events, is_done) = numbered(&payloads(&frames), 0);
    assert!(is_done);
    let last = events.last().expect("an end");
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["usage"]["output_tokens"], 7);
    assert_eq!(last["response"]["max_output_tokens"], 7);
    let core = verified(&rig, &frames, &body);
    assert_eq!((core.finish, core.usage.completion), (Finish::Length, 7));
}
