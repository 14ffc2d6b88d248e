use std::path::PathBuf;

use serde_json::json;

use super::*;

/// The tokenizer of the model that ships for demonstrations.
fn tokenizer() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/tiny-demo/tokenizer.json")
}

fn model() -> ModelName {
    "tiny-demo".parse().unwrap()
}

fn recounter() -> Recounter {
    let config = RecountConfig { one_in: 1, tokenizers: vec![(model(), tokenizer())] };
    Recounter::load(&config).unwrap()
}

fn sample(recounter: &Recounter, payloads: &[String]) -> Sample {
    let mut sample = recounter.draw(&model(), b"{}").unwrap();
    for payload in payloads {
        assert!(sample.push(&Bytes::from(payload.clone())));
    }
    sample
}

fn event(json: &serde_json::Value) -> String {
    format!("data: {json}\n\n")
}

const TEXT: &str = "The capital of France is Paris. It is a large city with many people in it.";

#[test]
fn every_shape_of_one_answer_has_the_same_count() {
    let recounter = recounter();
    let chunk = |text: &str| {
        let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
        event(&json!({"choices": [choice]}))
    };
    let (head, tail) = TEXT.split_at(20);
    let message = json!({"role": "assistant", "content": TEXT});
    let item = json!({"type": "message", "content": [{"type": "output_text", "text": TEXT}]});
    let response = json!({"id": "resp_1", "output": [item]});
    let completed = json!({"type": "response.completed", "response": response});
    let delta = json!({"type": "response.output_text.delta", "delta": TEXT});
    let done = "data: [DONE]\n\n".to_owned();
    let whole = |json: serde_json::Value| vec![json.to_string()];
    use Endpoint::{ChatCompletions, Completions, Responses};
    let shapes = [
        (ChatCompletions, true, vec![chunk(head), chunk(tail), done.clone()]),
        (ChatCompletions, false, whole(json!({"choices": [{"index": 0, "message": message}]}))),
        (Completions, false, whole(json!({"choices": [{"index": 0, "text": TEXT}]}))),
        (Responses, true, vec![event(&delta), event(&completed), done]),
        (Responses, false, whole(response)),
    ];
    let counts = shapes.map(|(endpoint, is_streamed, payloads)| {
        let sample = sample(&recounter, &payloads);
        recounter.count(&model(), endpoint, is_streamed, false, &sample).unwrap()
    });
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    assert!((10..60).contains(&counts[0].counted), "{counts:?}");
    assert_eq!(counts[0].most, counts[0].counted + counts[0].counted / 2 + CHOICE_ALLOWANCE);
}

#[test]
fn calls_and_choices_have_their_allowance() {
    let recounter = recounter();
    let function = json!({"name": "weather", "arguments": "{\"city\":\"Paris\"}"});
    let call = json!({"id": "call_1", "type": "function", "function": function});
    let message = json!({"content": null, "tool_calls": [call]});
    let choices = json!([{"index": 0, "message": message}, {"index": 1, "message": message}]);
    let sample = sample(&recounter, &[json!({"choices": choices}).to_string()]);
    let recount =
        recounter.count(&model(), Endpoint::ChatCompletions, false, false, &sample).unwrap();
    let allowance = recount.counted / 2 + 2 * CHOICE_ALLOWANCE + 2 * CALL_ALLOWANCE;
    assert_eq!(recount.most, recount.counted + allowance);
}

#[test]
fn what_cannot_be_judged_is_not() {
    let recounter = recounter();
    let whole = json!({"choices": [{"index": 0, "message": {"content": TEXT}}]}).to_string();
    let counted = |payload: &str, has_reasoning| {
        let sample = sample(&recounter, &[payload.to_owned()]);
        recounter.count(&model(), Endpoint::ChatCompletions, false, has_reasoning, &sample)
    };
    assert!(counted(&whole, false).is_some());
    assert_eq!(counted(&whole, true), None, "reasoning that is not shown was judged");
    assert_eq!(counted("{}", false), None);
    assert_eq!(counted("no JSON", false), None);
    assert!(recounter.draw(&model(), br#"{"logit_bias":{"5":1}}"#).is_none());
    assert!(recounter.draw(&"another".parse().unwrap(), b"{}").is_none());
}

#[test]
fn a_sample_is_bounded_and_so_is_their_number() {
    let recounter = recounter();
    let mut large = recounter.draw(&model(), b"{}").unwrap();
    assert!(!large.push(&Bytes::from(vec![b'x'; SAMPLE_BYTES_MAX + 1])));
    let held: Vec<_> =
        (0..2 * SAMPLES_MAX).map_while(|_| recounter.draw(&model(), b"{}")).collect();
    assert!(held.len() < SAMPLES_MAX);
    drop(held);
    drop(large);
    assert!(recounter.draw(&model(), b"{}").is_some());
}

#[test]
fn a_file_that_is_no_tokenizer_is_named() {
    let load = |path: PathBuf| {
        let config = RecountConfig { one_in: 1, tokenizers: vec![(model(), path)] };
        Recounter::load(&config).unwrap_err().to_string()
    };
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    assert!(load(manifest).contains("Cargo.toml is not a tokenizer"));
    assert!(load(PathBuf::from("/nowhere/tokenizer.json")).contains("failed to read"));
}
