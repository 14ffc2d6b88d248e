//! Completions of plain text.

use cocoon_attest::receipt::Finish;

use super::*;
use crate::engine::Input;

const ID: &str = "cmpl-07070707070707070707070707070707";

/// A request for the model `m` with `more` beside a prompt.
fn completion(more: &Value) -> Value {
    let mut body = json!({"model": "m", "prompt": "once upon"});
    let fields = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(fields);
    body
}

fn saying(text: &str) -> Vec<EngineEvent> {
    vec![started(), delta(text, 2), finished(FinishReason::Stop, 2)]
}

async fn frames_of(rig: &Rig, body: &Value) -> Vec<Frame> {
    let response = rig.send_to(headers::COMPLETIONS_PATH, body).await;
    assert_eq!(response.status(), 200, "{body}");
    frames(response).await
}

fn whole(frames: &[Frame]) -> Value {
    assert_eq!(kinds(frames), [FrameKind::Receipt, FrameKind::Data]);
    serde_json::from_slice(&frames[1].payload).expect("JSON")
}

#[tokio::test]
async fn a_whole_answer_is_one_object() {
    let (rig, engine) = Rig::played(saying(" a time"));
    let body = completion(&json!({}));
    let frames = frames_of(&rig, &body).await;
    let expected = json!({"id": ID, "object": "text_completion", "created": 1_700_000_000,
        "model": "m",
        "choices": [{"text": " a time", "index": 0, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}});
    assert_eq!(whole(&frames), expected);
    let core = rig.verified(&receipt_in(&frames), &body, &frames);
    assert_eq!((core.chat_id.as_str(), core.finish), (ID, Finish::Stop));
    let job = engine.job();
    assert_eq!((job.input, job.max_tokens), (Input::Text("once upon".to_owned()), 16));
}

#[tokio::test]
async fn a_stream_has_its_text_its_finish_and_its_usage() {
    let (rig, _) = Rig::played(saying(" a time"));
    let body = completion(&json!({"stream": true, "stream_options": {"include_usage": true}}));
    let response = rig.send_to(headers::COMPLETIONS_PATH, &body).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let frames = frames(response).await;
    let padded = events(&frames).iter().filter(|event| event.contains("obfusc")).count();
    assert_eq!(padded, 2);
    let chunks = chunks(&frames);
    let chunk = |text: &str, finish: Value| {
        json!({"id": ID, "object": "text_completion", "created": 1_700_000_000, "model": "m",
            "choices": [{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}],
            "usage": null})
    };
    assert_eq!(chunks[..2], [chunk(" a time", Value::Null), chunk("", json!("stop"))]);
    assert_eq!(
        (&chunks[2]["choices"], &chunks[2]["usage"]["total_tokens"]),
        (&json!([]), &json!(13))
    );
    assert_eq!(chunks.len(), 3);

    let (rig, _) = Rig::played(saying("x"));
    let options = json!({"include_obfuscation": false});
    let body = completion(&json!({"stream": true, "stream_options": options}));
    let frames = frames_of(&rig, &body).await;
    assert!(
        events(&frames).iter().all(|event| !event.contains("obfusc") && !event.contains("usage"))
    );
}

#[tokio::test]
async fn each_prompt_has_its_choices_and_counts_once() {
    let texts = |job: Job| job.input;
    let table = [
        (json!(["one", "two"]), vec![Input::Text("one".to_owned()), Input::Text("two".to_owned())]),
        (json!([1, 2, 3]), vec![Input::Tokens(vec![1, 2, 3])]),
        (json!([[1], [2, 3]]), vec![Input::Tokens(vec![1]), Input::Tokens(vec![2, 3])]),
    ];
    for (prompt, inputs) in table {
        let scripts = (0..2 * inputs.len()).map(|index| saying(&index.to_string())).collect();
        let (rig, engine) = Rig::several(scripts, 1);
        let body = completion(&json!({"prompt": prompt, "n": 2, "best_of": 2, "seed": 5}));
        let response = rig.send_to(headers::COMPLETIONS_PATH, &body).await;
        assert_eq!(response.headers().contains_key(headers::PROMPT_TOKENS), inputs.len() == 1);
        let frames = frames(response).await;
        let answer = whole(&frames);
        let said: Vec<_> = answer["choices"].as_array().expect("choices").iter().collect();
        // The first choice of every prompt starts before the second of any.
        for (index, choice) in said.iter().enumerate() {
            let turn = (index % 2) * inputs.len() + index / 2;
            assert_eq!(
                (&choice["index"], &choice["text"]),
                (&json!(index), &json!(turn.to_string()))
            );
        }
        let prompts = u64::try_from(inputs.len()).expect("few");
        let core = rig.verified(&receipt_in(&frames), &body, &frames);
        assert_eq!((core.usage.prompt, core.usage.completion), (11 * prompts, 4 * prompts));
        let twice = [inputs.clone(), inputs.clone()].concat();
        let jobs = engine.jobs();
        let seeds: Vec<_> = jobs.iter().map(|job| job.sampling.seed).collect();
        assert_eq!(seeds, [vec![Some(5); inputs.len()], vec![Some(6); inputs.len()]].concat());
        assert_eq!(jobs.into_iter().map(texts).collect::<Vec<_>>(), twice);
    }
}

fn with_logprobs() -> Vec<EngineEvent> {
    let top =
        |token: &str, logprob| TopLogprob { token: token.to_owned(), bytes: Vec::new(), logprob };
    let token = |token: &str, logprob, top| TokenLogprob {
        token: token.to_owned(),
        bytes: Vec::new(),
        logprob,
        top,
    };
    let logprobs = vec![
        token("hé", -0.5, vec![top("hé", -0.5), top("ho", -1.5)]),
        token("!", f32::NEG_INFINITY, vec![top(".", -0.25)]),
    ];
    let text = "hé!".to_owned();
    let said =
        EngineEvent::Delta { channel: Channel::Content, text, completion_tokens: 2, logprobs };
    vec![started(), said, finished(FinishReason::Length, 2)]
}

#[tokio::test]
async fn logprobs_stand_in_four_lists() {
    let expected = json!({"tokens": ["hé", "!"], "token_logprobs": [-0.5, -9999.0],
        "top_logprobs": [{"hé": -0.5, "ho": -1.5}, {".": -0.25, "!": -9999.0}],
        "text_offset": [0, 2]});
    let (rig, engine) = Rig::played(with_logprobs());
    let answer = whole(&frames_of(&rig, &completion(&json!({"logprobs": 2}))).await);
    assert_eq!((&answer["choices"][0]["logprobs"], engine.job().logprobs), (&expected, Some(2)));
    assert_eq!(answer["choices"][0]["finish_reason"], "length");

    let (rig, _) = Rig::played(with_logprobs());
    let body = completion(&json!({"logprobs": 0, "stream": true}));
    let chunks = chunks(&frames_of(&rig, &body).await);
    assert_eq!(chunks[0]["choices"][0]["logprobs"], expected);
    let none = json!({"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []});
    assert_eq!(chunks[1]["choices"][0]["logprobs"], none);
}

#[tokio::test]
async fn sampling_is_passed_on_and_extras_are_taken() {
    let (rig, engine) = Rig::played(saying("x"));
    let body = completion(&json!({"temperature": 0, "top_p": 0.5, "seed": 3, "stop": "\nuser:",
        "presence_penalty": 1, "frequency_penalty": -1, "logit_bias": {"5": 2}, "max_tokens": 7,
        "user": "u", "suffix": null, "echo": false, "best_of": 1, "ignore_eos": true}));
    drop(frames_of(&rig, &body).await);
    let job = engine.job();
    let sampling = &job.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.seed), (0.0, 0.5, Some(3)));
    assert_eq!((sampling.presence_penalty, sampling.frequency_penalty), (1.0, -1.0));
    assert_eq!((&sampling.logit_bias[..], job.max_tokens), (&[(5, 2.0)][..], 7));
    assert_eq!(job.stop, ["\nuser:"]);
}

#[tokio::test]
async fn what_cannot_be_served_is_named() {
    let table = [
        (json!({"echo": true}), "echo"),
        (json!({"suffix": "the end"}), "suffix"),
        (json!({"best_of": 3}), "best_of"),
        (json!({"n": 2, "best_of": 1}), "best_of"),
        (json!({"logprobs": 6}), "logprobs"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"prompt": null}), "prompt"),
        (json!({"prompt": []}), "prompt"),
        (json!({"prompt": [[1], []]}), "prompt[1]"),
        (json!({"prompt": [1, "a"]}), "prompt"),
        (json!({"prompt": [1, -1]}), "prompt[1]"),
        (json!({"prompt": vec!["a"; 100], "n": 2}), "n"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"model": "e"}), "model"),
        (json!({"max_completion_tokens": 7}), "max_completion_tokens"),
        (json!({"messages": []}), "messages"),
        (json!({"response_format": {"type": "json_object"}}), "response_format"),
        (json!({"tools": []}), "tools"),
        (json!({"functions": []}), "functions"),
        (json!({"guided_choice": ["a"]}), "guided_choice"),
        (json!({"structured_outputs": {"regex": "a"}}), "structured_outputs"),
    ];
    for (more, param) in table {
        let (rig, _) = Rig::played(Vec::new());
        let (status, error) = rig.refused_at(headers::COMPLETIONS_PATH, &completion(&more)).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)), "{more} {error}");
    }
    let (rig, _) = Rig::played(Vec::new());
    let body = completion(&json!({"max_completion_tokens": 7}));
    let (_, error) = rig.refused_at(headers::COMPLETIONS_PATH, &body).await;
    assert!(error["message"].as_str().expect("a message").contains("'max_tokens'"), "{error}");
}

/// A stream of two prompts, of which the engine takes only the first.
async fn broken_batch(second: Result<Vec<EngineEvent>, EngineError>, permits: u32) -> Value {
    let engine = Arc::new(Played::scripts(vec![Ok(saying(" one")), second], permits));
    let rig = Rig::over(engine.clone());
    let body = completion(&json!({"prompt": ["one", "two"], "stream": true}));
    let response = rig.send_to(headers::COMPLETIONS_PATH, &body).await;
    assert_eq!(response.status(), 200);
    let frames = frames(response).await;
    assert_eq!(kinds(&frames), [FrameKind::Error], "nothing left before it");
    assert!(rig.outbox.is_empty() && engine.is_cancelled(), "nothing is owed");
    serde_json::from_slice(&frames[0].payload).expect("JSON")
}

#[tokio::test]
async fn a_stream_does_not_begin_before_the_engine_has_taken_every_prompt() {
    let too_long = || EngineError::ContextLengthExceeded { prompt: 9, limit: 8 };
    let unknown = EngineError::InvalidRequest {
        message: "there is no such token".to_owned(),
        param: Some("prompt".to_owned()),
        code: "invalid_value",
    };
    let table = [
        (Ok(vec![EngineEvent::Failed(too_long())]), "context_length_exceeded"),
        (Err(too_long()), "context_length_exceeded"),
        (Ok(vec![EngineEvent::Failed(unknown)]), "invalid_value"),
    ];
    for (second, code) in table {
        for permits in [1, 2] {
            let payload = broken_batch(second.clone(), permits).await;
            let error = &payload["error"];
            assert_eq!(
                (&payload["status"], error["code"].as_str(), error["param"].as_str()),
                (&json!(400), Some(code), Some("prompt"))
            );
        }
    }
}

#[tokio::test]
async fn a_stream_of_several_prompts_begins_with_one_choice_of_each() {
    let texts = ["a1", "b1", "a2", "b2"];
    let (rig, engine) = Rig::several(texts.map(saying).to_vec(), 1);
    let body = completion(&json!({"prompt": ["a", "b"], "n": 2, "stream": true}));
    let frames = frames_of(&rig, &body).await;
    let prompts: Vec<_> = engine.jobs().into_iter().map(|job| job.input).collect();
    let text = |text: &str| Input::Text(text.to_owned());
    assert_eq!(prompts, [text("a"), text("b"), text("a"), text("b")]);
    let mut said = [String::new(), String::new(), String::new(), String::new()];
    for chunk in chunks(&frames) {
        let choice = &chunk["choices"][0];
        let index = usize::try_from(choice["index"].as_u64().expect("an index")).expect("small");
        said[index].push_str(choice["text"].as_str().expect("a text"));
    }
    assert_eq!(said, ["a1", "a2", "b1", "b2"]);
    let core = rig.verified(&receipt_in(&frames), &body, &frames);
    assert_eq!((core.usage.prompt, core.usage.completion), (22, 8));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_held_back_shows_that_the_worker_lives() {
    let (rig, engine) = Rig::several(vec![saying(" one"), Vec::new()], 2);
    let body = completion(&json!({"prompt": ["one", "two"], "stream": true}));
    let mut answer = rig.send_to(headers::COMPLETIONS_PATH, &body).await.into_body();
    let mut next = async || {
        let frame = answer.frame().await.expect("a frame").expect("infallible");
        let mut decoder = FrameDecoder::new(1_000_000);
        decoder.push(frame.into_data().expect("data"));
        decoder.next_frame().expect("frames").expect("one frame")
    };
    let alive = next().await;
    assert_eq!((alive.kind, alive.cumulative), (FrameKind::Heartbeat, 2));
    engine.say_to(1, started()).await;
    let text = next().await;
    assert_eq!(text.kind, FrameKind::Data);
    assert!(String::from_utf8_lossy(&text.payload).contains(" one"));
}

#[tokio::test]
async fn a_prompt_over_the_context_names_the_prompt() {
    let error = EngineError::ContextLengthExceeded { prompt: 9, limit: 8 };
    let rig = Rig::over(Arc::new(Played::refusing(error)));
    let (status, error) = rig.refused_at(headers::COMPLETIONS_PATH, &completion(&json!({}))).await;
    assert_eq!((status, error["param"].as_str()), (400, Some("prompt")));
    assert_eq!(error["code"], "context_length_exceeded");
}

#[tokio::test]
async fn a_prompt_that_the_engine_does_not_take_is_refused_before_any_work() {
    for is_stream in [false, true] {
        let (rig, engine) = Rig::several(Vec::new(), 1);
        let body = completion(&json!({"prompt": [[1], [UNKNOWN_TOKEN]], "stream": is_stream}));
        let response = rig.send_to(headers::COMPLETIONS_PATH, &body).await;
        assert_eq!(response.status(), 400);
        assert!(engine.jobs().is_empty(), "nothing was generated");
    }
}
