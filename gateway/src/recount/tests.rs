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

fn drawn(recounter: &Recounter, fields: &str) -> Option<Sample> {
    let body = format!(r#"{{"model":"m","messages":[0]{fields}}}"#);
    recounter.draw(&model(), &cocoon_openai_wire::peek::chat(body.as_bytes()).unwrap())
}

/// Of a request for two choices.
fn sample(recounter: &Recounter, payloads: &[String]) -> Sample {
    let mut sample = drawn(recounter, r#","n":2"#).unwrap();
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
        recounter.count(&model(), endpoint, is_streamed, 0, &sample).unwrap()
    });
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    assert!((10..60).contains(&counts[0].counted), "{counts:?}");
    assert_eq!(counts[0].most, counts[0].counted + counts[0].counted / 2 + CHOICE_ALLOWANCE);
}

fn recount(recounter: &Recounter, json: &serde_json::Value) -> Recount {
    let sample = sample(recounter, &[json.to_string()]);
    recounter.count(&model(), Endpoint::ChatCompletions, false, 0, &sample).unwrap()
}

/// A worker gets no more of it by inventing choices or calls, or by repeating one.
#[test]
fn allowances_are_for_what_was_asked_and_said() {
    let recounter = recounter();
    let choice = |index: u64, text: &str| json!({"index": index, "message": {"content": text}});
    let invented: Vec<_> = (0..100).map(|index| choice(index * 1000, "")).collect();
    let one = recount(&recounter, &json!({"choices": [choice(0, TEXT)]}));
    let mut many = vec![choice(0, TEXT)];
    many.extend(invented);
    assert_eq!(recount(&recounter, &json!({"choices": many})), one);

    let called = |calls: Vec<serde_json::Value>| {
        let message = json!({"content": TEXT, "tool_calls": calls});
        recount(&recounter, &json!({"choices": [{"index": 0, "message": message}]}))
    };
    let call = |index: u64, name: &str| json!({"index": index, "function": {"name": name}});
    assert_eq!(called((0..100).map(|index| call(index, "")).collect()), one, "no name, no call");
    let once = called(vec![call(0, "f")]);
    assert!(once.most > one.most);
    let repeated = called((0..5).map(|_| call(0, "f")).collect());
    assert!(repeated.most < once.most + CALL_ALLOWANCE, "one number is one call");
    let tiny = called((0..100).map(|index| call(index, "f")).collect());
    let text = tiny.counted - one.counted;
    assert!(tiny.most <= one.most + text * (CALL_ALLOWANCE_FACTOR + 2) + CALL_ALLOWANCE);
}

#[test]
fn calls_and_choices_have_their_allowance() {
    let recounter = recounter();
    let function = json!({"name": "weather", "arguments": "{\"city\":\"Paris\"}"});
    let call = json!({"id": "call_1", "type": "function", "function": function});
    let message = json!({"content": null, "tool_calls": [call]});
    let choices = json!([{"index": 0, "message": message}, {"index": 1, "message": message}]);
    let recount = recount(&recounter, &json!({"choices": choices}));
    let allowance = recount.counted / 2 + 2 * CHOICE_ALLOWANCE + 2 * CALL_ALLOWANCE;
    assert_eq!(recount.most, recount.counted + allowance);
}

#[test]
fn what_cannot_be_judged_is_not() {
    let recounter = recounter();
    let whole = json!({"choices": [{"index": 0, "message": {"content": TEXT}}]}).to_string();
    let counted = |payload: &str| {
        let sample = sample(&recounter, &[payload.to_owned()]);
        recounter.count(&model(), Endpoint::ChatCompletions, false, 0, &sample)
    };
    assert!(counted(&whole).is_some());
    assert_eq!(counted("{}"), None);
    assert_eq!(counted("no JSON"), None);
    assert!(drawn(&recounter, "").is_some());
    for fields in [r#","logit_bias":{"5":1}"#, r#","logit\u005fbias":{"5":1}"#, r#","stop":["x"]"#]
    {
        assert!(drawn(&recounter, fields).is_none(), "{fields}");
    }
    let another = cocoon_openai_wire::peek::chat(br#"{"model":"m","messages":[0]}"#).unwrap();
    assert!(recounter.draw(&"another".parse().unwrap(), &another).is_none());
}

/// Only a response may keep it to itself; elsewhere a worker that claims it has to show it.
#[test]
fn reasoning_without_text_is_believed_of_responses_alone() {
    let recounter = recounter();
    let item = json!({"type": "message", "content": [{"type": "output_text", "text": TEXT}]});
    let response = json!({"id": "resp_1", "output": [item]}).to_string();
    let chat = json!({"choices": [{"index": 0, "message": {"content": TEXT}}]}).to_string();
    use Endpoint::{ChatCompletions, Responses};
    for (endpoint, payload, believed) in [(Responses, response, 40), (ChatCompletions, chat, 0)] {
        let sample = sample(&recounter, &[payload]);
        let most = |reasoning| {
            recounter.count(&model(), endpoint, false, reasoning, &sample).unwrap().most
        };
        assert_eq!(most(40), most(0) + believed, "{endpoint:?}");
    }
}

#[test]
fn a_sample_is_bounded_and_so_is_their_number() {
    let recounter = recounter();
    let mut large = drawn(&recounter, "").unwrap();
    assert!(!large.push(&Bytes::from(vec![b'x'; SAMPLE_BYTES_MAX + 1])));
    let held: Vec<_> = (0..2 * SAMPLES_MAX).map_while(|_| drawn(&recounter, "")).collect();
    assert!(held.len() < SAMPLES_MAX);
    drop(held);
    drop(large);
    assert!(drawn(&recounter, "").is_some());
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
