//! What is refused, and with which words.

use super::*;

async fn refusal(rig: &Rig, request: Request<Bytes>) -> (u16, Value) {
    let response = rig.surface.handle(&rig.lease, request).await;
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = response.into_body().collect().await.expect("infallible").to_bytes();
    assert!(body.len() < headers::REFUSAL_BODY_BYTES_MAX);
    let body: Value = serde_json::from_slice(&body).expect("an error object");
    (status, body["error"].clone())
}

#[tokio::test]
async fn a_bad_request_names_its_parameter() {
    let message = |message: Value| json!({"messages": [message]});
    let image = json!({"role": "user", "content": [{"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]});
    let table = [
        (json!({"n": 0}), "n"),
        (json!({"n": 129}), "n"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (json!({"audio": {"voice": "x"}}), "audio"),
        (json!({"functions": [{"name": "f"}], "function_call": {"name": "g"}}), "function_call"),
        (json!({"functions": [{}]}), "functions[0].name"),
        (json!({"moderation": {"model": "x"}}), "moderation"),
        (json!({"reasoning_effort": "hard"}), "reasoning_effort"),
        (json!({"parallel_tool_calls": "no"}), "parallel_tool_calls"),
        (json!({"web_search_options": {}}), "web_search_options"),
        (json!({"guided_json": {}}), "guided_json"),
        (json!({"guided_regex": "a"}), "guided_regex"),
        (json!({"guided_choice": ["a"]}), "guided_choice"),
        (json!({"guided_grammar": "a"}), "guided_grammar"),
        (json!({"structured_outputs": {"json": {}}}), "structured_outputs"),
        (json!({"logit_bias": {"word": 3}}), "logit_bias"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}), "tool_choice"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"stop": ["1", "2", "3", "4", "5"]}), "stop"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"stream": "true"}), "stream"),
        (message(image), "messages[0].content[1]"),
        (
            message(json!({"role": "tool", "tool_call_id": "c", "content":
            [{"type": "file", "file": {"file_id": "f"}}]})),
            "messages[0].content[0]",
        ),
        (
            message(json!({"role": "user", "content": [{"type": "input_audio", "input_audio":
            {"data": "", "format": "wav"}}]})),
            "messages[0].content[0]",
        ),
        (message(json!({"role": "user", "content": null})), "messages[0].content"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": null}), "messages"),
        (json!({"model": "e"}), "model"),
    ];
    let (rig, _) = Rig::played(Vec::new());
    for (more, param) in table {
        let (status, error) = refusal(&rig, request(&chat(&more))).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)), "{more}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["code"].is_string() && error["message"].is_string());
    }
}

/// A function with `more` beside its name, as the only tool.
fn tool(more: &Value) -> Value {
    let mut function = json!({"name": "f"});
    let fields = more.as_object().expect("an object").clone();
    function.as_object_mut().expect("an object").extend(fields);
    json!({"type": "function", "function": function})
}

#[tokio::test]
async fn a_choice_of_tools_that_cannot_be_kept_is_refused() {
    let web_search = json!([{"type": "web_search"}, {"type": "custom", "custom": {"name": "c"}}]);
    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    let allowed = |mode: &str, name: &str| json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name)]}});
    let table = [
        json!({"tool_choice": "required"}),
        json!({"tool_choice": "required", "tools": web_search}),
        json!({"tool_choice": named("f")}),
        json!({"tool_choice": named("g"), "tools": [tool(&json!({}))]}),
        json!({"tool_choice": named("c"), "tools": web_search}),
        json!({"tool_choice": {"type": "custom", "custom": {"name": "c"}}, "tools": web_search}),
        json!({"tool_choice": {"type": "web_search"}, "tools": web_search}),
        json!({"tool_choice": allowed("required", "g"), "tools": [tool(&json!({}))]}),
        json!({"tool_choice": allowed("auto", "g"), "tools": [tool(&json!({}))]}),
        json!({"tool_choice": allowed("auto", "g")}),
    ];
    let (rig, _) = Rig::played(Vec::new());
    for more in table {
        let (status, error) = refusal(&rig, request(&chat(&more))).await;
        assert_eq!((status, error["param"].as_str()), (400, Some("tool_choice")), "{more}");
    }
}

#[tokio::test]
async fn engines_complaints_about_functions_use_the_requests_words() {
    let functions = json!({"functions": [{"name": "f"}], "function_call": {"name": "f"}});
    let tools = json!({"tools": [tool(&json!({}))], "tool_choice": "required"});
    let table = [
        ("tool_choice", &functions, "function_call"),
        ("tools", &functions, "functions"),
        ("messages", &functions, "messages"),
        ("tool_choice", &tools, "tool_choice"),
        ("tools", &tools, "tools"),
    ];
    for (said, more, told) in table {
        let complaint = EngineError::InvalidRequest {
            message: "it cannot be enforced".to_owned(),
            param: Some(said.to_owned()),
            code: "invalid_value",
        };
        let rig = Rig::over(Arc::new(Played::refusing(complaint.clone())));
        let (status, error) = refusal(&rig, request(&chat(more))).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(told)));

        let (rig, _) = Rig::played(vec![started(), EngineEvent::Failed(complaint)]);
        let frames = rig.frames(&chat(more)).await;
        let payload: Value = serde_json::from_slice(&frames[0].payload).expect("JSON");
        assert_eq!(payload["error"]["param"].as_str(), Some(told), "after the start");
    }
}

#[tokio::test]
async fn what_is_over_a_limit_is_named() {
    let limits = Limits::STANDARD;
    let deep = |levels: usize| (0..levels).fold(json!(true), |inner, _| json!({"not": inner}));
    let format = |name: &str, schema: Value| {
        json!({"response_format": {"type": "json_schema",
            "json_schema": {"name": name, "strict": true, "schema": schema}}})
    };
    let long = |bytes: usize| "x".repeat(bytes);
    let tools = |tool: Value| json!({"tools": [tool]});
    let schema = "response_format.json_schema.schema";
    let described = json!({"description": long(limits.tool_description_bytes_max + 1)});
    let table = [
        (format("n", deep(limits.schema_depth_max + 1)), schema),
        (format("n", json!({"title": long(limits.schema_bytes_max)})), schema),
        (format(&long(65), json!({})), "response_format.json_schema.name"),
        (format("a name", json!({})), "response_format.json_schema.name"),
        (tools(tool(&json!({"parameters": deep(33)}))), "tools[0].function.parameters"),
        (tools(tool(&json!({"name": long(65)}))), "tools[0].function.name"),
        (tools(tool(&json!({"name": "f.g"}))), "tools[0].function.name"),
        (tools(tool(&described)), "tools[0].function.description"),
        (json!({"tools": vec![tool(&json!({})); limits.tools_max + 1]}), "tools"),
        (
            json!({"messages": vec![json!({"role": "user", "content": "x"}); limits.messages_max + 1]}),
            "messages",
        ),
        (json!({"stop": [long(limits.stop_bytes_max + 1)]}), "stop"),
        (
            json!({"logit_bias": (0..1025).map(|id| (id.to_string(), json!(1))).collect::<serde_json::Map<_, _>>()}),
            "logit_bias",
        ),
    ];
    let (rig, _) = Rig::played(Vec::new());
    for (more, param) in table {
        let (status, error) = refusal(&rig, request(&chat(&more))).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)));
    }
    for at_the_edge in [
        format(&long(64), deep(limits.schema_depth_max)),
        tools(tool(&json!({"name": long(64), "parameters": deep(32)}))),
        json!({"stop": vec![long(limits.stop_bytes_max); limits.stops_max]}),
    ] {
        let (rig, _) = Rig::played(vec![started()]);
        assert_eq!(rig.send(&chat(&at_the_edge)).await.status(), 200);
    }
}

#[tokio::test]
async fn a_large_body_is_read_all_the_same() {
    let (rig, engine) = Rig::played(vec![started()]);
    let text = "x".repeat(3 * 1024 * 1024);
    let body = chat(&json!({"messages": [{"role": "user", "content": text}]}));
    assert_eq!(rig.send(&body).await.status(), 200);
    let crate::engine::Input::Chat { messages, .. } = engine.job().input else { panic!("a chat") };
    assert_eq!(messages[0]["content"].as_str().map(str::len), Some(text.len()));
    let (status, error) =
        rig.refused_at(headers::CHAT_PATH, &chat(&json!({"n": 0, "user": text}))).await;
    assert_eq!((status, error["param"].as_str()), (400, Some("n")));
}

#[tokio::test]
async fn bodies_that_are_no_requests_are_refused() {
    let (rig, _) = Rig::played(Vec::new());
    let large = format!("[{}]", "1,".repeat(100_000));
    for body in ["", "{", "[]", "nul", "\u{feff}{}", &"[".repeat(1000), &large] {
        let request = request_of(Bytes::copy_from_slice(body.as_bytes()), head());
        let (status, error) = refusal(&rig, request).await;
        assert_eq!((status, &error["type"]), (400, &json!("invalid_request_error")), "{body:.20}");
    }
    let (status, error) =
        refusal(&rig, request_of(Bytes::from_static(b"{\"\xff\":1}"), head())).await;
    assert_eq!((status, error["code"].as_str()), (400, Some("invalid_utf8")));
}

#[tokio::test]
async fn nothing_starts_without_the_gateways_head() {
    let (rig, _) = Rig::played(Vec::new());
    let body = Bytes::from(chat(&json!({})).to_string());
    let terms_of = |terms: &Terms| URL_SAFE_NO_PAD.encode(terms.encode());
    let foreign = Terms { payee: WalletAddress::new(0, [6; 32]), ..terms() };
    let late =
        Terms { not_after: NOW.saturating_sub(std::time::Duration::from_secs(1)), ..terms() };
    let nothing = Terms { max_completion_tokens: 0, ..terms() };
    let mut table: Vec<(&'static str, Option<String>)> = Vec::new();
    for name in [headers::REQUEST_ID, headers::ATTEMPT, headers::MAX_TOKENS, headers::TERMS] {
        table.push((name, None));
        table.push((name, Some("?".to_owned())));
    }
    table.push((headers::MAX_TOKENS, Some("0".to_owned())));
    table.push((headers::MAX_TOKENS, Some("-1".to_owned())));
    table.push((headers::TERMS, Some(terms_of(&foreign))));
    table.push((headers::TERMS, Some(terms_of(&late))));
    table.push((headers::TERMS, Some(terms_of(&nothing))));
    table.push((headers::TERMS, Some(terms_of(&terms()) + "AA")));
    for (name, value) in table {
        let mut head = head();
        match &value {
            Some(value) => drop(head.insert(name, value.parse().expect("ASCII"))),
            None => drop(head.remove(name)),
        }
        let (status, error) = refusal(&rig, request_of(body.clone(), head)).await;
        assert_eq!((status, &error["code"]), (500, &json!("worker_refused")), "{name}: {value:?}");
    }
    let mut twice = head();
    twice.append(headers::MAX_TOKENS, 7.into());
    assert_eq!(refusal(&rig, request_of(body, twice)).await.0, 500);
}

#[tokio::test]
async fn a_prompt_over_its_reservation_is_refused() {
    let (rig, engine) = Rig::played(vec![EngineEvent::Started { prompt_tokens: Some(1001) }]);
    assert_eq!(refusal(&rig, request(&chat(&json!({})))).await.0, 500);
    assert!(engine.is_cancelled() && rig.outbox.is_empty());
}

#[tokio::test]
async fn other_models_and_routes_are_not_found() {
    let (rig, _) = Rig::played(Vec::new());
    let (status, error) = refusal(&rig, request(&chat(&json!({"model": "other"})))).await;
    assert_eq!((status, error["code"].as_str()), (404, Some("model_not_found")));
    for path in ["/v1/models", "/v1/chat", "/v1/chat/completions/", "/"] {
        assert_eq!(rig.refused_at(path, &chat(&json!({}))).await.0, 404);
    }
    let mut get = request(&chat(&json!({})));
    *get.method_mut() = http::Method::GET;
    assert_eq!(refusal(&rig, get).await.0, 404);
}
