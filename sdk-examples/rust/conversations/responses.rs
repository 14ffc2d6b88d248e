//! The Responses API.

use anyhow::{Context as _, ensure};
use async_openai::types::responses::{
    CreateResponse, FunctionToolCall, InputItem, OutputItem, Response, ResponseStreamEvent, Status,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::script::{
    CAPITAL, CAPITAL_ANSWER, PERSON, STORY, WEATHER, WEATHER_RESULT, WEATHER_TWICE, check_person,
    check_usage, person_schema, weather_parameters,
};
use crate::stack::Stack;
use crate::talk::Talk;

pub(crate) async fn talk(stack: &Stack, talk: &mut Talk) {
    talk.shows(&["responses.plain", "responses.usage", "responses.limit"], plain(stack)).await;
    talk.shows(&["responses.history", "responses.roles"], messages(stack)).await;
    talk.shows(&["responses.stream", "responses.stream-usage"], streamed(stack)).await;
    talk.shows(&["responses.tools", "responses.tools-parallel"], tools(stack)).await;
    talk.shows(&["responses.tools-stream"], tools_streamed(stack)).await;
    talk.shows(&["responses.tool-choice"], tool_choice(stack)).await;
    talk.shows(&["responses.json-schema"], json_schema(stack)).await;
    talk.shows(&["responses.cancel"], cancelled(stack)).await;
}

fn request(stack: &Stack, input: &Value, more: Value) -> anyhow::Result<CreateResponse> {
    let mut body = json!({ "model": stack.model, "input": input, "temperature": 0 });
    let Value::Object(more) = more else { anyhow::bail!("parameters are an object") };
    body.as_object_mut().context("an object")?.extend(more);
    Ok(serde_json::from_value(body)?)
}

async fn whole(stack: &Stack, input: &Value, more: Value) -> anyhow::Result<Response> {
    Ok(stack.client.responses().create(request(stack, input, more)?).await?)
}

async fn events(
    stack: &Stack,
    input: &Value,
    more: Value,
) -> anyhow::Result<Vec<ResponseStreamEvent>> {
    let mut request = request(stack, input, more)?;
    request.stream = Some(true);
    let mut stream = stack.client.responses().create_stream(request).await?;
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event?);
    }
    Ok(events)
}

fn weather_tools() -> Value {
    json!([{
        "type": "function",
        "name": "get_weather",
        "description": "Get the current weather for a city.",
        "parameters": weather_parameters(),
        "strict": true,
    }])
}

fn calls(response: &Response) -> Vec<&FunctionToolCall> {
    let mut calls = Vec::new();
    for item in &response.output {
        if let OutputItem::FunctionCall(call) = item {
            calls.push(call);
        }
    }
    calls
}

async fn plain(stack: &Stack) -> anyhow::Result<()> {
    let answer = whole(stack, &json!(CAPITAL), json!({ "instructions": "Be concise." })).await?;
    ensure!(answer.output_text().as_deref() == Some(CAPITAL_ANSWER));
    ensure!(answer.status == Status::Completed && answer.model == stack.model);
    let usage = answer.usage.context("no usage")?;
    check_usage(usage.input_tokens, usage.output_tokens, usage.total_tokens)?;
    let cut = whole(stack, &json!("Count to 20."), json!({ "max_output_tokens": 4 })).await?;
    ensure!(cut.status == Status::Incomplete);
    Ok(())
}

async fn messages(stack: &Stack) -> anyhow::Result<()> {
    let input = json!([
        { "role": "developer", "content": "You are a helpful assistant." },
        { "role": "user", "content": [{ "type": "input_text", "text": "My name is Ada." }] },
        { "role": "assistant", "content": "Nice to meet you, Ada!" },
        { "role": "user", "content": "What is my name?" },
    ]);
    let answer = whole(stack, &input, json!({})).await?;
    ensure!(answer.output_text().as_deref() == Some("Your name is Ada."));
    Ok(())
}

async fn streamed(stack: &Stack) -> anyhow::Result<()> {
    let mut text = String::new();
    let mut last = None;
    for event in events(stack, &json!(CAPITAL), json!({})).await? {
        match event {
            ResponseStreamEvent::ResponseOutputTextDelta(delta) => text.push_str(&delta.delta),
            ResponseStreamEvent::ResponseCompleted(done) => last = Some(done.response),
            _ => {}
        }
    }
    let usage = last.and_then(|response| response.usage).context("no usage at the end")?;
    ensure!(text == CAPITAL_ANSWER, "{text}");
    check_usage(usage.input_tokens, usage.output_tokens, usage.total_tokens)
}

async fn tools(stack: &Stack) -> anyhow::Result<()> {
    let tools = json!({ "tools": weather_tools() });
    let input = json!([{ "role": "user", "content": WEATHER }]);
    let asked = whole(stack, &input, tools.clone()).await?;
    let made = calls(&asked);
    let [call] = made.as_slice() else { anyhow::bail!("{made:?}") };
    ensure!(serde_json::from_str::<Value>(&call.arguments)? == json!({ "city": "Paris" }));
    let result = json!({
        "type": "function_call_output", "call_id": call.call_id, "output": WEATHER_RESULT,
    });
    let said: Vec<InputItem> = asked.output.iter().cloned().map(InputItem::from).collect();
    let mut items = vec![input[0].clone()];
    items.extend(said.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?);
    items.push(result);
    let told = whole(stack, &json!(items), tools.clone()).await?;
    let text = told.output_text().unwrap_or_default();
    ensure!(text.ends_with("sunny in Paris."), "{text}");
    ensure!(calls(&whole(stack, &json!(WEATHER_TWICE), tools).await?).len() == 2);
    Ok(())
}

async fn tools_streamed(stack: &Stack) -> anyhow::Result<()> {
    let mut done = Vec::new();
    for event in events(stack, &json!(WEATHER), json!({ "tools": weather_tools() })).await? {
        if let ResponseStreamEvent::ResponseFunctionCallArgumentsDone(event) = event {
            done.push((event.name, serde_json::from_str::<Value>(&event.arguments)?));
        }
    }
    ensure!(done == [(Some("get_weather".into()), json!({ "city": "Paris" }))], "{done:?}");
    Ok(())
}

async fn tool_choice(stack: &Stack) -> anyhow::Result<()> {
    for choice in [json!("required"), json!({ "type": "function", "name": "get_weather" })] {
        let more =
            json!({ "tools": weather_tools(), "tool_choice": choice, "max_output_tokens": 200 });
        ensure!(!calls(&whole(stack, &json!("Hello!"), more).await?).is_empty(), "{choice}");
    }
    Ok(())
}

async fn json_schema(stack: &Stack) -> anyhow::Result<()> {
    let format = json!({
        "type": "json_schema", "name": "person", "strict": true, "schema": person_schema(),
    });
    let more = json!({ "text": { "format": format }, "max_output_tokens": 300 });
    let answer = whole(stack, &json!(PERSON), more).await?;
    check_person(&answer.output_text().unwrap_or_default())
}

async fn cancelled(stack: &Stack) -> anyhow::Result<()> {
    let mut request = request(stack, &json!(STORY), json!({}))?;
    request.stream = Some(true);
    let mut stream = stack.client.responses().create_stream(request).await?;
    for _ in 0..5 {
        stream.next().await.context("the stream ended by itself")??;
    }
    drop(stream);
    plain(stack).await
}
