use cocoon_openai_wire::chat::{Content, Effort, Part};
use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::peek;
use cocoon_openai_wire::responses::{
    AllowedTool, Item, MessageRole, ResponsesRequest, Summary, TextFormat, Tool, ToolChoice,
    Verbosity,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{parse, with};

fn refused(body: &Value) -> (Option<String>, &'static str) {
    let error = ResponsesRequest::parse(body.to_string().as_bytes()).expect_err("a bad request");
    (error.param, error.code)
}

/// Each of these fields beside an otherwise valid request, the parameter that is named, and the
/// code.
fn assert_refused(table: impl IntoIterator<Item = (Value, &'static str, &'static str)>) {
    for (more, param, code) in table {
        assert_eq!(refused(&with(&more)), (Some(param.to_owned()), code), "{more}");
    }
}

fn user(text: &str) -> Item {
    Item::Message { role: MessageRole::User, content: Content::Text(text.to_owned()) }
}

#[test]
fn a_bare_request_has_the_defaults() {
    let request = parse(&with(&json!({})));
    assert_eq!(request.input, [user("hi")]);
    assert!(!request.stream && request.include_obfuscation && request.parallel_tool_calls);
    assert!(!request.logprobs && !request.background);
    assert_eq!((request.max_output_tokens, request.temperature, request.top_p), (None, None, None));
    assert_eq!((request.text_format, request.verbosity), (TextFormat::Text, None));
    assert_eq!((request.tools, request.tool_choice), (Vec::new(), ToolChoice::Auto));
    assert_eq!((request.effort, request.summary), (None, None));
    assert!(request.metadata.is_empty() && request.extra.is_empty());
}

#[test]
fn null_is_as_good_as_nothing() {
    let nulls = json!({"instructions": null, "stream": null, "stream_options": null,
        "max_output_tokens": null, "temperature": null, "top_p": null, "top_logprobs": null,
        "include": null, "text": null, "tools": null, "tool_choice": null, "reasoning": null,
        "parallel_tool_calls": null, "metadata": null, "max_tool_calls": null, "user": null,
        "previous_response_id": null, "background": null, "truncation": null, "store": null,
        "safety_identifier": null, "prompt_cache_key": null, "service_tier": null});
    assert_eq!(parse(&with(&nulls)), parse(&with(&json!({}))));
    let inner = json!({"text": {"format": null, "verbosity": null},
        "reasoning": {"effort": null, "summary": null}});
    assert_eq!(parse(&with(&inner)), parse(&with(&json!({}))));
}

#[test]
fn every_field_is_read() {
    let request = parse(&with(&json!({
        "instructions": "be brief", "stream": true,
        "stream_options": {"include_obfuscation": false, "new": 1},
        "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.25, "presence_penalty": -2,
        "frequency_penalty": 2, "top_logprobs": 20,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs", "new"],
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "strict": true,
            "schema": {"$schema": "x", "type": "object"}}},
        "reasoning": {"effort": "xhigh", "summary": "auto", "context": "auto"},
        "parallel_tool_calls": false, "max_tool_calls": 3, "metadata": {"a": "b"}, "user": "u",
        "safety_identifier": "s", "prompt_cache_key": "k", "previous_response_id": "resp_1",
        "background": true,
    })));
    assert_eq!(request.instructions.as_deref(), Some("be brief"));
    assert!(request.stream && !request.include_obfuscation && !request.parallel_tool_calls);
    assert_eq!((request.max_output_tokens, request.max_tool_calls), (Some(9), Some(3)));
    assert_eq!((request.temperature, request.top_p), (Some(0.5), Some(0.25)));
    assert_eq!((request.presence_penalty, request.frequency_penalty), (Some(-2.0), Some(2.0)));
    assert_eq!((request.logprobs, request.top_logprobs), (true, 20));
    let TextFormat::JsonSchema { name, schema, strict, description } = request.text_format else {
        panic!("a schema");
    };
    assert_eq!((name.as_str(), strict, description), ("n", true, None));
    assert_eq!(Value::Object(schema), json!({"$schema": "x", "type": "object"}));
    assert_eq!(request.verbosity, Some(Verbosity::Low));
    assert_eq!((request.effort, request.summary), (Some(Effort::Xhigh), Some(Summary::Auto)));
    assert_eq!(Value::Object(request.metadata), json!({"a": "b"}));
    assert_eq!(request.user.as_deref(), Some("u"));
    assert_eq!(request.safety_identifier.as_deref(), Some("s"));
    assert_eq!(request.prompt_cache_key.as_deref(), Some("k"));
    assert_eq!(request.previous_response_id.as_deref(), Some("resp_1"));
    assert!(request.background && request.extra.is_empty());
}

#[test]
fn unknown_fields_are_kept() {
    let extra = json!({"client_metadata": {"a": [1]}, "conversation": "c", "prompt": {"id": "p"},
        "moderation": {}, "image": {}, "entirely_new": [1, {"x": null}], "nothing": null});
    assert_eq!(Value::Object(parse(&with(&extra)).extra), extra);
}

#[test]
fn hints_that_nobody_knows_are_ignored() {
    let request = parse(&with(&json!({"text": {"verbosity": "epic"},
        "reasoning": {"summary": "none", "mode": "pro"}})));
    assert_eq!((request.verbosity, request.summary), (None, None));
}

#[test]
fn items_of_all_kinds_are_read() {
    let items = parse(&json!({"model": "m", "input": [
        {"role": "user", "content": "a"},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "b", "annotations": [], "logprobs": []},
                {"type": "refusal", "refusal": "c"}]},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "d"},
            {"type": "input_image", "image_url": "data:"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}],
            "content": [{"type": "reasoning_text", "text": "t"}], "encrypted_content": "e"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}]},
        {"type": "reasoning", "id": "rs_2", "summary": [], "content": null},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": {"x": 1}},
        {"type": "function_call_output", "call_id": "c1", "output": "42"},
        {"type": "function_call_output", "call_id": "c2",
            "output": [{"type": "input_text", "text": "43"}]},
        {"type": "custom_tool_call", "call_id": "c3", "name": "h", "input": "x y"},
        {"type": "custom_tool_call_output", "call_id": "c3", "output": "44"},
        {"type": "item_reference", "id": "msg_0"}, {"id": "msg_0"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    ]}))
    .input;
    let text = |text: &str| Content::Text(text.to_owned());
    let part = |text: &str| Part::Text(text.to_owned());
    let thought = |text: &str| Item::Reasoning { text: text.to_owned() };
    let call = |id: &str, name: &str, arguments: &str| Item::FunctionCall {
        call_id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    };
    let output = |id: &str, output| Item::FunctionCallOutput { call_id: id.to_owned(), output };
    let spoken = Content::Parts(vec![part("b"), Part::Refusal("c".to_owned())]);
    let other = Part::Other { kind: "input_image".to_owned() };
    let shown = Content::Parts(vec![part("d"), other]);
    let id = || "c3".to_owned();
    let expected = [
        user("a"),
        Item::Message { role: MessageRole::Assistant, content: spoken },
        Item::Message { role: MessageRole::Developer, content: shown },
        thought("t"),
        thought("s"),
        thought(""),
        call("c1", "f", "{}"),
        call("c2", "g", r#"{"x":1}"#),
        output("c1", text("42")),
        output("c2", Content::Parts(vec![part("43")])),
        Item::CustomToolCall { call_id: id(), name: "h".to_owned(), input: "x y".to_owned() },
        Item::CustomToolCallOutput { call_id: id(), output: text("44") },
        Item::Reference { id: "msg_0".to_owned() },
        Item::Reference { id: "msg_0".to_owned() },
        Item::Other { kind: "web_search_call".to_owned() },
    ];
    assert_eq!(items, expected);
}

#[test]
fn tools_of_all_kinds_are_read() {
    let request = parse(&with(&json!({"tools": [
        {"type": "function", "name": "f", "description": "d", "strict": true,
            "parameters": {"type": "object"}, "defer_loading": true},
        {"type": "function", "name": "g", "description": null, "parameters": null, "strict": null},
        {"type": "custom", "name": "h"},
        {"type": "custom", "name": "i", "format": {"type": "text"}},
        {"type": "custom", "name": "j",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}},
        {"type": "web_search", "name": null},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "x"}]},
    ]})));
    let Value::Object(parameters) = json!({"type": "object"}) else { panic!("an object") };
    let custom = |name: &str, has_grammar| Tool::Custom {
        name: name.to_owned(),
        description: None,
        has_grammar,
    };
    let expected = [
        Tool::Function {
            name: "f".to_owned(),
            description: Some("d".to_owned()),
            parameters: Some(parameters),
            strict: Some(true),
        },
        Tool::Function { name: "g".to_owned(), description: None, parameters: None, strict: None },
        custom("h", false),
        custom("i", false),
        custom("j", true),
        Tool::Other { kind: "web_search".to_owned() },
        Tool::Other { kind: "namespace".to_owned() },
    ];
    assert_eq!(request.tools, expected);
    let kinds: Vec<_> = request.tools.iter().map(Tool::kind).collect();
    assert_eq!(kinds[1..6], ["function", "custom", "custom", "custom", "web_search"]);
}

#[test]
fn choices_of_all_kinds_are_read_and_said_again() {
    let allowed = json!({"type": "allowed_tools", "mode": "required",
        "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]});
    let tools = vec![
        AllowedTool { kind: "function".to_owned(), name: Some("f".to_owned()) },
        AllowedTool { kind: "web_search".to_owned(), name: None },
    ];
    let name = || "f".to_owned();
    for (value, choice) in [
        (json!("auto"), ToolChoice::Auto),
        (json!("none"), ToolChoice::None),
        (json!("required"), ToolChoice::Required),
        (json!({"type": "function", "name": "f"}), ToolChoice::Function { name: name() }),
        (json!({"type": "custom", "name": "f"}), ToolChoice::Custom { name: name() }),
        (json!({"type": "web_search"}), ToolChoice::Hosted { kind: "web_search".to_owned() }),
        (allowed, ToolChoice::Allowed { is_required: true, tools }),
    ] {
        let request = parse(&with(&json!({"tool_choice": value})));
        assert_eq!(request.tool_choice, choice);
        assert_eq!(choice.to_value(), value);
    }
}

#[test]
fn what_is_wrong_with_a_parameter_is_named() {
    let many: serde_json::Map<_, _> = (0..17).map(|n| (n.to_string(), json!("x"))).collect();
    assert_refused([
        (json!({"input": null}), "input", "missing_required_parameter"),
        (json!({"input": 7}), "input", "invalid_type"),
        (json!({"instructions": ["x"]}), "instructions", "invalid_type"),
        (json!({"max_output_tokens": 0}), "max_output_tokens", "integer_below_min_value"),
        (json!({"temperature": 2.1}), "temperature", "decimal_out_of_range"),
        (json!({"top_p": "1"}), "top_p", "invalid_type"),
        (json!({"presence_penalty": 3}), "presence_penalty", "decimal_out_of_range"),
        (json!({"frequency_penalty": -3}), "frequency_penalty", "decimal_out_of_range"),
        (json!({"top_logprobs": 21}), "top_logprobs", "invalid_value"),
        (json!({"top_logprobs": -1}), "top_logprobs", "invalid_value"),
        (json!({"include": "x"}), "include", "invalid_type"),
        (json!({"include": [1]}), "include", "invalid_type"),
        (json!({"stream_options": 1}), "stream_options", "invalid_type"),
        (json!({"text": "x"}), "text", "invalid_type"),
        (json!({"text": {"format": {}}}), "text.format.type", "missing_required_parameter"),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format.type", "invalid_value"),
        (
            json!({"text": {"format": {"type": "json_schema", "schema": {}}}}),
            "text.format.name",
            "missing_required_parameter",
        ),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "n"}}}),
            "text.format.schema",
            "missing_required_parameter",
        ),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": 1}}}),
            "text.format.schema",
            "invalid_type",
        ),
        (json!({"reasoning": "high"}), "reasoning", "invalid_type"),
        (json!({"reasoning": {"effort": "epic"}}), "reasoning.effort", "invalid_value"),
        (json!({"parallel_tool_calls": 1}), "parallel_tool_calls", "invalid_type"),
        (json!({"max_tool_calls": -1}), "max_tool_calls", "invalid_value"),
        (json!({"metadata": {"a": 1}}), "metadata", "invalid_type"),
        (json!({"metadata": many}), "metadata", "invalid_value"),
        (json!({"metadata": {"a": "x".repeat(513)}}), "metadata", "invalid_value"),
        (json!({"truncation": "some"}), "truncation", "invalid_value"),
        (json!({"background": "yes"}), "background", "invalid_type"),
        (json!({"store": "yes"}), "store", "invalid_type"),
    ]);
}

#[test]
fn what_is_wrong_with_an_item_is_named() {
    let table = [
        (json!("hi"), "input[1]", "invalid_type"),
        (json!({}), "input[1].type", "missing_required_parameter"),
        (json!({"type": 1}), "input[1].type", "invalid_type"),
        (json!({"type": "item_reference"}), "input[1].id", "missing_required_parameter"),
        (json!({"role": "king", "content": "x"}), "input[1].role", "invalid_value"),
        (json!({"type": "message"}), "input[1].role", "missing_required_parameter"),
        (json!({"role": "user"}), "input[1].content", "missing_required_parameter"),
        (json!({"role": "user", "content": 7}), "input[1].content", "invalid_type"),
        (json!({"role": "user", "content": ["x"]}), "input[1].content[0]", "invalid_type"),
        (
            json!({"role": "user", "content": [{"text": "x"}]}),
            "input[1].content[0].type",
            "missing_required_parameter",
        ),
        (
            json!({"role": "user", "content": [{"type": "input_text"}]}),
            "input[1].content[0].text",
            "missing_required_parameter",
        ),
        (
            json!({"type": "function_call", "name": "f"}),
            "input[1].call_id",
            "missing_required_parameter",
        ),
        (
            json!({"type": "function_call", "call_id": "c"}),
            "input[1].name",
            "missing_required_parameter",
        ),
        (
            json!({"type": "function_call_output", "call_id": "c", "output": 7}),
            "input[1].output",
            "invalid_type",
        ),
        (json!({"type": "reasoning", "summary": ["x"]}), "input[1].summary[0]", "invalid_type"),
    ];
    for (item, param, code) in table {
        let body = json!({"model": "m", "input": [{"role": "user", "content": "x"}, item]});
        assert_eq!(refused(&body), (Some(param.to_owned()), code), "{item}");
    }
}

#[test]
fn what_is_wrong_with_a_tool_is_named() {
    assert_refused([
        (json!({"tools": {}}), "tools", "invalid_type"),
        (json!({"tools": [{"name": "f"}]}), "tools[0].type", "missing_required_parameter"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name", "missing_required_parameter"),
        (json!({"tools": [{"type": "custom", "name": ""}]}), "tools[0].name", "invalid_value"),
        (
            json!({"tools": [{"type": "function", "name": "f", "parameters": []}]}),
            "tools[0].parameters",
            "invalid_type",
        ),
        (json!({"tool_choice": "maybe"}), "tool_choice", "invalid_value"),
        (json!({"tool_choice": 1}), "tool_choice", "invalid_type"),
        (json!({"tool_choice": {}}), "tool_choice.type", "missing_required_parameter"),
        (
            json!({"tool_choice": {"type": "function"}}),
            "tool_choice.name",
            "missing_required_parameter",
        ),
        (
            json!({"tool_choice": {"type": "allowed_tools"}}),
            "tool_choice.tools",
            "missing_required_parameter",
        ),
        (
            json!({"tool_choice": {"type": "allowed_tools", "mode": "any", "tools": []}}),
            "tool_choice.mode",
            "invalid_value",
        ),
    ]);
}

/// Names that the parser knows, so that arbitrary values reach its every corner.
fn any_key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "model",
        "input",
        "instructions",
        "stream",
        "stream_options",
        "max_output_tokens",
        "temperature",
        "top_logprobs",
        "include",
        "text",
        "format",
        "type",
        "tools",
        "name",
        "parameters",
        "tool_choice",
        "reasoning",
        "effort",
        "content",
        "role",
        "summary",
        "output",
        "call_id",
        "arguments",
        "metadata",
        "truncation",
        "id",
        "mode",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => "[a-z_]{0,8}"]
}

fn any_value() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "message",
        "function",
        "function_call",
        "function_call_output",
        "reasoning",
        "custom",
        "item_reference",
        "user",
        "assistant",
        "input_text",
        "json_schema",
        "allowed_tools",
        "auto",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|half| Value::from(f64::from(half) / 2.0)),
        words.prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(any_key(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(ResponsesRequest::parse(&body));
    }

    #[test]
    fn arbitrary_json_never_panics(
        fields in prop::collection::hash_map(any_key(), any_value(), 0..8),
    ) {
        let mut body = json!({"model": "m", "input": "hi"});
        body.as_object_mut().unwrap().extend(fields);
        drop(ResponsesRequest::parse(body.to_string().as_bytes()));
    }

    /// The gateway's look and the worker's reading are two; they must be of one mind.
    #[test]
    fn parser_and_peek_agree(stream in any::<Option<bool>>(), most in prop::option::of(1_u64..)) {
        let body = with(&json!({"stream": stream, "max_output_tokens": most})).to_string();
        let peek = peek::read(Endpoint::Responses, body.as_bytes());
        match (peek, ResponsesRequest::parse(body.as_bytes())) {
            (Ok(peek), Ok(request)) => {
                prop_assert_eq!(peek.stream, request.stream);
                prop_assert_eq!(peek.max_tokens, request.max_output_tokens);
            }
            (peek, request) => prop_assert_eq!(peek.is_ok(), request.is_ok()),
        }
    }

    #[test]
    fn unknown_fields_never_refuse(key in "x_[a-z]{1,9}", value in any_value()) {
        let body = with(&json!({&key: value}));
        prop_assert_eq!(&parse(&body).extra[&key], &value);
    }

    #[test]
    fn unknown_items_and_tools_never_refuse(
        kind in "x_[a-z]{1,9}",
        more in prop::collection::hash_map("x_[a-z]{1,9}", any_value(), 0..4),
    ) {
        let mut thing = json!({"type": &kind});
        thing.as_object_mut().unwrap().extend(more);
        let body = json!({"model": "m", "input": [&thing], "tools": [&thing]});
        let request = parse(&body);
        prop_assert_eq!(&request.input, &[Item::Other { kind: kind.clone() }]);
        prop_assert_eq!(&request.tools, &[Tool::Other { kind }]);
    }
}
