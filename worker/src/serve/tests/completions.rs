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
        for (index, choice) in said.iter().enumerate() {
            assert_eq!(
                (&choice["index"], &choice["text"]),
                (&json!(index), &json!(index.to_string()))
            );
        }
        let prompts = u64::try_from(inputs.len()).expect("few");
        let core = rig.verified(&receipt_in(&frames), &body, &frames);
        assert_eq!((core.usage.prompt, core.usage.completion), (11 * prompts, 4 * prompts));
        let twice: Vec<_> = inputs.into_iter().flat_map(|input| [input.clone(), input]).collect();
        let jobs = engine.jobs();
        let seeds: Vec<_> = jobs.iter().map(|job| job.sampling.seed).collect();
        assert_eq!(seeds, [Some(5), Some(6)].repeat(twice.len() / 2));
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
    ];
    for (more, param) in table {
        let (rig, _) = Rig::played(Vec::new());
        let (status, error) = rig.refused_at(headers::COMPLETIONS_PATH, &completion(&more)).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)), "{more} {error}");
    }
}

#[tokio::test]
async fn a_prompt_over_the_context_names_the_prompt() {
    let error = EngineError::ContextLengthExceeded { prompt: 9, limit: 8 };
    let rig = Rig::over(Arc::new(Played::refusing(error)));
    let (status, error) = rig.refused_at(headers::COMPLETIONS_PATH, &completion(&json!({}))).await;
    assert_eq!((status, error["param"].as_str()), (400, Some("prompt")));
    assert_eq!(error["code"], "context_length_exceeded");
}
