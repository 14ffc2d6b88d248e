use cocoon_openai_wire::chat::{
    ChatRequest, Content, Effort, Part, ResponseFormat, Role, Tool, ToolChoice,
};
use cocoon_openai_wire::peek;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A request with one message and `more` beside it.
fn with(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    let fields = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(fields);
    body
}

fn parse(body: &Value) -> ChatRequest {
    ChatRequest::parse(body.to_string().as_bytes()).expect("a good request")
}

fn refused(body: &Value) -> (Option<String>, &'static str) {
    let error = ChatRequest::parse(body.to_string().as_bytes()).expect_err("a bad request");
    (error.param, error.code)
}

#[test]
fn a_bare_request_has_the_defaults() {
    let request = parse(&with(&json!({})));
    assert!(!request.stream && !request.logprobs && request.stream_options.include_obfuscation);
    assert_eq!((request.n, request.max_tokens, request.temperature), (1, None, None));
    assert_eq!(request.response_format, ResponseFormat::Text);
    assert_eq!(request.tool_choice, ToolChoice::Auto);
    assert!(request.tools.is_empty() && request.stop.is_empty() && request.extra.is_empty());
}

#[test]
fn every_field_is_read() {
    let request = parse(&with(&json!({
        "temperature": 0.5, "top_p": 1, "presence_penalty": -2, "frequency_penalty": 2.0,
        "seed": -3, "stop": "END", "logit_bias": {"12": -100, "7": 1.5}, "logprobs": true,
        "top_logprobs": 20, "stream": true, "max_tokens": 9,
        "stream_options": {"include_usage": true, "include_obfuscation": false, "other": 1},
        "response_format": {"type": "json_schema",
            "json_schema": {"name": "n", "strict": true, "schema": {"$schema": "x", "type": "object"}}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
            {"type": "web_search"}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    })));
    assert_eq!((request.temperature, request.top_p), (Some(0.5), Some(1.0)));
    assert_eq!((request.presence_penalty, request.frequency_penalty), (Some(-2.0), Some(2.0)));
    assert_eq!((request.seed, request.stop), (Some(-3), vec!["END".to_owned()]));
    assert_eq!(request.logit_bias.len(), 2);
    assert!(request.logit_bias.contains(&(12, -100.0)) && request.logit_bias.contains(&(7, 1.5)));
    assert_eq!((request.logprobs, request.top_logprobs), (true, 20));
    assert!(request.stream_options.include_usage && !request.stream_options.include_obfuscation);
    assert!(matches!(request.response_format, ResponseFormat::JsonSchema(_)));
    assert!(matches!(&request.tools[0], Tool::Function(tool) if tool.name == "f"));
    assert!(matches!(&request.tools[1], Tool::Other { kind } if kind == "web_search"));
    assert_eq!(request.tool_choice, ToolChoice::Function("f".to_owned()));
}

#[test]
fn tools_and_their_choice_are_read() {
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let allowed = json!({"type": "allowed_tools", "allowed_tools": {"mode": "required",
        "tools": [function("f"), {"type": "mcp", "server_label": "s"}]}});
    let request = parse(&with(&json!({"tools": [
        {"function": {"name": "f", "description": "d", "strict": true,
            "parameters": {"b": 1, "a": 2}}},
        {"type": "custom", "custom": {"name": "c"}}], "tool_choice": allowed,
        "parallel_tool_calls": false, "reasoning_effort": "xhigh"})));
    let [Tool::Function(tool), Tool::Other { kind }] = &request.tools[..] else { panic!("two") };
    assert_eq!((tool.name.as_str(), tool.description.as_deref()), ("f", Some("d")));
    assert_eq!((tool.path.as_str(), tool.strict), ("tools[0].function", true));
    let keys: Vec<_> = tool.parameters.as_ref().expect("parameters").keys().collect();
    assert_eq!(keys, ["b", "a"]);
    assert_eq!(kind, "custom");
    let names = vec!["f".to_owned()];
    assert_eq!(request.tool_choice, ToolChoice::Allowed { is_required: true, names });
    assert!(!request.parallel_tool_calls && !request.has_functions);
    assert_eq!(request.reasoning_effort, Some(Effort::Xhigh));
    let other = parse(&with(&json!({"tool_choice": {"type": "custom", "custom": {}}})));
    assert_eq!(other.tool_choice, ToolChoice::Other { kind: "custom".to_owned() });
}

#[test]
fn flat_tools_are_functions() {
    let flat = json!({"type": "function", "name": "f", "description": "d", "strict": true,
        "parameters": {"type": "object"}});
    let request = parse(&with(&json!({"tools": [flat]})));
    let [Tool::Function(tool)] = &request.tools[..] else { panic!("a function") };
    assert_eq!((tool.name.as_str(), tool.path.as_str(), tool.strict), ("f", "tools[0]", true));
    assert_eq!((tool.description.as_deref(), tool.parameters.is_some()), (Some("d"), true));
    let wrong = json!({"tools": [{"type": "function", "name": "f", "parameters": 1}]});
    assert_eq!(refused(&with(&wrong)).0.as_deref(), Some("tools[0].parameters"));
}

#[test]
fn deprecated_functions_count_only_without_tools() {
    let functions = json!([{"name": "g"}]);
    let body = json!({"functions": functions, "function_call": {"name": "g"}});
    let request = parse(&with(&body));
    assert!(request.has_functions);
    assert_eq!(request.tool_choice, ToolChoice::Function("g".to_owned()));
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let both =
        parse(&with(&json!({"functions": functions, "function_call": "none", "tools": tools})));
    assert!(!both.has_functions && both.tool_choice == ToolChoice::Auto);
    assert!(matches!(&both.tools[..], [Tool::Function(tool)] if tool.name == "f"));
}

#[test]
fn unknown_fields_are_kept() {
    let extra = json!({"user": "u", "store": true, "metadata": {"a": "b"}, "ignore_eos": true,
        "service_tier": "auto", "verbosity": "low", "prompt_cache_key": "k", "prediction": {"type": "content"},
        "entirely_new": [1, {"x": null}], "explicitly_nothing": null});
    assert_eq!(Value::Object(parse(&with(&extra)).extra), extra);
}

#[test]
fn messages_of_all_kinds_are_read() {
    let request = parse(&json!({"model": "m", "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}], "name": "n"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "d", "type": "function", "function": {"name": "g", "arguments": {"x": 1}}},
            {"id": "e", "type": "custom", "custom": {"name": "h", "input": "free"}}]},
        {"role": "assistant", "reasoning_content": "r", "annotations": []},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    ]}));
    let [developer, user, calls, thinking, tool] = &request.messages[..] else {
        panic!("five messages");
    };
    let parts = vec![Part::Text("a".to_owned()), Part::Refusal("b".to_owned())];
    assert_eq!(
        (developer.role, &developer.content),
        (Role::Developer, &Some(Content::Parts(parts)))
    );
    assert_eq!(user.name.as_deref(), Some("n"));
    let Some(Content::Parts(parts)) = &user.content else { panic!("parts") };
    assert_eq!(parts[..], [Part::Other { kind: "image_url".to_owned() }]);
    assert_eq!((&calls.content, calls.tool_calls.len()), (&None, 3));
    assert_eq!(calls.tool_calls[1].function.arguments, r#"{"x":1}"#);
    assert_eq!(calls.tool_calls[2].function.arguments, r#"{"input":"free"}"#);
    assert_eq!(thinking.reasoning_content.as_deref(), Some("r"));
    assert!(thinking.extra.contains_key("annotations"));
    assert_eq!((tool.role, tool.tool_call_id.as_deref()), (Role::Tool, Some("c")));
}

/// Each of these fields beside an otherwise valid request, the parameter that is named, and the
/// code.
fn assert_refused(table: impl IntoIterator<Item = (Value, &'static str, &'static str)>) {
    for (more, param, code) in table {
        assert_eq!(refused(&with(&more)), (Some(param.to_owned()), code), "{more}");
    }
}

#[test]
fn what_is_wrong_with_a_parameter_is_named() {
    assert_refused([
        (json!({"temperature": 2.1}), "temperature", "decimal_out_of_range"),
        (json!({"temperature": "hot"}), "temperature", "invalid_type"),
        (json!({"top_p": -0.1}), "top_p", "decimal_out_of_range"),
        (json!({"presence_penalty": 3}), "presence_penalty", "decimal_out_of_range"),
        (json!({"frequency_penalty": 1e300}), "frequency_penalty", "decimal_out_of_range"),
        (json!({"seed": 1.5}), "seed", "invalid_type"),
        (json!({"stop": 1}), "stop", "invalid_type"),
        (json!({"stop": ["a", 1]}), "stop", "invalid_type"),
        (json!({"stop": ""}), "stop", "invalid_value"),
        (json!({"logit_bias": {"hello": 1}}), "logit_bias", "invalid_value"),
        (json!({"logit_bias": {"1.0": 1}}), "logit_bias", "invalid_value"),
        (json!({"logit_bias": {"1": 101}}), "logit_bias", "decimal_out_of_range"),
        (json!({"logit_bias": []}), "logit_bias", "invalid_type"),
        (json!({"logprobs": 3}), "logprobs", "invalid_type"),
        (json!({"top_logprobs": 3}), "top_logprobs", "invalid_value"),
        (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs", "invalid_value"),
        (json!({"response_format": {"type": "xml"}}), "response_format.type", "invalid_value"),
        (json!({"response_format": {}}), "response_format.type", "missing_required_parameter"),
        (
            json!({"response_format": {"type": "json_schema"}}),
            "response_format.json_schema",
            "missing_required_parameter",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": 1}}}),
            "response_format.json_schema.schema",
            "invalid_type",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}}),
            "response_format.json_schema.name",
            "invalid_value",
        ),
        (json!({"reasoning_effort": "very"}), "reasoning_effort", "invalid_value"),
        (
            json!({"stream_options": {"include_obfuscation": 1}}),
            "stream_options.include_obfuscation",
            "invalid_type",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_a_message_or_tool_is_named() {
    assert_refused([
        (json!({"tools": {}}), "tools", "invalid_type"),
        (
            json!({"tools": [{"type": "function"}]}),
            "tools[0].function",
            "missing_required_parameter",
        ),
        (
            json!({"tools": [{"type": "function", "function": {}}]}),
            "tools[0].function.name",
            "missing_required_parameter",
        ),
        (json!({"tool_choice": "maybe"}), "tool_choice", "invalid_value"),
        (json!({"tool_choice": 1}), "tool_choice", "invalid_type"),
        (json!({"tool_choice": {}}), "tool_choice.type", "missing_required_parameter"),
        (
            json!({"tool_choice": {"type": "function"}}),
            "tool_choice.function",
            "missing_required_parameter",
        ),
        (
            json!({"tool_choice": {"type": "allowed_tools"}}),
            "tool_choice.allowed_tools",
            "missing_required_parameter",
        ),
        (
            json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "all"}}}),
            "tool_choice.allowed_tools.mode",
            "invalid_value",
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}),
            "tools[0].function.parameters",
            "invalid_type",
        ),
        (json!({"tools": [{}]}), "tools[0].type", "missing_required_parameter"),
        (json!({"functions": [{"name": 1}]}), "functions[0].name", "invalid_type"),
        (json!({"function_call": "any"}), "function_call", "invalid_value"),
        (json!({"function_call": {}}), "function_call.name", "missing_required_parameter"),
        (json!({"messages": ["hi"]}), "messages[0]", "invalid_type"),
        (json!({"messages": [{"content": "x"}]}), "messages[0].role", "missing_required_parameter"),
        (
            json!({"messages": [{"role": "king", "content": "x"}]}),
            "messages[0].role",
            "invalid_value",
        ),
        (
            json!({"messages": [{"role": "user"}]}),
            "messages[0].content",
            "missing_required_parameter",
        ),
        (
            json!({"messages": [{"role": "user", "content": 7}]}),
            "messages[0].content",
            "invalid_type",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
            "messages[0].content[0].text",
            "missing_required_parameter",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]}),
            "messages[0].tool_calls[0].function",
            "missing_required_parameter",
        ),
    ]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(ChatRequest::parse(&body));
    }

    /// The gateway's look and the worker's reading are two; they must be of one mind.
    #[test]
    fn what_the_peek_takes_the_view_reads_alike(
        key in prop::sample::select(vec!["stop", "tools", "tool_choice", "logit_bias", "messages",
            "response_format", "temperature", "stream_options", "top_logprobs", "unknown"]),
        value in "[\\[\\]{}\",:a-c0-2 ]{0,24}",
    ) {
        let body = format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"\"}}],\"{key}\":{value}}}");
        match (peek::chat(body.as_bytes()), ChatRequest::parse(body.as_bytes())) {
            (Err(peek), Err(view)) => prop_assert_eq!(peek, view),
            (Err(peek), Ok(_)) => prop_assert!(false, "only the peek refused: {}", peek),
            (Ok(peek), Ok(view)) => {
                prop_assert_eq!(&*peek.model, &view.model);
                prop_assert_eq!(peek.max_tokens, view.max_tokens);
            }
            (Ok(_), Err(view)) => prop_assert_ne!(view.code, "invalid_json"),
        }
    }
}
