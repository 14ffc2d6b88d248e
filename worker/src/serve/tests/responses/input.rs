//! What of a request reaches the engine, and what is refused.

use super::*;
use crate::engine::{Constraint, Reasoning, ToolChoice};

fn said(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn calls(calls: &[(&str, &str, &str)]) -> Value {
    let call = |(id, name, arguments): &(&str, &str, &str)| {
        json!({"id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}})
    };
    calls.iter().map(call).collect()
}

#[tokio::test]
async fn a_bare_request_has_the_defaults() {
    let (job, dropped) = planned(&json!({})).await;
    let sampling = &job.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.seed), (1.0, 1.0, None));
    assert_eq!((job.max_tokens, job.logprobs, &job.constraint), (100, None, &Constraint::None));
    assert_eq!((job.tool_choice, job.reasoning), (ToolChoice::Auto, Reasoning::Default));
    assert!(job.parallel_tool_calls && job.stop.is_empty() && dropped.is_none());
    let messages = vec![said("user", "hello there")];
    assert_eq!(job.input, Input::Chat { messages, tools: Vec::new() });
}

#[tokio::test]
async fn parameters_are_passed_on() {
    let (job, _) = planned(&json!({"temperature": 0, "top_p": 0.5, "presence_penalty": 1,
        "frequency_penalty": -1, "max_output_tokens": 8, "parallel_tool_calls": false,
        "include": ["message.output_text.logprobs"], "top_logprobs": 3}))
    .await;
    let sampling = &job.sampling;
    assert_eq!((sampling.temperature, sampling.top_p), (0.0, 0.5));
    assert_eq!((sampling.presence_penalty, sampling.frequency_penalty), (1.0, -1.0));
    assert_eq!((job.max_tokens, job.logprobs, job.parallel_tool_calls), (8, Some(3), false));
}

#[tokio::test]
async fn efforts_become_reasoning() {
    for (effort, reasoning) in [
        (json!(null), Reasoning::Default),
        (json!("none"), Reasoning::Off),
        (json!("minimal"), Reasoning::Low),
        (json!("low"), Reasoning::Low),
        (json!("medium"), Reasoning::Medium),
        (json!("high"), Reasoning::High),
        (json!("xhigh"), Reasoning::High),
        (json!("max"), Reasoning::High),
    ] {
        let (job, _) = planned(&json!({"reasoning": {"effort": effort}})).await;
        assert_eq!(job.reasoning, reasoning, "{effort}");
    }
}

#[tokio::test]
async fn formats_become_constraints() {
    let format = async |format: Value| planned(&json!({"text": {"format": format}})).await.0;
    assert_eq!(format(json!({"type": "text"})).await.constraint, Constraint::None);
    assert_eq!(format(json!({"type": "json_object"})).await.constraint, Constraint::JsonObject);
    let schema = json!({"$schema": "x", "type": "object"});
    let named = json!({"type": "json_schema", "name": "n", "schema": schema});
    // A schema's dialect is no part of what the text must be.
    let enforced = Constraint::JsonSchema(json!({"type": "object"}));
    assert_eq!(format(named).await.constraint, enforced);
}

#[tokio::test]
async fn what_leads_is_one_system_message() {
    let messages = messages(&json!({"instructions": "a", "input": [
        {"role": "developer", "content": [{"type": "input_text", "text": "b"},
            {"type": "input_text", "text": "c"}]},
        {"type": "message", "role": "system", "content": "d"},
        {"role": "user", "content": "e"},
        {"role": "developer", "content": "f"},
        {"role": "user", "content": "g"},
    ]}))
    .await;
    let expected = [
        said("system", "a\n\nb\nc\n\nd"),
        said("user", "e"),
        said("system", "f"),
        said("user", "g"),
    ];
    assert_eq!(messages, expected);
}

#[tokio::test]
async fn what_the_model_did_in_one_go_is_one_turn() {
    let messages = messages(&json!({"input": [
        {"role": "user", "content": "a"},
        {"type": "reasoning", "id": "rs_1", "summary": [],
            "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "b", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{\"x\":1}"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2",
            "output": [{"type": "input_text", "text": "2"}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
        {"type": "function_call", "call_id": "c3", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c3", "output": "3"},
        {"role": "assistant", "content": "d"},
        {"role": "assistant", "content": "e"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "led nowhere"}]},
        {"role": "user", "content": "f"},
    ]}))
    .await;
    let tool = |id: &str, text: &str| json!({"role": "tool", "tool_call_id": id, "content": text});
    let expected = [
        said("user", "a"),
        json!({"role": "assistant", "content": "b", "reasoning_content": "hm",
            "tool_calls": calls(&[("c1", "f", "{}"), ("c2", "g", "{\"x\":1}")])}),
        tool("c1", "1"),
        tool("c2", "2"),
        json!({"role": "assistant", "content": null, "tool_calls": calls(&[("c3", "f", "{}")])}),
        tool("c3", "3"),
        said("assistant", "d"),
        said("assistant", "e"),
        said("user", "f"),
    ];
    assert_eq!(messages, expected);
}

#[tokio::test]
async fn what_was_answered_can_be_sent_back() {
    let (rig, _) = Rig::played(vec![
        started(),
        thought("hm", 1),
        delta("so", 2),
        call(0, "f", 3),
        finished(FinishReason::Stop, 3),
    ]);
    let answer = answer(&rig, &responses(&json!({}))).await;
    let mut input = vec![json!({"role": "user", "content": "a"})];
    input.extend(answer["output"].as_array().expect("items").clone());
    input.push(json!({"type": "function_call_output", "call_id": "call_0", "output": "42"}));
    let expected = [
        said("user", "a"),
        json!({"role": "assistant", "content": "so", "reasoning_content": "hm",
            "tool_calls": calls(&[("call_0", "f", "{}")])}),
        json!({"role": "tool", "tool_call_id": "call_0", "content": "42"}),
    ];
    assert_eq!(messages(&json!({"input": input})).await, expected);
}

/// A client that believes in storage refers to thoughts and sends the call itself.
#[tokio::test]
async fn a_reference_to_thoughts_is_left_out() {
    let messages = messages(&json!({"input": [
        {"role": "user", "content": "a"},
        {"type": "item_reference", "id": REASONING_ID},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
    ]}))
    .await;
    let turn =
        json!({"role": "assistant", "content": null, "tool_calls": calls(&[("c", "f", "{}")])});
    assert_eq!(messages[1], turn);
    assert_eq!(messages.len(), 3);
}

#[tokio::test]
async fn what_an_agent_sends_first_is_taken() {
    let (job, dropped) = planned(&json!({
        "instructions": "You are a coding agent.",
        "input": [
            {"type": "message", "role": "developer",
                "content": [{"type": "input_text", "text": "<permissions>"}]},
            {"type": "message", "role": "user",
                "content": [{"type": "input_text", "text": "<environment>"}]},
            {"type": "message", "role": "user",
                "content": [{"type": "input_text", "text": "hello"}]},
        ],
        "tools": [
            {"type": "function", "name": "exec_command", "strict": false,
                "parameters": {"type": "object", "properties": {}}},
            {"type": "namespace", "name": "mcp__files",
                "tools": [{"type": "function", "name": "read", "parameters": {}}]},
            {"type": "namespace", "name": "mcp__other", "tools": []},
            {"type": "web_search", "name": null, "external_web_access": false},
        ],
        "tool_choice": "auto", "parallel_tool_calls": true, "store": false, "stream": true,
        "reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "019", "client_metadata": {"a": "b"},
    }))
    .await;
    assert_eq!(dropped.as_deref(), Some("namespace,web_search"));
    let Input::Chat { messages, tools } = job.input else { panic!("a conversation") };
    let system = said("system", "You are a coding agent.\n\n<permissions>");
    assert_eq!(messages, [system, said("user", "<environment>"), said("user", "hello")]);
    let function = json!({"name": "exec_command",
        "parameters": {"type": "object", "properties": {}}});
    assert_eq!(tools, [json!({"type": "function", "function": function})]);
}

#[tokio::test]
async fn calls_of_hosted_tools_in_the_past_are_left_out_and_named() {
    let (job, dropped) = planned(&json!({"input": [
        {"role": "user", "content": "news?"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}},
        {"role": "assistant", "content": "none"},
        {"role": "user", "content": "well"},
    ]}))
    .await;
    assert_eq!(dropped.as_deref(), Some("web_search_call"));
    let Input::Chat { messages, .. } = job.input else { panic!("a conversation") };
    let expected = [said("user", "news?"), said("assistant", "none"), said("user", "well")];
    assert_eq!(messages, expected);
}

#[tokio::test]
async fn what_needs_storage_is_refused_by_name() {
    let unsupported = |param: &str| (param.to_owned(), "unsupported_parameter".to_owned());
    for (more, expected) in [
        (
            json!({"previous_response_id": "resp_1"}),
            ("previous_response_id".to_owned(), "previous_response_not_found".to_owned()),
        ),
        (json!({"background": true}), unsupported("background")),
        (json!({"conversation": "conv_1"}), unsupported("conversation")),
        (json!({"prompt": {"id": "pmpt_1"}}), unsupported("prompt")),
        (
            json!({"input": [{"role": "user", "content": "a"},
                {"type": "item_reference", "id": "msg_1"}]}),
            ("input[1]".to_owned(), "item_not_found".to_owned()),
        ),
    ] {
        assert_eq!(refused(&more).await, expected, "{more}");
    }
    for harmless in [
        json!({"previous_response_id": null}),
        json!({"background": false}),
        json!({"conversation": null, "prompt": null}),
        json!({"store": true, "truncation": "auto", "service_tier": "flex", "max_tool_calls": 3}),
    ] {
        planned(&harmless).await;
    }
}

#[tokio::test]
async fn parameters_of_other_endpoints_are_refused_with_the_name_of_their_own() {
    let format = json!({"type": "json_object"});
    for (param, value, named) in [
        ("response_format", format, "'text.format'"),
        ("max_tokens", json!(5), "'max_output_tokens'"),
        ("max_completion_tokens", json!(5), "'max_output_tokens'"),
        ("reasoning_effort", json!("low"), "'reasoning.effort'"),
        ("messages", json!([]), "'input'"),
        ("functions", json!([]), "'tools'"),
        ("function_call", json!("auto"), "'tool_choice'"),
        ("guided_json", json!({}), "'text.format'"),
        ("n", json!(2), "one answer"),
        ("n", json!("1"), "one answer"),
        ("stop", json!("a"), "chat completions"),
        ("seed", json!(0), "chat completions"),
        ("logit_bias", json!({}), "chat completions"),
    ] {
        let (rig, _) = Rig::played(Vec::new());
        let mut body = responses(&json!({}));
        body[param] = value;
        let (status, error) = refusal(&rig, &body).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)));
        assert_eq!(error["code"], "unsupported_parameter");
        assert!(error["message"].as_str().expect("a message").contains(named), "{error}");
        body[param] = Value::Null;
        let (rig, _) = Rig::played(vec![started()]);
        assert_eq!(send(&rig, &body).await.status(), 200, "null is absence");
    }
    planned(&json!({"n": 1, "top_k": 5, "min_tokens": 2, "ignore_eos": true})).await;
}

#[tokio::test]
async fn parts_that_are_no_text_are_refused_by_their_place() {
    let image = json!({"type": "input_image", "image_url": "data:"});
    let text = json!({"type": "input_text", "text": "see"});
    for (item, param) in [
        (json!({"role": "user", "content": [text, image]}), "input[0].content[1]"),
        (
            json!({"type": "function_call_output", "call_id": "c", "output": [image]}),
            "input[0].output[0]",
        ),
    ] {
        let expected = (param.to_owned(), "unsupported_parameter".to_owned());
        assert_eq!(refused(&json!({"input": [item]})).await, expected);
    }
}

#[tokio::test]
async fn an_input_of_nothing_is_refused() {
    for input in [json!([]), json!([{"type": "web_search_call"}])] {
        let (param, code) = refused(&json!({"input": input})).await;
        assert_eq!((param.as_str(), code.as_str()), ("input", "empty_array"));
    }
    let (param, code) = refused(&json!({"input": null})).await;
    assert_eq!((param.as_str(), code.as_str()), ("input", "missing_required_parameter"));
}

#[tokio::test]
async fn what_is_over_a_limit_is_refused_by_name() {
    let standard = Limits::STANDARD;
    let mut deep = json!({"type": "object"});
    for _ in 0..standard.schema_depth_max {
        deep = json!({"items": deep});
    }
    let tool = |more: &Value| {
        let mut tool = json!({"type": "function", "name": "f"});
        tool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"tools": [tool]})
    };
    let item = json!({"role": "user", "content": "x"});
    let format = json!({"type": "json_schema", "name": "n", "schema": deep});
    for (more, param) in [
        (json!({"input": vec![item; standard.messages_max + 1]}), "input"),
        (json!({"tools": vec![json!({"type": "x"}); standard.tools_max + 1]}), "tools"),
        (tool(&json!({"name": "no spaces"})), "tools[0].name"),
        (
            tool(&json!({"description": "x".repeat(standard.tool_description_bytes_max + 1)})),
            "tools[0].description",
        ),
        (tool(&json!({"parameters": deep})), "tools[0].parameters"),
        (json!({"text": {"format": format}}), "text.format.schema"),
    ] {
        assert_eq!(refused(&more).await.0, param);
    }
}

#[tokio::test]
async fn parameters_that_would_swell_the_answer_are_refused() {
    let (rig, _) = Rig::played(vec![started()]);
    let more = json!({"user": "x".repeat(5 * 1024 * 1024)});
    let (status, error) = refusal(&rig, &responses(&more)).await;
    assert_eq!((status, &error["code"]), (400, &json!("parameters_too_large")));
    // An input may be longer than that: it is not repeated.
    planned(&json!({"input": "x".repeat(5 * 1024 * 1024)})).await;
}
