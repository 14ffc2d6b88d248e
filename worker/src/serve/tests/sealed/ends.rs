//! Sealed answers that do not end by themselves.

use proptest::prelude::*;

use super::super::ends::any_event;
use super::*;

#[tokio::test]
async fn a_client_that_goes_leaves_the_receipt_of_an_abort() {
    let (rig, engine) = Rig::played(vec![started(), delta("a", 2), delta("b", 4)]);
    let body = chat(&json!({"stream": true}));
    let sent = seal(&rig, &seal_head(headers::CHAT_PATH, true), body.to_string().as_bytes());
    let mut answer = rig.surface.handle(&rig.lease, sent.again()).await.into_body();
    let mut frames = Vec::new();
    for _ in 0..2 {
        let bytes = answer.frame().await.expect("a frame").expect("infallible");
        let mut decoder = FrameDecoder::new(1_000_000);
        decoder.push(bytes.into_data().expect("data"));
        frames.push(decoder.next_frame().expect("frames").expect("one frame"));
    }
    assert!(rig.outbox.is_empty() && !engine.is_cancelled());
    drop(answer);
    assert!(engine.is_cancelled());
    let seen = open(&sent, frames);
    assert_eq!(seen.end, Err(OpenError::Truncated));
    let core = verified(&rig, &sent, &seen, &rig.posted());
    assert_eq!((core.finish, core.usage.completion, core.frames), (Finish::ClientAbort, 4, 2));
}

#[tokio::test]
async fn a_failure_mid_stream_has_no_final_frame_and_no_words() {
    for (path, last) in [(headers::CHAT_PATH, None), (RESPONSES, Some("response.failed"))] {
        let played = vec![started(), delta("secret", 3), EngineEvent::Failed(EngineError::Crashed)];
        let (rig, _) = Rig::played(played);
        let mut body = chat(&json!({"stream": true}));
        if path == RESPONSES {
            body = json!({"model": "m", "input": "hello", "stream": true});
        }
        let (sent, seen) = answered(&rig, path, &body).await;
        assert_eq!(seen.end, Err(OpenError::Truncated));
        assert!(seen.opened.iter().all(|frame| !frame.is_final));
        let ends: Vec<_> = kinds(&seen.frames).into_iter().rev().take(3).collect();
        assert_eq!(ends, [FrameKind::Error, FrameKind::Receipt, FrameKind::Data]);
        let core = verified(&rig, &sent, &seen, &receipt_in(&seen.frames));
        assert_eq!((core.finish, core.usage.completion), (Finish::Error, 3));
        assert_eq!(said(&seen), "engine_failed");
        // Where the endpoint has words for it, the client reads them.
        if let Some(last) = last {
            let events = events(&[clear(&seen)]);
            assert!(events.iter().any(|event| event.contains(last)));
        }
    }
}

/// The code in an error frame that says nothing else of its own.
fn said(seen: &Seen) -> String {
    let frame = seen.frames.last().expect("a frame");
    assert_eq!(frame.kind, FrameKind::Error);
    let error: Value = serde_json::from_slice(&frame.payload).expect("JSON");
    assert_eq!(error["error"]["message"], "The worker could not serve the request.");
    assert_eq!((&error["error"]["param"], error.get("event")), (&Value::Null, None));
    error["error"]["code"].as_str().expect("a code").to_owned()
}

#[tokio::test]
async fn a_failure_with_nothing_said_is_the_gateways_to_mend() {
    let refused = EngineError::InvalidRequest {
        message: "'secret' is not known".to_owned(),
        param: Some("tools".to_owned()),
        code: "invalid_value",
    };
    for (stream, events) in [(true, vec![started()]), (false, vec![started(), delta("lost", 3)])] {
        let (rig, engine) = Rig::played(events);
        engine.say(EngineEvent::Failed(refused.clone())).await;
        let (_, seen) = answered(&rig, headers::CHAT_PATH, &chat(&json!({"stream": stream}))).await;
        assert_eq!(kinds(&seen.frames), [FrameKind::Error]);
        // Neither is what was wrong with the request.
        assert_eq!(said(&seen), "worker_refused");
        assert!(rig.outbox.is_empty());
    }
}

#[tokio::test]
async fn an_answer_that_is_never_read_owes_its_prompt() {
    let (rig, _) = Rig::played(vec![started(), delta("a", 1)]);
    let body = chat(&json!({"stream": true}));
    let sent = seal(&rig, &seal_head(headers::CHAT_PATH, true), body.to_string().as_bytes());
    drop(rig.surface.handle(&rig.lease, sent.again()).await);
    let core = rig.posted().verify().expect("a receipt");
    assert_eq!((core.finish, core.frames, core.usage.prompt), (Finish::ClientAbort, 0, 11));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_an_engine_says_only_a_whole_answer_has_a_final_frame(
        events in prop::collection::vec(any_event(), 1..12),
        stream in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (rig, engine) = Rig::played(events);
            if !engine.is_cancelled() {
                engine.say(EngineEvent::Failed(EngineError::Timeout)).await;
            }
            let body = chat(&json!({"stream": stream})).to_string();
            let sent = seal(&rig, &seal_head(headers::CHAT_PATH, stream), body.as_bytes());
            let response = rig.surface.handle(&rig.lease, sent.again()).await;
            if response.status() != 200 {
                assert!(rig.outbox.is_empty());
                assert!(response.headers().contains_key(cocoon_seal::headers::SEALED));
                return;
            }
            let seen = read(&sent, response).await;
            let kinds = kinds(&seen.frames);
            match kinds.last().expect("an answer has an end") {
                FrameKind::Data => assert_eq!(seen.end, Ok(())),
                FrameKind::Error => assert_eq!(seen.end, Err(OpenError::Truncated)),
                other => panic!("an answer ends in {other:?}"),
            }
            if kinds.contains(&FrameKind::Receipt) {
                let core = verified(&rig, &sent, &seen, &receipt_in(&seen.frames));
                assert!(core.usage.completion <= 100);
            }
        });
    }
}
