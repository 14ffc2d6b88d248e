use cocoon_openai_wire::peek::{self, PeekError, VALUES_MAX};
use proptest::prelude::*;
use serde_json::{Value, json};

fn refusal(body: &[u8]) -> PeekError {
    peek::chat(body).expect_err("the body is refused")
}

#[test]
fn the_fields_of_money_and_routing_are_read() {
    let body = r#"{"ignore_eos":[{}],"messages":[{"role":"user","content":"hi"}],"model":"m/x",
        "stream":true,"stream_options":{"x":1,"include_usage":true},"max_tokens":7,
        "max_completion_tokens":5,"n":2}"#;
    let peek = peek::chat(body.as_bytes()).unwrap();
    assert_eq!((&*peek.model, peek.stream, peek.include_usage), ("m/x", true, true));
    assert_eq!((peek.max_tokens, peek.n), (Some(5), 2));
}

#[test]
fn absent_and_null_are_the_same() {
    let bare = peek::chat(br#"{"model":"m","messages":[0]}"#).unwrap();
    let nulls = br#"{"model":"m","messages":[0],"stream":null,"stream_options":null,
        "max_tokens":null,"max_completion_tokens":null,"n":null}"#;
    assert_eq!(peek::chat(nulls).unwrap(), bare);
    assert_eq!((bare.stream, bare.include_usage, bare.max_tokens, bare.n), (false, false, None, 1));
}

#[test]
fn escaped_keys_and_values_are_the_fields_they_spell() {
    let peek = peek::chat(br#"{"mod\u0065l":"\u006d","messages":[0],"\u006e":3}"#);
    let peek = peek.unwrap();
    assert_eq!((&*peek.model, peek.n), ("m", 3));
}

#[test]
fn what_is_wrong_is_named() {
    let table: &[(&[u8], Option<&str>, &str)] = &[
        (b"", None, "invalid_json"),
        (b"{", None, "invalid_json"),
        (br#"{"model":"m","messages":[0]} x"#, None, "invalid_json"),
        (br#"{"model":"m","messages":[0],}"#, None, "invalid_json"),
        (b"[]", None, "invalid_type"),
        (b"\"text\"", None, "invalid_type"),
        (b"null", None, "invalid_type"),
        (b"{\"model\":\"\xff\"}", None, "invalid_utf8"),
        (br#"{"messages":[0]}"#, Some("model"), "missing_required_parameter"),
        (br#"{"model":null,"messages":[0]}"#, Some("model"), "missing_required_parameter"),
        (br#"{"model":7,"messages":[0]}"#, Some("model"), "invalid_type"),
        (br#"{"model":"","messages":[0]}"#, Some("model"), "invalid_value"),
        (br#"{"model":"m"}"#, Some("messages"), "missing_required_parameter"),
        (br#"{"model":"m","messages":[]}"#, Some("messages"), "empty_array"),
        (br#"{"model":"m","messages":"hi"}"#, Some("messages"), "invalid_type"),
        (br#"{"model":"m","messages":[0],"stream":"yes"}"#, Some("stream"), "invalid_type"),
        (
            br#"{"model":"m","messages":[0],"stream_options":[]}"#,
            Some("stream_options"),
            "invalid_type",
        ),
        (
            br#"{"model":"m","messages":[0],"stream_options":{"include_usage":1}}"#,
            Some("stream_options.include_usage"),
            "invalid_type",
        ),
        (
            br#"{"model":"m","messages":[0],"max_tokens":0}"#,
            Some("max_tokens"),
            "integer_below_min_value",
        ),
        (
            br#"{"model":"m","messages":[0],"max_tokens":-1}"#,
            Some("max_tokens"),
            "integer_below_min_value",
        ),
        (br#"{"model":"m","messages":[0],"max_tokens":1.5}"#, Some("max_tokens"), "invalid_type"),
        (
            br#"{"model":"m","messages":[0],"max_completion_tokens":"9"}"#,
            Some("max_completion_tokens"),
            "invalid_type",
        ),
        (br#"{"model":"m","messages":[0],"n":0}"#, Some("n"), "integer_out_of_range"),
        (br#"{"model":"m","messages":[0],"n":129}"#, Some("n"), "integer_out_of_range"),
        (br#"{"model":"m","model":"m","messages":[0]}"#, Some("model"), "duplicate_parameter"),
        (br#"{"model":"m","messages":[0],"n":null,"n":1}"#, Some("n"), "duplicate_parameter"),
        (
            br#"{"model":"m","messages":[0],"stream_options":{},"stream_options":{}}"#,
            Some("stream_options"),
            "duplicate_parameter",
        ),
    ];
    for (body, param, code) in table {
        let error = refusal(body);
        let shown = String::from_utf8_lossy(body);
        assert_eq!((error.param.as_deref(), error.code), (*param, *code), "{shown}: {error}");
        assert!(!error.message.is_empty());
    }
}

#[test]
fn messages_name_the_place_and_never_the_text() {
    let error = refusal(b"{\"model\": secret}");
    assert!(error.message.contains("line 1 column"), "{error}");
    assert!(!error.message.contains("secret"), "{error}");
    assert!(refusal(b"{\"a\":\"\xc3\x28\"}").message.contains("byte 6"));
}

#[test]
fn depth_bombs_are_refused_wherever_they_hide() {
    let deep = "[".repeat(100_000);
    for field in ["messages", "other", "model", "stream_options"] {
        let body = format!("{{\"model\":\"m\",\"{field}\":{deep}");
        let error = refusal(body.as_bytes());
        assert_eq!(error.code, "invalid_json", "{field}");
        assert!(error.message.contains("recursion"), "{field}: {error}");
    }
}

#[test]
fn bodies_of_too_many_values_are_refused() {
    let items = "0,".repeat(VALUES_MAX);
    for field in ["messages", "other"] {
        let body = format!("{{\"{field}\":[{items}0]}}");
        assert_eq!(refusal(body.as_bytes()).code, "too_many_values");
    }
}

fn small_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9_f64..1e9).prop_map(Value::from),
        "[ -~é\\n\"]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(peek::chat(&body));
    }

    #[test]
    fn cut_and_changed_bodies_never_panic(at in 0_usize..200, byte in any::<u8>()) {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "é\n"}],
            "stream_options": {"include_usage": true}, "n": 1, "max_tokens": 12}).to_string().into_bytes();
        let at = at % body.len();
        drop(peek::chat(&body[..at]));
        body[at] = byte;
        drop(peek::chat(&body));
    }

    #[test]
    fn peek_agrees_with_a_tree(
        model in "[a-z/\\\\\"é]{1,8}",
        stream in any::<bool>(),
        tokens in 1_u64..1_000_000,
        other in small_json(),
        messages in prop::collection::vec(small_json(), 1..4),
    ) {
        let body = json!({"model": model, "messages": messages, "stream": stream,
            "max_tokens": tokens, "unknown": other});
        let text = body.to_string();
        let peek = peek::chat(text.as_bytes()).unwrap();
        prop_assert_eq!(&*peek.model, body["model"].as_str().unwrap());
        prop_assert_eq!((peek.stream, peek.max_tokens), (stream, Some(tokens)));
    }
}
