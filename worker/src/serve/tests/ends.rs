//! Limits, aborts and failures: every way in which an answer does not end by itself.

use std::time::Duration;

use cocoon_attest::receipt::Finish;
use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn the_lowest_limit_holds() {
    for (asked, header, expected) in [(7, 100, 7), (100, 6, 6), (1000, 1000, 100)] {
        let rig = Rig::scripted(500).await;
        let body = chat(&json!({"stream": true, "max_tokens": asked}));
        let mut head = head();
        head.insert(headers::MAX_TOKENS, header.into());
        let request = request_of(body.to_string().into(), head);
        let frames = frames(rig.surface.handle(&rig.lease, request).await).await;
        assert_eq!(frames.last().expect("an end").cumulative, expected);
        let core = rig.verified(&receipt_in(&frames), &body, &frames);
        assert_eq!((core.finish, core.usage.completion), (Finish::Length, expected.into()));
        assert_eq!(
            chunks(&frames).last().expect("a finish")["choices"][0]["finish_reason"],
            "length"
        );
    }
}

#[tokio::test]
async fn an_engine_that_overruns_its_limit_is_cut() {
    let events = vec![started(), delta("a", 1), delta("b", 2), delta("c", 3), delta("d", 4)];
    let (rig, engine) = Rig::played(events);
    let body = chat(&json!({"stream": true, "max_completion_tokens": 2}));
    let frames = rig.frames(&body).await;
    let chunks = chunks(&frames);
    assert_eq!(chunks[1]["choices"][0]["delta"]["content"], "ab");
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "length");
    let core = rig.verified(&receipt_in(&frames), &body, &frames);
    assert_eq!((core.finish, core.usage.completion), (Finish::Length, 2));
    assert!(engine.is_cancelled());
}

#[tokio::test]
async fn an_engine_that_bills_over_its_limit_is_held_to_it() {
    let usage = Usage { prompt: 5000, cached: 6000, completion: 70, reasoning: 80 };
    let end = EngineEvent::Finished { finish: FinishReason::Stop, usage };
    let (rig, _) = Rig::played(vec![started(), delta("a", 1), end]);
    let body = chat(&json!({"max_tokens": 9}));
    let frames = rig.frames(&body).await;
    let core = rig.verified(&receipt_in(&frames), &body, &frames);
    let usage = core.usage;
    assert_eq!((usage.prompt, usage.cached, usage.completion, usage.reasoning), (1000, 1000, 9, 9));
    assert_eq!(core.finish, Finish::Length);
}

#[tokio::test]
async fn a_client_that_goes_leaves_the_receipt_of_an_abort() {
    for stream in [true, false] {
        let (rig, engine) = Rig::played(vec![started(), thought("a", 2), delta("b", 4)]);
        let body = chat(&json!({"stream": stream}));
        let mut answer = rig.send(&body).await.into_body();
        let mut seen = Vec::new();
        let first = futures_util::poll!(std::pin::pin!(answer.frame()));
        if let std::task::Poll::Ready(Some(Ok(frame))) = first {
            let mut decoder = FrameDecoder::new(1_000_000);
            decoder.push(frame.into_data().expect("data"));
            seen.push(decoder.next_frame().expect("frames").expect("one frame"));
        }
        assert_eq!(seen.len(), usize::from(stream));
        assert!(rig.outbox.is_empty() && !engine.is_cancelled());
        drop(answer);
        assert!(engine.is_cancelled());
        let core = rig.verified(&rig.posted(), &body, &seen);
        assert_eq!((core.finish, core.usage.prompt), (Finish::ClientAbort, 11));
        assert_eq!((core.usage.completion, core.usage.reasoning), (4, 2));
    }
}

#[tokio::test]
async fn an_answer_that_is_never_read_owes_its_prompt() {
    let (rig, _) = Rig::played(vec![started(), delta("a", 1)]);
    drop(rig.send(&chat(&json!({"stream": true}))).await);
    let core = rig.posted().verify().expect("a receipt");
    assert_eq!((core.finish, core.frames), (Finish::ClientAbort, 0));
    assert_eq!((core.usage.prompt, core.usage.completion), (11, 0));
}

#[tokio::test]
async fn a_client_that_goes_before_the_start_owes_nothing() {
    let (rig, engine) = Rig::played(Vec::new());
    let body = chat(&json!({"stream": true}));
    let waiting = rig.send(&body);
    assert!(tokio::time::timeout(Duration::ZERO, waiting).await.is_err());
    assert!(engine.is_cancelled() && rig.outbox.is_empty());
}

#[tokio::test]
async fn a_complete_answer_is_not_an_abort() {
    let (rig, _) = Rig::played(vec![started(), delta("a", 1), finished(FinishReason::Stop, 1)]);
    let mut answer = rig.send(&chat(&json!({"stream": true}))).await.into_body();
    answer.frame().await.expect("a frame").expect("infallible");
    drop(answer);
    let core = rig.posted().verify().expect("a receipt");
    assert_eq!(core.finish, Finish::Stop);
}

#[tokio::test]
async fn a_failure_before_the_start_is_a_status() {
    let invalid = EngineError::InvalidRequest {
        message: "bad".to_owned(),
        param: Some("tools".to_owned()),
        code: "invalid_value",
    };
    let table = [
        (invalid, 400, "invalid_value", Some("tools"), false),
        (
            EngineError::ContextLengthExceeded { prompt: 9, limit: 8 },
            400,
            "context_length_exceeded",
            Some("messages"),
            false,
        ),
        (EngineError::Overloaded { retry_after_ms: 1500 }, 503, "overloaded", None, true),
        (EngineError::Unavailable, 503, "engine_unavailable", None, true),
        (EngineError::Crashed, 502, "engine_failed", None, true),
        (EngineError::Timeout, 504, "engine_timeout", None, true),
    ];
    for (error, status, code, param, is_retryable) in table {
        let at_once = Rig::over(Arc::new(Played::refusing(error.clone())));
        let (queued, _) = Rig::played(vec![EngineEvent::Failed(error.clone())]);
        for rig in [at_once, queued] {
            let response = rig.send(&chat(&json!({"stream": true}))).await;
            assert_eq!(response.status(), status, "{error:?}");
            let headers = response.headers().clone();
            assert_eq!(headers.contains_key(headers::RETRYABLE), is_retryable, "{error:?}");
            if matches!(error, EngineError::Overloaded { .. }) {
                assert_eq!(
                    (&headers["retry-after-ms"], &headers["retry-after"]),
                    (&"1500".parse().unwrap(), &"2".parse().unwrap())
                );
            }
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).expect("an error object");
            assert_eq!(
                (body["error"]["code"].as_str(), body["error"]["param"].as_str()),
                (Some(code), param)
            );
            assert!(rig.outbox.is_empty());
        }
    }
}

#[tokio::test]
async fn a_failure_mid_stream_is_never_a_clean_end() {
    let events = vec![started(), delta("a", 3), EngineEvent::Failed(EngineError::Crashed)];
    let (rig, engine) = Rig::played(events);
    let body = chat(&json!({"stream": true}));
    let frames = rig.frames(&body).await;
    assert_eq!(kinds(&frames), [FrameKind::Data, FrameKind::Receipt, FrameKind::Error]);
    assert!(!events_contain_end(&frames));
    let core = rig.verified(&receipt_in(&frames), &body, &frames);
    assert_eq!((core.finish, core.usage.prompt, core.usage.completion), (Finish::Error, 11, 3));
    let error: Value = serde_json::from_slice(&frames[2].payload).expect("JSON");
    assert_eq!((&error["status"], &error["retryable"]), (&json!(502), &json!(true)));
    let keys = ["message", "type", "param", "code"];
    assert!(keys.iter().all(|key| error["error"].get(key).is_some()), "{error}");
    assert!(engine.is_cancelled());
    assert_eq!(rig.outbox.len(), 1);
}

fn events_contain_end(frames: &[Frame]) -> bool {
    events(frames).iter().any(|event| event == "[DONE]" || event.contains("\"stop\""))
}

#[tokio::test]
async fn a_failure_with_nothing_delivered_has_no_receipt() {
    for (stream, events) in [(true, vec![started()]), (false, vec![started(), delta("lost", 3)])] {
        let (rig, engine) = Rig::played(events);
        engine.say(EngineEvent::Failed(EngineError::Timeout)).await;
        let frames = rig.frames(&chat(&json!({"stream": stream}))).await;
        assert_eq!(kinds(&frames), [FrameKind::Error]);
        assert!(rig.outbox.is_empty());
    }
}

#[tokio::test]
async fn an_engine_that_hangs_up_has_crashed() {
    let mut engine = Played::new(vec![started(), delta("a", 1)]);
    engine.senders.clear();
    let rig = Rig::over(Arc::new(engine));
    let frames = rig.frames(&chat(&json!({"stream": true}))).await;
    assert_eq!(kinds(&frames), [FrameKind::Data, FrameKind::Receipt, FrameKind::Error]);
}

#[tokio::test]
async fn an_answer_without_bounds_is_stopped_and_paid() {
    let piece = "x".repeat(1024 * 1024);
    let mut events = vec![started()];
    events.extend((1..40).map(|count| delta(&piece, count)));
    let (rig, engine) = Rig::played(events);
    let frames = rig.frames(&chat(&json!({}))).await;
    assert_eq!(kinds(&frames), [FrameKind::Receipt, FrameKind::Data]);
    assert!(engine.is_cancelled());
    let answer: Value = serde_json::from_slice(&frames[1].payload).expect("JSON");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let content = answer["choices"][0]["message"]["content"].as_str().expect("text");
    assert_eq!(content.len(), 24 * piece.len());
    assert_eq!(answer["usage"]["completion_tokens"], 25);
}

#[tokio::test(start_paused = true)]
async fn silence_is_filled_with_heartbeats() {
    let (rig, engine) = Rig::played(vec![started(), delta("a", 1)]);
    let answer = rig.send(&chat(&json!({}))).await;
    let mut answer = answer.into_body();
    for _ in 0..3 {
        let before = tokio::time::Instant::now();
        let bytes = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(before.elapsed().as_secs(), 5);
        let mut decoder = FrameDecoder::new(0);
        decoder.push(bytes);
        let frame = decoder.next_frame().unwrap().unwrap();
        assert_eq!((frame.kind, frame.cumulative), (FrameKind::Heartbeat, 1));
    }
    engine.say(finished(FinishReason::Stop, 1)).await;
    let rest = answer.collect().await.unwrap().to_bytes();
    assert!(!rest.is_empty() && rig.outbox.len() == 1);
}

pub(super) fn any_event() -> impl Strategy<Value = EngineEvent> {
    let text = "[a-zé\\n\"]{0,6}";
    let usage = (any::<u64>(), any::<u64>(), 0_u64..300, any::<u64>()).prop_map(
        |(prompt, cached, completion, reasoning)| Usage { prompt, cached, completion, reasoning },
    );
    let finish = prop::sample::select(vec![
        FinishReason::Stop,
        FinishReason::Length,
        FinishReason::ToolCalls,
        FinishReason::ContentFilter,
    ]);
    prop_oneof![
        1 => prop::option::of(0_u64..1000)
            .prop_map(|prompt_tokens| EngineEvent::Started { prompt_tokens }),
        6 => (text, 0_u32..120, any::<bool>()).prop_map(|(text, count, is_thought)| {
            if is_thought { thought(&text, count) } else { delta(&text, count) }
        }),
        2 => (any::<u32>(), text, 0_u32..120).prop_map(|(index, name, count)| call(index, &name, count)),
        1 => (finish, usage).prop_map(|(finish, usage)| EngineEvent::Finished { finish, usage }),
        1 => Just(EngineEvent::Failed(EngineError::Crashed)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn whatever_an_engine_says_the_frames_keep_their_order(
        events in prop::collection::vec(any_event(), 1..12),
        stream in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (rig, engine) = Rig::played(events);
            if !engine.is_cancelled() {
                engine.say(EngineEvent::Failed(EngineError::Timeout)).await;
            }
            let body = chat(&json!({"stream": stream}));
            let response = rig.send(&body).await;
            if response.status() != 200 {
                assert!(rig.outbox.is_empty());
                return;
            }
            let frames = frames(response).await;
            let kinds = kinds(&frames);
            let receipts = kinds.iter().filter(|kind| **kind == FrameKind::Receipt).count();
            match kinds.split_last().expect("an answer has an end") {
                (FrameKind::Data, before) => {
                    assert_eq!(before.last(), Some(&FrameKind::Receipt));
                    assert_eq!(receipts, 1);
                }
                (FrameKind::Error, before) => {
                    assert!(!before.contains(&FrameKind::Error));
                    assert!(!events_contain_end(&frames));
                }
                other => panic!("an answer ends in {other:?}"),
            }
            assert_eq!(rig.outbox.len(), receipts);
            if receipts == 1 {
                let core = rig.verified(&receipt_in(&frames), &body, &frames);
                assert!(core.usage.completion <= 100);
            }
        });
    }
}
