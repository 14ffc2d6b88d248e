use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::peek::{self, CHOICES_MAX, INPUTS_MAX, Peek, PeekError, VALUES_MAX};
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
    assert_eq!((peek.max_tokens, peek.choices), (Some(5), 2));
}

#[test]
fn absent_and_null_are_the_same() {
    let bare = peek::chat(br#"{"model":"m","messages":[0]}"#).unwrap();
    let nulls = br#"{"model":"m","messages":[0],"stream":null,"stream_options":null,
        "max_tokens":null,"max_completion_tokens":null,"n":null}"#;
    assert_eq!(peek::chat(nulls).unwrap(), bare);
    assert_eq!(
        (bare.stream, bare.include_usage, bare.max_tokens, bare.choices),
        (false, false, None, 1)
    );
}

#[test]
fn escaped_keys_and_values_are_the_fields_they_spell() {
    let peek = peek::chat(br#"{"mod\u0065l":"\u006d","messages":[0],"\u006e":3}"#);
    let peek = peek.unwrap();
    assert_eq!((&*peek.model, peek.choices), ("m", 3));
}

/// However its keys are spelled.
#[test]
fn a_say_in_how_the_text_is_cut_is_seen() {
    use Endpoint::{ChatCompletions, Completions, Responses};
    for (endpoint, fields, expected) in [
        (ChatCompletions, r#""messages":[0]"#, false),
        (ChatCompletions, r#""messages":[0],"logit_bias":null,"stop":null"#, false),
        (ChatCompletions, r#""messages":[{"logit_bias":{},"stop":"x"}]"#, false),
        (ChatCompletions, r#""messages":[0],"logit_bias":{"5":1}"#, true),
        (ChatCompletions, r#""messages":[0],"logit\u005fbias":{"5":1}"#, true),
        (ChatCompletions, r#""messages":[0],"\u0073top":["x"]"#, true),
        (ChatCompletions, r#""stop":"x","stop":null,"messages":[0]"#, true),
        (Responses, r#""input":[1,2]"#, false),
        (Responses, r#""logit_bias":{}"#, true),
        (Completions, r#""prompt":"x""#, false),
        (Completions, r#""prompt":["x","y"]"#, false),
        (Completions, r#""prompt":[1,2]"#, true),
        (Completions, r#""prompt":[[1],[2]]"#, true),
    ] {
        let body = format!(r#"{{"model":"m",{fields}}}"#);
        let peek = peek::read(endpoint, body.as_bytes()).unwrap();
        assert_eq!(peek.has_uneven_text, expected, "{body}");
    }
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

fn read(endpoint: Endpoint, body: &str) -> Result<Peek<'_>, PeekError> {
    peek::read(endpoint, body.as_bytes())
}

#[test]
fn each_endpoint_has_its_own_fields() {
    use Endpoint::{ChatCompletions, Completions, Embeddings, Responses};
    // Every field that any of them has: what is another's is passed over, whatever it holds.
    let chat = r#"{"model":"m","messages":[0,0],"max_tokens":3,"max_output_tokens":"x",
        "n":2,"tools":[0],"input":7,"prompt":7}"#;
    let peek = read(ChatCompletions, chat).unwrap();
    assert_eq!((peek.max_tokens, peek.choices, peek.prompts), (Some(3), 2, 1));
    assert_eq!((peek.items, peek.tools, peek.functions), (2, 1, 0));
    let older = r#"{"model":"m","messages":[0],"tools":[0,0],"functions":[0,0,0]}"#;
    let peek = read(ChatCompletions, older).unwrap();
    assert_eq!((peek.tools, peek.functions), (5, 3));

    let response = r#"{"model":"m","input":[0,0,0],"max_output_tokens":9,"max_tokens":"x",
        "n":"x","tools":[0,0],"functions":7,"stream":true,"stream_options":{"include_obfuscation":false}}"#;
    let peek = read(Responses, response).unwrap();
    assert_eq!((peek.max_tokens, peek.choices, peek.prompts), (Some(9), 1, 1));
    assert_eq!((peek.items, peek.tools, peek.stream), (3, 2, true));

    let completion = r#"{"model":"m","prompt":["a","b"],"max_tokens":4,"n":3,"tools":"x",
        "max_completion_tokens":"x","stream":true,"stream_options":{"include_usage":true}}"#;
    let peek = read(Completions, completion).unwrap();
    assert_eq!((peek.max_tokens, peek.choices, peek.prompts), (Some(4), 6, 2));
    assert_eq!((peek.items, peek.include_usage, peek.stream), (0, true, true));

    let embedding = r#"{"model":"m","input":["a","b"],"stream":"x","stream_options":7,"n":"x",
        "max_tokens":"x","tools":1,"stream":true}"#;
    let peek = read(Embeddings, embedding).unwrap();
    assert_eq!((peek.max_tokens, peek.choices, peek.prompts), (None, 0, 2));
    assert!(!peek.stream && !peek.include_usage);
}

#[test]
fn completions_have_openais_default_limit() {
    for body in [r#"{"model":"m","prompt":""}"#, r#"{"model":"m","prompt":"","max_tokens":null}"#] {
        assert_eq!(read(Endpoint::Completions, body).unwrap().max_tokens, Some(16));
    }
    let chat = read(Endpoint::ChatCompletions, r#"{"model":"m","messages":[0]}"#).unwrap();
    assert_eq!(chat.max_tokens, None);
}

#[test]
fn prompts_are_counted_by_their_shape() {
    for (content, prompts) in [
        (r#""text""#, 1),
        (r#""""#, 1),
        (r#"["a"]"#, 1),
        (r#"["a","b","c"]"#, 3),
        ("[1,2,3]", 1),
        ("[[1,2],[3]]", 2),
        ("[[],[]]", 2),
    ] {
        for (endpoint, field) in
            [(Endpoint::Completions, "prompt"), (Endpoint::Embeddings, "input")]
        {
            let body = format!(r#"{{"model":"m","{field}":{content}}}"#);
            assert_eq!(read(endpoint, &body).unwrap().prompts, prompts, "{body}");
        }
    }
    for content in
        ["7", "{}", "true", "[1,\"a\"]", "[\"a\",[1]]", "[1.5]", "[null]", "[{}]", "[true]"]
    {
        for (endpoint, field) in
            [(Endpoint::Completions, "prompt"), (Endpoint::Embeddings, "input")]
        {
            let body = format!(r#"{{"model":"m","{field}":{content}}}"#);
            let error = read(endpoint, &body).unwrap_err();
            assert_eq!(
                (error.param.as_deref(), error.code),
                (Some(field), "invalid_type"),
                "{body}"
            );
        }
    }
}

#[test]
fn the_bounds_of_the_api_hold() {
    let texts =
        |count: u32| format!("[{}\"x\"]", "\"x\",".repeat(usize::try_from(count).unwrap() - 1));
    let embeddings = |count| format!(r#"{{"model":"m","input":{}}}"#, texts(count));
    let completions = |count, n| format!(r#"{{"model":"m","prompt":{},"n":{n}}}"#, texts(count));
    assert_eq!(read(Endpoint::Embeddings, &embeddings(INPUTS_MAX)).unwrap().prompts, INPUTS_MAX);
    let above = embeddings(INPUTS_MAX + 1);
    let error = read(Endpoint::Embeddings, &above).unwrap_err();
    assert_eq!((error.param.as_deref(), error.code), (Some("input"), "array_above_max_length"));

    for (prompts, n) in [(CHOICES_MAX, 1), (CHOICES_MAX / 2, 2), (1, CHOICES_MAX)] {
        let body = completions(prompts, n);
        assert_eq!(read(Endpoint::Completions, &body).unwrap().choices, CHOICES_MAX);
    }
    for (prompts, n, param, code) in [
        (CHOICES_MAX + 1, 1, "prompt", "array_above_max_length"),
        (CHOICES_MAX / 2 + 1, 2, "n", "integer_out_of_range"),
        (1, CHOICES_MAX + 1, "n", "integer_out_of_range"),
    ] {
        let body = completions(prompts, n);
        let error = read(Endpoint::Completions, &body).unwrap_err();
        assert_eq!((error.param.as_deref(), error.code), (Some(param), code));
    }
}

#[test]
fn what_is_wrong_is_named_at_every_endpoint() {
    use Endpoint::{ChatCompletions, Completions, Embeddings, Responses};
    for (endpoint, fields, param, code) in [
        (ChatCompletions, r#""messages":[0],"tools":{}"#, "tools", "invalid_type"),
        (
            ChatCompletions,
            r#""messages":[0],"tools":[],"tools":[]"#,
            "tools",
            "duplicate_parameter",
        ),
        (ChatCompletions, r#""messages":[0],"functions":7"#, "functions", "invalid_type"),
        (
            ChatCompletions,
            r#""messages":[0],"functions":[],"functions":[]"#,
            "functions",
            "duplicate_parameter",
        ),
        (Responses, r#""input":7"#, "input", "invalid_type"),
        (Responses, r#""input":"","input":"""#, "input", "duplicate_parameter"),
        (Responses, r#""max_output_tokens":0"#, "max_output_tokens", "integer_below_min_value"),
        (Responses, r#""stream":1"#, "stream", "invalid_type"),
        (Completions, r#""stream":true"#, "prompt", "missing_required_parameter"),
        (Completions, r#""prompt":[]"#, "prompt", "empty_array"),
        (Completions, r#""prompt":"","max_tokens":0"#, "max_tokens", "integer_below_min_value"),
        (Completions, r#""prompt":"","n":0"#, "n", "integer_out_of_range"),
        (Embeddings, r#""user":"u""#, "input", "missing_required_parameter"),
        (Embeddings, r#""input":null"#, "input", "missing_required_parameter"),
        (Embeddings, r#""input":[]"#, "input", "empty_array"),
        (Embeddings, r#""input":"a","input":"b""#, "input", "duplicate_parameter"),
    ] {
        let body = format!(r#"{{"model":"m",{fields}}}"#);
        let error = read(endpoint, &body).unwrap_err();
        assert_eq!((error.param.as_deref(), error.code), (Some(param), code), "{body}");
    }
    // Whether a response can do without an input is not a matter of money.
    for body in [r#"{"model":"m"}"#, r#"{"model":"m","input":null}"#, r#"{"model":"m","input":[]}"#]
    {
        assert_eq!(read(Responses, body).unwrap().items, 0);
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

fn endpoint() -> impl Strategy<Value = Endpoint> {
    prop::sample::select(&Endpoint::ALL[..])
}

/// A list of texts, of token ids, of lists of those, or of anything.
fn content() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[ -~]{0,8}".prop_map(Value::from),
        prop::collection::vec("[ -~]{0,4}", 0..5).prop_map(Value::from),
        prop::collection::vec(any::<u32>(), 0..5).prop_map(Value::from),
        prop::collection::vec(prop::collection::vec(any::<u16>(), 0..3), 0..5)
            .prop_map(Value::from),
        prop::collection::vec(small_json(), 0..4).prop_map(Value::from),
        small_json(),
    ]
}

/// How many prompts a tree says that there are; `None` where it is not a list of one kind.
fn prompts_of(content: &Value) -> Option<usize> {
    match content {
        Value::String(_) => Some(1),
        Value::Array(list) if list.is_empty() => None,
        Value::Array(list) if list.iter().all(|one| one.is_i64() || one.is_u64()) => Some(1),
        Value::Array(list) if list.iter().all(Value::is_string) => Some(list.len()),
        Value::Array(list) if list.iter().all(Value::is_array) => Some(list.len()),
        _ => None,
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        endpoint in endpoint(),
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        drop(peek::read(endpoint, &body));
    }

    #[test]
    fn the_counts_of_money_agree_with_a_tree(
        endpoint in endpoint(),
        content in content(),
        n in prop::option::of(1_u32..6),
        limit in prop::option::of(1_u64..100_000),
        tools in prop::option::of(prop::collection::vec(small_json(), 0..4)),
        other in small_json(),
    ) {
        let mut body = json!({"model": "m", endpoint.content_param(): content, "n": n,
            "tools": tools, "unknown": other});
        if let Some(param) = endpoint.limit_param() {
            body[param] = json!(limit);
        }
        let text = body.to_string();
        let Ok(peek) = read(endpoint, &text) else {
            // Refused for its content, or for more choices than there are.
            let is_list = content.as_array().is_some_and(|list| !list.is_empty());
            let fits = match endpoint {
                Endpoint::ChatCompletions => is_list,
                Endpoint::Responses => is_list || content.is_string() || content.is_null(),
                _ => prompts_of(&content).is_some(),
            };
            prop_assert!(!fits, "{} was refused", text);
            return Ok(());
        };
        let prompts = match endpoint {
            Endpoint::ChatCompletions | Endpoint::Responses => 1,
            Endpoint::Completions | Endpoint::Embeddings => prompts_of(&content).unwrap(),
        };
        prop_assert_eq!(usize::try_from(peek.prompts).unwrap(), prompts);
        let items = match endpoint {
            Endpoint::ChatCompletions | Endpoint::Responses => content.as_array().map_or(0, Vec::len),
            Endpoint::Completions | Endpoint::Embeddings => 0,
        };
        prop_assert_eq!(usize::try_from(peek.items).unwrap(), items);
        let has_tools = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Responses);
        let tools = tools.filter(|_| has_tools).map_or(0, |tools| tools.len());
        prop_assert_eq!(usize::try_from(peek.tools).unwrap(), tools);
        let expected = match endpoint {
            Endpoint::ChatCompletions => (n.unwrap_or(1), limit),
            Endpoint::Responses => (1, limit),
            Endpoint::Completions => (n.unwrap_or(1) * peek.prompts, limit.or(Some(16))),
            Endpoint::Embeddings => (0, None),
        };
        prop_assert_eq!((peek.choices, peek.max_tokens), expected);
    }

    #[test]
    fn cut_and_changed_bodies_never_panic(
        endpoint in endpoint(),
        at in 0_usize..300,
        byte in any::<u8>(),
    ) {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "é\n"}],
            "input": [[1, 2], [3]], "prompt": ["é", "b"], "tools": [{}],
            "stream_options": {"include_usage": true}, "n": 1, "max_tokens": 12}).to_string().into_bytes();
        let at = at % body.len();
        drop(peek::read(endpoint, &body[..at]));
        body[at] = byte;
        drop(peek::read(endpoint, &body));
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
