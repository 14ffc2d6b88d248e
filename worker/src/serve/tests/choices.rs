//! Several choices of one request.

use std::time::Duration;

use cocoon_attest::receipt::Finish;
use proptest::prelude::*;

use super::*;

/// The script of a choice that says `text`, a token for each letter.
fn saying(text: &str, finish: FinishReason) -> Vec<EngineEvent> {
    let mut events = vec![started()];
    events.extend((1..).zip(text.chars()).map(|(count, letter)| delta(&letter.to_string(), count)));
    events.push(finished(finish, u64::try_from(text.len()).expect("a short text")));
    events
}

fn contents(answer: &Value) -> Vec<(u64, &str, &str)> {
    let choices = answer["choices"].as_array().expect("choices");
    let texts = choices.iter().map(|choice| {
        let text = choice["message"]["content"].as_str().expect("content");
        let finish = choice["finish_reason"].as_str().expect("a finish");
        (choice["index"].as_u64().expect("an index"), text, finish)
    });
    texts.collect()
}

#[tokio::test]
async fn choices_are_ordered_and_their_usage_adds_up() {
    use FinishReason::{Length, Stop};
    for permits in [1, 2, 8] {
        let scripts = vec![saying("abc", Stop), saying("de", Length), saying("fghi", Stop)];
        let (rig, engine) = Rig::several(scripts, permits);
        let body = chat(&json!({"n": 3, "seed": 40, "max_tokens": 5}));
        let response = rig.send(&body).await;
        assert_eq!(response.headers()[headers::PROMPT_TOKENS], "11");
        let frames = frames(response).await;
        assert_eq!(kinds(&frames), [FrameKind::Receipt, FrameKind::Data]);
        let answer: Value = serde_json::from_slice(&frames[1].payload).expect("JSON");
        let expected = [(0, "abc", "stop"), (1, "de", "length"), (2, "fghi", "stop")];
        assert_eq!(contents(&answer), expected);
        let usage = &answer["usage"];
        assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(11), &json!(9)));
        let core = rig.verified(&receipt_in(&frames), &body, &frames);
        assert_eq!(
            (core.finish, core.usage.prompt, core.usage.completion),
            (Finish::Length, 11, 9)
        );
        assert_eq!(frames[1].cumulative, 9);
        let jobs = engine.jobs();
        let seeds: Vec<_> = jobs.iter().map(|job| job.sampling.seed).collect();
        assert_eq!(seeds, [Some(40), Some(41), Some(42)]);
        assert!(jobs.iter().all(|job| job.max_tokens == 5 && job.input == jobs[0].input));
    }
}

#[tokio::test]
async fn each_choice_of_a_stream_has_its_role_its_finish_and_its_index() {
    use FinishReason::{Length, Stop};
    for permits in [1, 2] {
        let (rig, _) = Rig::several(vec![saying("ab", Stop), saying("cd", Length)], permits);
        let options = json!({"include_usage": true});
        let body = chat(&json!({"n": 2, "stream": true, "stream_options": options}));
        let frames = rig.frames(&body).await;
        let mut chunks = chunks(&frames);
        let usage = chunks.pop().expect("usage");
        assert_eq!(
            (&usage["choices"], &usage["usage"]["completion_tokens"]),
            (&json!([]), &json!(4))
        );
        assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()));
        for (index, text, finish) in [(0, "ab", "stop"), (1, "cd", "length")] {
            let of = |chunk: &&Value| chunk["choices"][0]["index"] == json!(index);
            let own: Vec<_> = chunks.iter().filter(of).map(|chunk| &chunk["choices"][0]).collect();
            assert_eq!(own[0]["delta"], json!({"role": "assistant", "content": ""}));
            let said: String =
                own.iter().filter_map(|one| one["delta"]["content"].as_str()).collect();
            assert_eq!(said, text);
            let ends = own.iter().filter(|one| !one["finish_reason"].is_null()).count();
            assert_eq!((ends, &own[own.len() - 1]["finish_reason"]), (1, &json!(finish)));
        }
        let core = rig.verified(&receipt_in(&frames), &body, &frames);
        assert_eq!((core.usage.prompt, core.usage.completion), (11, 4));
    }
}

#[tokio::test]
async fn every_choice_has_its_share_of_the_limit() {
    // The head allows 100 tokens over all choices.
    let three = || (0..3).map(|_| saying("a", FinishReason::Stop)).collect();
    let (rig, engine) = Rig::several(three(), 1);
    drop(rig.frames(&chat(&json!({"n": 3}))).await);
    assert!(engine.jobs().iter().all(|job| job.max_tokens == 33));
    // More choices than tokens cannot be.
    let (rig, _) = Rig::several(three(), 1);
    let (status, error) = rig.refused_at(headers::CHAT_PATH, &chat(&json!({"n": 101}))).await;
    assert_eq!((status, &error["code"]), (500, &json!("worker_refused")));
}

#[tokio::test]
async fn a_choice_that_overruns_is_cut_and_the_others_go_on() {
    let (rig, _) = Rig::several(
        vec![saying("abcdef", FinishReason::Stop), saying("gh", FinishReason::Stop)],
        1,
    );
    let body = chat(&json!({"n": 2, "max_tokens": 3}));
    let frames = rig.frames(&body).await;
    let answer: Value = serde_json::from_slice(&frames[1].payload).expect("JSON");
    assert_eq!(contents(&answer), [(0, "abc", "length"), (1, "gh", "stop")]);
    assert_eq!(rig.verified(&receipt_in(&frames), &body, &frames).usage.completion, 5);
}

#[tokio::test]
async fn a_client_that_goes_owes_for_all_choices() {
    let scripts = vec![
        vec![started(), delta("a", 2), finished(FinishReason::Stop, 3)],
        vec![started(), delta("b", 4)],
        vec![started()],
    ];
    let (rig, engine) = Rig::several(scripts, 1);
    let body = chat(&json!({"n": 3, "stream": true}));
    let mut answer = rig.send(&body).await.into_body();
    let frame = answer.frame().await.expect("a frame").expect("infallible");
    let mut decoder = FrameDecoder::new(1_000_000);
    decoder.push(frame.into_data().expect("data"));
    let seen = vec![decoder.next_frame().expect("frames").expect("one frame")];
    assert_eq!(seen[0].cumulative, 7);
    drop(answer);
    assert_eq!(engine.jobs().len(), 2, "the third choice never began");
    let core = rig.verified(&rig.posted(), &body, &seen);
    assert_eq!(
        (core.finish, core.usage.prompt, core.usage.completion),
        (Finish::ClientAbort, 11, 7)
    );
}

#[tokio::test]
async fn a_failure_of_one_choice_fails_the_answer() {
    let scripts = vec![
        saying("a", FinishReason::Stop),
        vec![started(), EngineEvent::Failed(EngineError::Crashed)],
    ];
    for stream in [true, false] {
        let (rig, _) = Rig::several(scripts.clone(), 1);
        let frames = rig.frames(&chat(&json!({"n": 2, "stream": stream}))).await;
        assert_eq!(frames.last().expect("an end").kind, FrameKind::Error);
        assert_eq!(rig.outbox.len(), usize::from(stream));
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_choice_waits_for_a_place() {
    let full = || EngineError::Overloaded { retry_after_ms: 1000 };
    let shed = vec![EngineEvent::Failed(full())];
    // Refused at once while the first runs and after, then shed from the queue, then served.
    let scripts = vec![
        Ok(saying("a", FinishReason::Stop)),
        Err(full()),
        Ok(shed),
        Err(full()),
        Ok(saying("b", FinishReason::Stop)),
    ];
    let engine = Arc::new(Played::scripts(scripts, 2));
    let rig = Rig::over(engine.clone());
    let begun = tokio::time::Instant::now();
    let frames = rig.frames(&chat(&json!({"n": 2}))).await;
    let answer: Value = serde_json::from_slice(&frames.last().expect("an end").payload).unwrap();
    assert_eq!(contents(&answer), [(0, "a", "stop"), (1, "b", "stop")]);
    assert_eq!(engine.jobs().len(), 5);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_later_choice_waits_no_longer_than_the_request_may() {
    let full = || Err(EngineError::Overloaded { retry_after_ms: 1000 });
    let mut scripts = vec![Ok(saying("a", FinishReason::Stop))];
    scripts.extend((0..100).map(|_| full()));
    let rig = Rig::over(Arc::new(Played::scripts(scripts, 1)));
    let begun = tokio::time::Instant::now();
    let frames = rig.frames(&chat(&json!({"n": 2}))).await;
    let end = frames.last().expect("an end");
    let error: Value = serde_json::from_slice(&end.payload).expect("JSON");
    assert_eq!((end.kind, &error["error"]["code"]), (FrameKind::Error, &json!("overloaded")));
    assert!(frames.iter().any(|frame| frame.kind == FrameKind::Heartbeat));
    // The terms of these tests end in 60 seconds.
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert!(rig.outbox.is_empty());
}

/// A script of well-formed events, which may overrun its limit, fail, or just stop.
fn any_script() -> impl Strategy<Value = Vec<EngineEvent>> {
    let step = (prop_oneof![Just(0_u8), Just(1), Just(2)], "[a-c]{0,3}", 1_u32..5);
    let end = prop::sample::select(vec![
        Some(EngineEvent::Failed(EngineError::Crashed)),
        Some(finished(FinishReason::Stop, 3)),
        Some(finished(FinishReason::Stop, 1000)),
        Some(finished(FinishReason::Length, 0)),
        Some(finished(FinishReason::ContentFilter, 5)),
    ]);
    (prop::collection::vec(step, 0..6), end).prop_map(|(steps, end)| {
        let (mut events, mut count) = (vec![started()], 0);
        for (kind, text, tokens) in steps {
            count += tokens;
            events.push(match kind {
                0 => delta(&text, count),
                1 => thought(&text, count),
                _ => call(0, "f", count),
            });
        }
        events.extend(end);
        events
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_choices_do_each_ends_once_and_is_paid_once(
        scripts in prop::collection::vec(any_script(), 1..5),
        permits in 1_u32..4,
        stream in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let choices = scripts.len();
            let (rig, _) = Rig::several(scripts, permits);
            let body = chat(&json!({"n": choices, "max_tokens": 10, "stream": stream}));
            let response = rig.send(&body).await;
            assert_eq!(response.status(), 200);
            let frames = frames(response).await;
            let receipts = kinds(&frames).iter().filter(|kind| **kind == FrameKind::Receipt).count();
            assert_eq!((rig.outbox.len(), receipts <= 1), (receipts, true));
            if receipts == 1 {
                let core = rig.verified(&receipt_in(&frames), &body, &frames);
                assert!(core.usage.completion <= 10 * u64::try_from(choices).unwrap());
                assert_eq!(core.usage.prompt, 11);
            }
            let end = frames.last().expect("an end");
            if end.kind == FrameKind::Data && stream {
                let chunks = chunks(&frames);
                for index in 0..choices {
                    let ends = chunks.iter().filter(|chunk| {
                        let choice = &chunk["choices"][0];
                        choice["index"] == json!(index) && !choice["finish_reason"].is_null()
                    });
                    assert_eq!(ends.count(), 1);
                }
            } else if end.kind == FrameKind::Data {
                let answer: Value = serde_json::from_slice(&end.payload).unwrap();
                let ended = answer["choices"].as_array().expect("choices").iter();
                assert_eq!(ended.filter(|choice| choice["finish_reason"].is_string()).count(), choices);
            } else {
                assert_eq!(end.kind, FrameKind::Error);
            }
        });
    }
}
