//! What clients were seen to send, in their own ways of writing it.

use cocoon_openai_wire::chat::{Content, Effort, Part};
use cocoon_openai_wire::responses::{Item, MessageRole, Summary, TextFormat, Tool};
use serde_json::json;

use super::parse;

#[test]
fn an_agents_first_turn_with_hosted_tools() {
    let request = parse(&json!({
        "model": "m", "instructions": "You are a coding agent.",
        "input": [
            {"type": "message", "role": "developer",
                "content": [{"type": "input_text", "text": "<permissions>"}]},
            {"type": "message", "role": "user",
                "content": [{"type": "input_text", "text": "<environment>"}]},
            {"type": "message", "role": "user",
                "content": [{"type": "input_text", "text": "hello"}]},
        ],
        "tools": [
            {"type": "function", "name": "exec_command", "description": "Runs a command.",
                "strict": false, "parameters": {"type": "object",
                    "properties": {"cmd": {"type": "string"}}, "additionalProperties": false}},
            {"type": "namespace", "name": "mcp__files", "description": "Files.",
                "tools": [{"type": "function", "name": "read", "parameters": {}}]},
            {"type": "web_search", "name": null, "external_web_access": false},
        ],
        "tool_choice": "auto", "parallel_tool_calls": true,
        "reasoning": {"effort": "medium", "summary": "auto"}, "store": false, "stream": true,
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "019",
        "text": {"verbosity": "low"}, "client_metadata": {"x-codex-installation-id": "i"},
    }));
    assert_eq!(request.input.len(), 3);
    let kinds: Vec<_> = request.tools.iter().map(Tool::kind).collect();
    assert_eq!(kinds, ["function", "namespace", "web_search"]);
    assert!(request.stream && !request.logprobs);
    assert_eq!((request.effort, request.summary), (Some(Effort::Medium), Some(Summary::Auto)));
    assert!(request.extra.contains_key("client_metadata"));
}

#[test]
fn an_agents_second_turn_with_what_it_was_answered() {
    let request = parse(&json!({
        "model": "m", "stream": true, "store": false,
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "ls"}]},
            {"type": "reasoning", "summary": [], "content": null, "encrypted_content": null},
            {"type": "function_call", "name": "exec_command", "arguments": "{\"cmd\":\"ls\"}",
                "call_id": "call_1"},
            {"type": "function_call_output", "call_id": "call_1", "output": "README.md"},
        ],
    }));
    let call = Item::FunctionCall {
        call_id: "call_1".to_owned(),
        name: "exec_command".to_owned(),
        arguments: "{\"cmd\":\"ls\"}".to_owned(),
    };
    assert_eq!(request.input[2], call);
}

#[test]
fn a_conversation_whose_assistant_has_neither_id_nor_status() {
    let request = parse(&json!({
        "model": "m", "stream": false,
        "input": [
            {"type": "message", "role": "system", "content": "be kind"},
            {"type": "message", "role": "user", "content": "hi"},
            {"type": "message", "role": "assistant",
                "content": [{"type": "output_text", "text": "hello", "annotations": []}]},
            {"role": "user", "content": [{"type": "input_text", "text": "bye"}]},
        ],
    }));
    let content = Content::Parts(vec![Part::Text("hello".to_owned())]);
    assert_eq!(request.input[2], Item::Message { role: MessageRole::Assistant, content });
}

#[test]
fn an_agents_toolkit_with_an_empty_include_and_a_schema() {
    let request = parse(&json!({
        "model": "m", "include": [], "instructions": null, "input": [
            {"content": "weather?", "role": "user"},
            {"id": "fc_1", "arguments": "{}", "call_id": "c", "name": "f", "type": "function_call",
                "status": "completed"},
            {"call_id": "c", "output": "sunny", "type": "function_call_output"}],
        "text": {"format": {"type": "json_schema", "name": "final_output", "strict": true,
            "schema": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
                "properties": {}, "additionalProperties": false}}},
        "tools": [{"name": "f", "parameters": {"type": "object", "properties": {}},
            "strict": true, "type": "function", "description": ""}],
    }));
    assert!(matches!(request.text_format, TextFormat::JsonSchema { strict: true, .. }));
    assert!(!request.logprobs);
}

#[test]
fn a_toolkit_that_sends_system_as_developer_and_asks_for_logprobs() {
    let request = parse(&json!({
        "model": "m", "input": [{"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "include": ["message.output_text.logprobs"], "top_logprobs": 5, "stream": true,
        "max_output_tokens": 16, "store": false, "user": "u", "metadata": null,
        "stream_options": {"include_obfuscation": true},
    }));
    assert!(request.logprobs && request.include_obfuscation);
    assert_eq!((request.top_logprobs, request.max_output_tokens), (5, Some(16)));
}
