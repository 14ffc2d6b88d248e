use cocoon_openai_wire::completions::{CompletionsRequest, TopTokens};
use cocoon_openai_wire::inputs::Input;
use serde_json::{Value, json};

fn with(more: &Value) -> Value {
    let mut body = json!({"model": "m", "prompt": "a"});
    let fields = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(fields);
    body
}

fn parse(more: &Value) -> CompletionsRequest {
    CompletionsRequest::parse(with(more).to_string().as_bytes()).expect("a good request")
}

#[test]
fn a_bare_request_has_the_defaults() {
    let request = parse(&json!({}));
    assert_eq!(request.prompts, [Input::Text("a".to_owned())]);
    assert_eq!((request.n, request.max_tokens, request.logprobs), (1, Some(16), None));
    assert!(!request.stream && !request.echo && request.stream_options.include_obfuscation);
    assert!(request.stop.is_empty() && request.extra.is_empty());
}

#[test]
fn every_field_is_read_and_the_rest_is_kept() {
    let request = parse(&json!({"prompt": [[1, 2], [3]], "n": 2, "best_of": 2, "echo": true,
        "suffix": "s", "logprobs": 0, "max_tokens": 7, "temperature": 0.5, "top_p": 1,
        "presence_penalty": 1, "frequency_penalty": -1, "seed": 9, "stop": ["x", "y"],
        "logit_bias": {"3": 1}, "stream": true, "user": "u",
        "stream_options": {"include_usage": true, "include_obfuscation": false}}));
    assert_eq!(request.prompts, [Input::Tokens(vec![1, 2]), Input::Tokens(vec![3])]);
    assert_eq!((request.n, request.best_of, request.max_tokens), (2, Some(2), Some(7)));
    assert_eq!((request.logprobs, request.seed), (Some(0), Some(9)));
    assert!(request.echo && request.suffix.as_deref() == Some("s") && request.stream);
    assert!(request.stream_options.include_usage && !request.stream_options.include_obfuscation);
    assert_eq!((request.temperature, request.top_p), (Some(0.5), Some(1.0)));
    assert_eq!((request.presence_penalty, request.frequency_penalty), (Some(1.0), Some(-1.0)));
    assert_eq!((request.stop.len(), &request.logit_bias[..]), (2, &[(3, 1.0)][..]));
    assert_eq!(Value::Object(request.extra), json!({"user": "u"}));
}

#[test]
fn of_two_tokens_with_one_text_the_first_counts() {
    let mut top = TopTokens::default();
    for (token, logprob) in [("a", -0.25), ("b", -1.5), ("a", -3.0)] {
        top.add(token.to_owned(), logprob);
    }
    assert_eq!(serde_json::to_string(&top).unwrap(), r#"{"a":-0.25,"b":-1.5}"#);
}
