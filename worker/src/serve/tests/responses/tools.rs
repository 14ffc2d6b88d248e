//! Tools: which are offered, which may or must be called, and custom ones.

use super::*;
use crate::engine::ToolChoice;

fn function(name: &str) -> Value {
    json!({"type": "function", "name": name, "parameters": {"type": "object"}})
}

fn custom(name: &str) -> Value {
    json!({"type": "custom", "name": name, "description": "d"})
}

/// The names of the tools that the model is told of, and the choice among them.
async fn offered(tools: &Value, choice: &Value) -> (Vec<String>, ToolChoice) {
    let (job, _) = planned(&json!({"tools": tools, "tool_choice": choice})).await;
    let Input::Chat { tools, .. } = job.input else { panic!("a conversation") };
    let name = |tool: &Value| tool["function"]["name"].as_str().expect("a name").to_owned();
    (tools.iter().map(name).collect(), job.tool_choice)
}

#[tokio::test]
async fn choices_reach_the_engine() {
    let tools = json!([function("f"), function("g"), custom("c"), {"type": "web_search"}]);
    let all = || ["f", "g", "c"].map(str::to_owned).to_vec();
    let named = |name: &str| ToolChoice::Named(name.to_owned());
    let allowed =
        |mode: &str, tools: Value| json!({"type": "allowed_tools", "mode": mode, "tools": tools});
    let pair = json!([function("g"), {"type": "web_search"}, {"type": "custom", "name": "c"}]);
    let two = || ["g", "c"].map(str::to_owned).to_vec();
    for (choice, expected) in [
        (json!(null), (all(), ToolChoice::Auto)),
        (json!("auto"), (all(), ToolChoice::Auto)),
        (json!("none"), (all(), ToolChoice::None)),
        (json!("required"), (all(), ToolChoice::Required)),
        (json!({"type": "function", "name": "g"}), (all(), named("g"))),
        (json!({"type": "custom", "name": "c"}), (all(), named("c"))),
        (allowed("auto", pair.clone()), (two(), ToolChoice::Auto)),
        (allowed("required", pair), (two(), ToolChoice::Required)),
    ] {
        assert_eq!(offered(&tools, &choice).await, expected, "{choice}");
    }
}

#[tokio::test]
async fn a_choice_that_cannot_be_kept_is_refused() {
    let grammar = json!({"type": "custom", "name": "p",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}});
    let tools = json!([function("f"), grammar, {"type": "web_search"}]);
    let allowed =
        |mode: &str, tool: Value| json!({"type": "allowed_tools", "mode": mode, "tools": [tool]});
    for (choice, param, code) in [
        (json!({"type": "function", "name": "g"}), "tool_choice", "invalid_value"),
        (json!({"type": "custom", "name": "f"}), "tool_choice", "invalid_value"),
        (json!({"type": "custom", "name": "p"}), "tool_choice", "invalid_value"),
        (json!({"type": "web_search"}), "tool_choice", "unsupported_parameter"),
        (allowed("required", json!({"type": "mcp"})), "tool_choice", "invalid_value"),
        (allowed("auto", json!({"type": "web_search"})), "tool_choice", "invalid_value"),
        (allowed("auto", function("g")), "tool_choice", "invalid_value"),
        (allowed("auto", json!({"type": "custom", "name": "f"})), "tool_choice", "invalid_value"),
    ] {
        let more = json!({"tools": tools, "tool_choice": choice});
        assert_eq!(refused(&more).await, (param.to_owned(), code.to_owned()), "{choice}");
    }
    let more = json!({"tools": [{"type": "web_search"}], "tool_choice": "required"});
    assert_eq!(refused(&more).await.0, "tool_choice");
}

#[tokio::test]
async fn functions_keep_what_their_client_said_in_its_order() {
    let parameters = json!({"type": "object", "properties": {"z": {}, "a": {}}});
    let more = json!({"tools": [{"type": "function", "name": "f", "description": "d",
        "parameters": parameters, "strict": true}]});
    let Input::Chat { tools, .. } = planned(&more).await.0.input else { panic!("it") };
    let function =
        json!({"name": "f", "description": "d", "parameters": parameters, "strict": true});
    let expected = json!([{"type": "function", "function": function}]);
    assert_eq!(serde_json::to_string(&tools).expect("JSON"), expected.to_string());
}

#[tokio::test]
async fn a_custom_tool_is_a_function_of_one_text_to_the_model() {
    let grammar = json!({"type": "custom", "name": "p",
        "format": {"type": "grammar", "syntax": "regex", "definition": "a+"}});
    let more = json!({"tools": [custom("c"), grammar]});
    let (job, dropped) = planned(&more).await;
    assert_eq!(dropped.as_deref(), Some("custom"));
    let Input::Chat { tools, .. } = job.input else { panic!("a conversation") };
    assert_eq!(tools.len(), 1);
    let function = &tools[0]["function"];
    assert_eq!((&function["name"], &function["description"]), (&json!("c"), &json!("d")));
    assert_eq!(function["parameters"]["required"], json!(["input"]));
    assert_eq!(function["parameters"]["properties"]["input"]["type"], "string");
}

fn custom_call(status: &str, input: &str) -> Value {
    json!({"type": "custom_tool_call", "id": "ctc_07070707070707070707070707070707_0",
        "call_id": "call_0", "name": "c", "input": input, "status": status})
}

fn calling(arguments: &str) -> Vec<EngineEvent> {
    let call = EngineEvent::ToolCall {
        index: 0,
        id: "call_0".to_owned(),
        name: "c".to_owned(),
        arguments: arguments.to_owned(),
        completion_tokens: 3,
    };
    vec![started(), call, finished(FinishReason::ToolCalls, 3)]
}

#[tokio::test]
async fn a_call_of_a_custom_tool_carries_its_text() {
    let more = json!({"tools": [custom("c")]});
    for (arguments, input) in [
        (r#"{"input": "ls -l\n"}"#, "ls -l\n"),
        (r#"{"input": 7}"#, r#"{"input": 7}"#),
        ("not even JSON", "not even JSON"),
    ] {
        let (rig, _) = Rig::played(calling(arguments));
        let answer = answer(&rig, &responses(&more)).await;
        assert_eq!(answer["output"], json!([custom_call("completed", input)]));
    }
}

#[tokio::test]
async fn a_call_of_a_custom_tool_is_told_event_by_event() {
    let (rig, _) = Rig::played(calling(r#"{"input":"ls"}"#));
    let events = streamed(&rig, &json!({"tools": [custom("c")]})).await;
    let (item_id, done) = (custom_call("", "")["id"].clone(), custom_call("completed", "ls"));
    let expected = [
        json!({"type": "response.output_item.added", "output_index": 0,
            "item": custom_call("in_progress", "")}),
        json!({"type": "response.custom_tool_call_input.delta", "item_id": item_id,
            "output_index": 0, "delta": "ls"}),
        json!({"type": "response.custom_tool_call_input.done", "item_id": item_id,
            "output_index": 0, "input": "ls"}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": done}),
    ];
    assert_eq!(events[2..6], expected);
    assert_eq!(events[6]["response"]["output"], json!([done]));
}

#[tokio::test]
async fn calls_of_custom_tools_in_the_past_are_calls_of_functions() {
    let messages = messages(&json!({"input": [
        {"role": "user", "content": "a"},
        {"type": "custom_tool_call", "call_id": "c1", "name": "c", "input": "x \"y\""},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "z"},
    ]}))
    .await;
    let arguments = r#"{"input":"x \"y\""}"#;
    let call = json!({"id": "c1", "type": "function",
        "function": {"name": "c", "arguments": arguments}});
    let turn = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    assert_eq!(messages[1], turn);
    assert_eq!(messages[2], json!({"role": "tool", "tool_call_id": "c1", "content": "z"}));
}
