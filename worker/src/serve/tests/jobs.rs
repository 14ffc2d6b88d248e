//! What reaches the engine.

use cocoon_attest::receipt::params_commitment;

use super::*;
use crate::engine::{Constraint, Input, Reasoning, ToolChoice};

/// The job that a request becomes.
async fn job(more: &Value) -> Job {
    let (rig, engine) = Rig::played(vec![started()]);
    let response = rig.send(&chat(more)).await;
    assert_eq!(response.status(), 200, "{more}");
    engine.job()
}

/// The messages and tools of a conversation.
fn conversation(job: &Job) -> (&[Value], &[Value]) {
    let Input::Chat { messages, tools } = &job.input else { panic!("a conversation") };
    (messages, tools)
}

#[tokio::test]
async fn a_bare_request_has_the_defaults() {
    let job = job(&json!({})).await;
    let sampling = &job.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.seed), (1.0, 1.0, None));
    assert_eq!((job.max_tokens, job.logprobs, job.constraint), (100, None, Constraint::None));
    assert_eq!((job.request_id, job.tool_choice), (REQUEST, ToolChoice::Auto));
}

#[tokio::test]
async fn everything_that_clients_send_routinely_is_taken() {
    let extras = json!({"user": "u", "store": true, "metadata": {"a": "b"}, "seed": 7,
        "service_tier": "auto", "parallel_tool_calls": true, "verbosity": "high",
        "ignore_eos": true, "prompt_cache_key": "k", "safety_identifier": "s",
        "stream_options": {"continuous_usage_stats": true}, "modalities": ["text"],
        "functions": [], "function_call": "auto", "prediction": {"type": "content", "content": "x"},
        "prompt_cache_options": {"mode": "implicit"}, "prompt_cache_retention": "24h",
        "n": 1, "audio": null, "tool_choice": "none", "brand_new": {"deep": [1]}});
    let job = job(&extras).await;
    assert_eq!((job.tool_choice, job.sampling.seed), (ToolChoice::None, Some(7)));
}

#[tokio::test]
async fn functions_reach_the_engine_and_other_tools_are_named() {
    let ordered = r#"{"type": "object", "properties": {"z": {}, "a": {}}, "required": ["z"]}"#;
    let parameters: Value = serde_json::from_str(ordered).expect("JSON");
    let mut dialect = parameters.clone();
    dialect["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    let (rig, engine) = Rig::played(vec![started()]);
    let body = chat(&json!({"tools": [
        {"type": "custom", "custom": {"name": "c"}}, {"type": "web_search"}, {"type": "web_search"},
        {"type": "function", "function": {"name": "f", "strict": true, "description": "d",
            "parameters": dialect, "unknown": 1}},
        {"type": "namespace", "name": null}, {"type": "bad type,\u{e9}"},
        {"function": {"name": "g", "strict": null, "parameters": null}}]}));
    let response = rig.send(&body).await;
    assert_eq!(response.headers()[headers::DROPPED_TOOLS], "custom,web_search,namespace");
    let job = engine.job();
    let (_, tools) = conversation(&job);
    let expected = [
        json!({"type": "function", "function":
            {"name": "f", "description": "d", "parameters": parameters, "strict": true}}),
        json!({"type": "function", "function":
            {"name": "g", "parameters": {"type": "object", "properties": {}}}}),
    ];
    assert_eq!(tools, expected);
    // The text too: keys keep the client's order.
    let text = tools[0]["function"]["parameters"].to_string();
    assert_eq!(text, ordered.replace(": ", ":").replace(", ", ","));

    let (rig, _) = Rig::played(vec![started()]);
    let response = rig.send(&chat(&json!({"tools": [{"type": "\u{e9}"}]}))).await;
    assert_eq!(response.headers()[headers::DROPPED_TOOLS], "unknown");
    let long: Vec<_> =
        (10..40).map(|n| json!({"type": format!("{n}{}", "x".repeat(90))})).collect();
    let (rig, _) = Rig::played(vec![started()]);
    let response = rig.send(&chat(&json!({"tools": long}))).await;
    let shown = response.headers()[headers::DROPPED_TOOLS].to_str().expect("ASCII");
    assert!(
        shown.len() <= 1024 && shown.split(',').count() == 16,
        "a gateway passes it on: {shown}"
    );
    let (rig, _) = Rig::played(vec![started()]);
    assert!(!rig.send(&chat(&json!({}))).await.headers().contains_key(headers::DROPPED_TOOLS));
}

#[tokio::test]
async fn the_choice_of_tools_is_passed_on() {
    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    let tools = json!([named("f"), named("g"), {"type": "mcp"}]);
    let allowed = |mode: &str| {
        let tools = json!([named("g"), {"type": "mcp", "server_label": "s"}]);
        json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})
    };
    let table = [
        (json!(null), ToolChoice::Auto, vec!["f", "g"]),
        (json!("auto"), ToolChoice::Auto, vec!["f", "g"]),
        (json!("none"), ToolChoice::None, vec!["f", "g"]),
        (json!("required"), ToolChoice::Required, vec!["f", "g"]),
        (named("g"), ToolChoice::Named("g".to_owned()), vec!["f", "g"]),
        (allowed("auto"), ToolChoice::Auto, vec!["g"]),
        (allowed("required"), ToolChoice::Required, vec!["g"]),
    ];
    for (choice, expected, names) in table {
        let job = job(&json!({"tools": tools, "tool_choice": choice})).await;
        let (_, offered) = conversation(&job);
        let offered: Vec<_> =
            offered.iter().filter_map(|tool| tool["function"]["name"].as_str()).collect();
        assert_eq!((&job.tool_choice, offered), (&expected, names));
    }
    let parallel = async |more: Value| job(&more).await.parallel_tool_calls;
    assert!(parallel(json!({"tools": tools})).await);
    assert!(!parallel(json!({"tools": tools, "parallel_tool_calls": false})).await);
}

#[tokio::test]
async fn the_deprecated_functions_are_tools() {
    let body = json!({"functions": [{"name": "f", "description": "d"}],
        "function_call": {"name": "f"}, "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "42"}]});
    let job = job(&body).await;
    let (messages, tools) = conversation(&job);
    assert_eq!(tools.len(), 1);
    assert_eq!(tools[0]["function"]["name"], "f");
    assert_eq!(job.tool_choice, ToolChoice::Named("f".to_owned()));
    assert!(!job.parallel_tool_calls);
    let call =
        json!({"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let expected = [
        json!({"role": "user", "content": "hi"}),
        json!({"role": "assistant", "content": null, "tool_calls": [call]}),
        json!({"role": "tool", "content": "42", "name": "f", "tool_call_id": "call_1"}),
    ];
    assert_eq!(messages, expected);
}

#[tokio::test]
async fn efforts_become_steps_of_reasoning() {
    let table = [
        (json!(null), Reasoning::Default),
        (json!("none"), Reasoning::Off),
        (json!("minimal"), Reasoning::Low),
        (json!("low"), Reasoning::Low),
        (json!("medium"), Reasoning::Medium),
        (json!("high"), Reasoning::High),
        (json!("xhigh"), Reasoning::High),
        (json!("max"), Reasoning::High),
    ];
    for (effort, expected) in table {
        assert_eq!(job(&json!({"reasoning_effort": effort})).await.reasoning, expected, "{effort}");
    }
}

#[tokio::test]
async fn other_servers_names_for_reasoning_are_known() {
    let thinking = |is_on: bool| json!({"chat_template_kwargs": {"enable_thinking": is_on}});
    let table = [
        (thinking(false), Reasoning::Off),
        (thinking(true), Reasoning::Medium),
        (json!({"chat_template_kwargs": {"other": 1}}), Reasoning::Default),
        (json!({"reasoning": {"effort": "high"}}), Reasoning::High),
        (json!({"reasoning": {"enabled": false}}), Reasoning::Off),
        (json!({"reasoning": {"enabled": true, "exclude": true}}), Reasoning::Medium),
        (json!({"reasoning": {"max_tokens": 9}}), Reasoning::Default),
        (json!({"reasoning": {"effort": "low"}, "reasoning_effort": "high"}), Reasoning::High),
        (json!({"reasoning": {"effort": "low", "enabled": false}}), Reasoning::Low),
    ];
    for (more, expected) in table {
        assert_eq!(job(&more).await.reasoning, expected, "{more}");
    }
    let (rig, _) = Rig::played(Vec::new());
    for (more, param) in [
        (
            json!({"chat_template_kwargs": {"enable_thinking": "no"}}),
            "chat_template_kwargs.enable_thinking",
        ),
        (json!({"reasoning": {"effort": "much"}}), "reasoning.effort"),
        (json!({"reasoning": true}), "reasoning"),
    ] {
        let (status, error) = rig.refused_at(headers::CHAT_PATH, &chat(&more)).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)));
    }
}

#[tokio::test]
async fn the_receipt_commits_to_the_parameters_in_effect() {
    let schema = json!({"type": "object", "properties": {"z": {}, "a": {}}});
    let digest = "fff065f15367c0654fc7aa9f5ebf91dcd2f0d78df7b2c0f2c93f126e4f9c3f9e";
    let function = json!({"type": "function", "function": {"name": "f"}});
    let plain = json!({"temperature": 0.5, "seed": 3, "stop": "x", "logit_bias": {"7": -1}});
    let shaped = json!({"reasoning_effort": "low", "logprobs": true, "response_format":
        {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}});
    let called = json!({"tools": [function], "tool_choice": function, "max_tokens": 5,
        "parallel_tool_calls": false, "response_format": {"type": "json_object"}});
    let tail = |choice: &str, parallel: bool, reasoning: &str, constraint: &str| {
        format!(
            r#""tool_choice":{choice},"parallel_tool_calls":{parallel},"reasoning":"{reasoning}","constraint":"{constraint}"}}"#
        )
    };
    let table = [
        (
            plain,
            r#"{"temperature":0.5,"top_p":1.0,"seed":3,"presence_penalty":0.0,"frequency_penalty":0.0,"max_tokens":100,"stop":["x"],"logprobs":null,"logit_bias":[[7,-1.0]],"#,
            tail(r#""auto""#, true, "default", "none"),
        ),
        (
            shaped,
            r#"{"temperature":1.0,"top_p":1.0,"seed":null,"presence_penalty":0.0,"frequency_penalty":0.0,"max_tokens":100,"stop":[],"logprobs":0,"logit_bias":[],"#,
            tail(r#""auto""#, true, "low", &format!("json_schema:{digest}")),
        ),
        (
            called,
            r#"{"temperature":1.0,"top_p":1.0,"seed":null,"presence_penalty":0.0,"frequency_penalty":0.0,"max_tokens":5,"stop":[],"logprobs":null,"logit_bias":[],"#,
            tail(r#"{"function":"f"}"#, false, "default", "json_object"),
        ),
    ];
    for (more, head, tail) in table {
        let (rig, _) = Rig::played(vec![started(), finished(FinishReason::Stop, 1)]);
        let body = chat(&more);
        let frames = rig.frames(&body).await;
        let receipt = receipt_in(&frames);
        let core = rig.verified(&receipt, &body, &frames);
        let params = format!("{head}{tail}");
        let expected = params_commitment(&receipt.salt, params.as_bytes());
        assert_eq!(core.params_digest, Digest::from_bytes(expected), "{params}");
    }
}

#[tokio::test]
async fn flat_functions_are_taken() {
    let flat = json!({"type": "function", "name": "f", "parameters": {"type": "object"}});
    let job = job(&json!({"tools": [flat]})).await;
    let expected = json!({"type": "function", "function":
        {"name": "f", "parameters": {"type": "object"}}});
    assert_eq!(conversation(&job).1, [expected]);
}

#[tokio::test]
async fn messages_are_flattened_for_templates() {
    let calls =
        json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let text = |text: &str| json!({"type": "text", "text": text});
    let job = job(&json!({"messages": [
        {"role": "developer", "content": [text("be"), text("brief")]},
        {"role": "system", "content": "and kind"},
        {"role": "developer", "content": ""},
        {"role": "user", "content": [text("hi")], "name": "ann", "unknown": 1},
        {"role": "assistant", "content": null, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": [text("4"), text("2")]},
        {"role": "tool", "tool_call_id": "d", "content": null},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "reasoning_content": "r"},
        {"role": "assistant"},
        {"role": "developer", "content": "later"},
    ]})).await;
    let expected = [
        json!({"role": "system", "content": "be\nbrief\n\nand kind"}),
        json!({"role": "user", "content": "hi", "name": "ann"}),
        json!({"role": "assistant", "content": null, "tool_calls": calls}),
        json!({"role": "tool", "tool_call_id": "c", "content": "4\n2"}),
        json!({"role": "tool", "tool_call_id": "d", "content": ""}),
        json!({"role": "assistant", "content": "no", "reasoning_content": "r"}),
        json!({"role": "assistant", "content": ""}),
        json!({"role": "system", "content": "later"}),
    ];
    assert_eq!(conversation(&job).0, expected);
}

#[tokio::test]
async fn a_conversation_of_the_system_alone_is_kept() {
    let job = job(&json!({"messages": [
        {"role": "system", "content": "a"}, {"role": "developer", "content": "b"}]}))
    .await;
    assert_eq!(conversation(&job).0, [json!({"role": "system", "content": "a\n\nb"})]);
}

#[tokio::test]
async fn formats_become_constraints() {
    let format = async |format: Value| job(&json!({"response_format": format})).await.constraint;
    assert_eq!(format(json!({"type": "text"})).await, Constraint::None);
    assert_eq!(format(json!({"type": "json_object"})).await, Constraint::JsonObject);
    let named = |schema: Value| json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    assert_eq!(format(named(Value::Null)).await, Constraint::JsonObject);
    let schema = json!({"$schema": "x", "type": "object"});
    let expected = Constraint::JsonSchema(json!({"type": "object"}));
    assert_eq!(format(named(schema)).await, expected);
}

#[tokio::test]
async fn sampling_is_passed_on() {
    let job = job(&json!({"temperature": 0, "top_p": 0.5, "seed": -1, "presence_penalty": 1,
        "frequency_penalty": -1, "logit_bias": {"5": 2}, "stop": ["a", "b"], "logprobs": true,
        "top_logprobs": 3, "max_tokens": 12, "max_completion_tokens": 8}))
    .await;
    let sampling = &job.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.seed), (0.0, 0.5, Some(u64::MAX)));
    assert_eq!((sampling.presence_penalty, sampling.frequency_penalty), (1.0, -1.0));
    assert_eq!(
        (&sampling.logit_bias[..], &job.stop[..]),
        (&[(5, 2.0)][..], &["a".to_owned(), "b".to_owned()][..])
    );
    assert_eq!((job.logprobs, job.max_tokens), (Some(3), 8));
}
