//! Requests that are meant to cost an engine more than they pay, or its life.

use std::fmt::Write as _;

use cocoon_worker::engine::{Constraint, EngineError, Input, Job};
use serde_json::{Value, json};

use crate::engine_real::demo;
use crate::support::{Running, ask, job};

/// Refused for its schema; then the same child answers the next one.
async fn refuses(running: &Running, schema: Value) {
    let hostile = Job { constraint: Constraint::JsonSchema(schema), ..job("Hello!") };
    let answer = ask(&running.engine, hostile).await;
    let refused = matches!(
        &answer.error,
        Some(EngineError::InvalidRequest { param: Some(param), .. }) if param == "response_format"
    );
    assert!(refused, "{answer:?}");
    let next = ask(&running.engine, job("What is the capital of France?")).await;
    assert!(next.text.contains("Paris"), "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn references_without_end_leave_the_child_alive() {
    let (running, _models) = demo("").await;
    let last = 20_000;
    let link = |n: u32| match n {
        n if n == last => json!({"type": "string"}),
        n => json!({"$ref": format!("#/$defs/d{}", n + 1)}),
    };
    let definitions: serde_json::Map<String, Value> =
        (0..=last).map(|n| (format!("d{n}"), link(n))).collect();
    refuses(&running, json!({"$ref": "#/$defs/d0", "$defs": definitions})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_of_patterns_takes_no_more_than_its_time() {
    let (running, _models) = demo("").await;
    let patterns = |letter: char| -> Vec<Value> {
        let pattern = |n: u32| {
            let mut pattern = String::from("^");
            write!(pattern, "({letter}|[a-z]{{{n}}}).*{n}$").expect("a string takes all text");
            json!({"type": "string", "pattern": pattern})
        };
        (1..400).map(pattern).collect()
    };
    let schema = json!({"allOf": [{"anyOf": patterns('a')}, {"anyOf": patterns('b')}]});
    refuses(&running, schema).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_to_write_only_the_prompt_is_in_question() {
    let (running, _models) = demo("").await;
    let question = |input| Job { input, max_tokens: 0, ..job("") };
    let fine = ask(&running.engine, question(Input::Text("Once upon".to_owned()))).await;
    assert_eq!(fine.usage().completion, 0);
    assert!(fine.usage().prompt > 0 && fine.text.is_empty(), "{fine:?}");
    let long = ask(&running.engine, question(Input::Tokens(vec![5; 5000]))).await;
    assert!(matches!(long.error, Some(EngineError::ContextLengthExceeded { .. })), "{long:?}");
}
