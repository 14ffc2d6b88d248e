//! What reaches the engine.

use super::*;
use crate::engine::{Constraint, ToolChoice};

/// The job that a request becomes.
async fn job(more: &Value) -> Job {
    let (rig, engine) = Rig::played(vec![started()]);
    let response = rig.send(&chat(more)).await;
    assert_eq!(response.status(), 200, "{more}");
    engine.job()
}

#[tokio::test]
async fn a_bare_request_has_the_defaults() {
    let job = job(&json!({})).await;
    let sampling = &job.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.seed), (1.0, 1.0, None));
    assert_eq!((job.max_tokens, job.logprobs, job.constraint), (100, None, Constraint::None));
    assert_eq!((job.request_id, job.tool_choice), (REQUEST, ToolChoice::Auto));
    assert_eq!(job.raw, chat(&json!({})).to_string());
}

#[tokio::test]
async fn everything_that_clients_send_routinely_is_taken() {
    let extras = json!({"user": "u", "store": true, "metadata": {"a": "b"}, "seed": 7,
        "service_tier": "auto", "parallel_tool_calls": true, "reasoning_effort": "none",
        "verbosity": "high", "ignore_eos": true, "prompt_cache_key": "k", "safety_identifier": "s",
        "stream_options": {"continuous_usage_stats": true}, "modalities": ["text"],
        "functions": [], "function_call": "auto", "prediction": {"type": "content", "content": "x"},
        "tools": [{"type": "custom", "custom": {"name": "c"}}, {"type": "web_search"},
            {"type": "function", "function": {"name": "f", "parameters": {"$schema": "s"}}}],
        "n": 1, "audio": null, "tool_choice": "none", "brand_new": {"deep": [1]}});
    let job = job(&extras).await;
    assert_eq!(job.tools, [extras["tools"][2].clone()]);
    assert_eq!((job.tool_choice, job.sampling.seed), (ToolChoice::None, Some(7)));
}

#[tokio::test]
async fn messages_are_flattened_for_templates() {
    let calls =
        json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let text = |text: &str| json!({"type": "text", "text": text});
    let job = job(&json!({"messages": [
        {"role": "developer", "content": [text("be"), text("brief")]},
        {"role": "user", "content": "hi", "name": "ann", "unknown": 1},
        {"role": "assistant", "content": null, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "reasoning_content": "r"},
    ]})).await;
    let expected = [
        json!({"role": "system", "content": "be\nbrief"}),
        json!({"role": "user", "content": "hi", "name": "ann"}),
        json!({"role": "assistant", "content": null, "tool_calls": calls}),
        json!({"role": "tool", "tool_call_id": "c", "content": "42"}),
        json!({"role": "assistant", "content": "no", "reasoning_content": "r"}),
    ];
    assert_eq!(job.messages, expected);
}

#[tokio::test]
async fn formats_become_constraints() {
    let format = async |format: Value| job(&json!({"response_format": format})).await.constraint;
    assert_eq!(format(json!({"type": "text"})).await, Constraint::None);
    assert_eq!(format(json!({"type": "json_object"})).await, Constraint::JsonObject);
    let named = |schema: Value| json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    assert_eq!(format(named(Value::Null)).await, Constraint::JsonObject);
    let schema = json!({"$schema": "x", "type": "object"});
    assert_eq!(format(named(schema.clone())).await, Constraint::JsonSchema(schema));
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
