//! Chat completions.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use async_openai::types::chat::{
    ChatChoice, ChatCompletionMessageToolCalls, CreateChatCompletionRequest,
    CreateChatCompletionResponse, FinishReason,
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
    talk.shows(&["chat.plain", "chat.usage"], plain(stack)).await;
    talk.shows(&["chat.history", "chat.roles"], messages(stack)).await;
    talk.shows(&["chat.stream", "chat.stream-usage"], streamed(stack)).await;
    talk.shows(&["chat.tools", "chat.tools-parallel"], tools(stack)).await;
    talk.shows(&["chat.tools-stream"], tools_streamed(stack)).await;
    talk.shows(&["chat.tool-choice"], tool_choice(stack)).await;
    talk.shows(&["chat.json-schema", "chat.json-object"], json_schema(stack)).await;
    talk.shows(&["chat.logprobs"], logprobs(stack)).await;
    talk.shows(&["chat.n"], choices(stack)).await;
    talk.shows(&["chat.stop", "chat.limit", "chat.sampling"], bounds(stack)).await;
    talk.shows(&["chat.reasoning"], reasoning(stack)).await;
    talk.shows(&["chat.cancel"], cancelled(stack)).await;
}

/// A request out of its JSON, through the client's own types.
pub(crate) fn request(
    stack: &Stack,
    messages: &Value,
    more: Value,
) -> anyhow::Result<CreateChatCompletionRequest> {
    let mut body = json!({ "model": stack.model, "messages": messages, "temperature": 0 });
    let Value::Object(more) = more else { anyhow::bail!("parameters are an object") };
    body.as_object_mut().context("an object")?.extend(more);
    Ok(serde_json::from_value(body)?)
}

pub(crate) fn user(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}

async fn whole(
    stack: &Stack,
    messages: &Value,
    more: Value,
) -> anyhow::Result<CreateChatCompletionResponse> {
    Ok(stack.client.chat().create(request(stack, messages, more)?).await?)
}

async fn first(stack: &Stack, messages: &Value, more: Value) -> anyhow::Result<ChatChoice> {
    whole(stack, messages, more).await?.choices.into_iter().next().context("no choice")
}

fn weather_tools() -> Value {
    json!([{ "type": "function", "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city.",
        "parameters": weather_parameters(),
    } }])
}

fn calls(choice: &ChatChoice) -> anyhow::Result<Vec<(String, Value)>> {
    let calls = choice.message.tool_calls.as_deref().unwrap_or_default();
    calls
        .iter()
        .map(|call| match call {
            ChatCompletionMessageToolCalls::Function(call) => {
                Ok((call.id.clone(), serde_json::from_str(&call.function.arguments)?))
            }
            ChatCompletionMessageToolCalls::Custom(_) => anyhow::bail!("not a function"),
        })
        .collect()
}

async fn plain(stack: &Stack) -> anyhow::Result<()> {
    let answer = whole(stack, &user(CAPITAL), json!({})).await?;
    let choice = answer.choices.first().context("no choice")?;
    ensure!(choice.message.content.as_deref() == Some(CAPITAL_ANSWER));
    ensure!(choice.finish_reason == Some(FinishReason::Stop));
    let usage = answer.usage.context("no usage")?;
    check_usage(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
}

async fn messages(stack: &Stack) -> anyhow::Result<()> {
    let messages = json!([
        { "role": "developer", "content": "You are a helpful assistant." },
        { "role": "user", "content": [{ "type": "text", "text": "My name is Ada." }] },
        { "role": "assistant", "content": "Nice to meet you, Ada!" },
        { "role": "user", "content": "What is my name?" },
    ]);
    let choice = first(stack, &messages, json!({})).await?;
    ensure!(choice.message.content.as_deref() == Some("Your name is Ada."));
    Ok(())
}

async fn streamed(stack: &Stack) -> anyhow::Result<()> {
    let options = json!({ "stream_options": { "include_usage": true } });
    let request = request(stack, &user(CAPITAL), options)?;
    let mut stream = stack.client.chat().create_stream(request).await?;
    let (mut text, mut ends, mut usage) = (String::new(), Vec::new(), None);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        for choice in chunk.choices {
            text.push_str(choice.delta.content.as_deref().unwrap_or_default());
            ends.extend(choice.finish_reason);
        }
        usage = chunk.usage.or(usage);
    }
    ensure!(text == CAPITAL_ANSWER && ends == [FinishReason::Stop], "{text} {ends:?}");
    let usage = usage.context("no usage")?;
    check_usage(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
}

async fn tools(stack: &Stack) -> anyhow::Result<()> {
    let tools = json!({ "tools": weather_tools() });
    let asked = first(stack, &user(WEATHER), tools.clone()).await?;
    ensure!(asked.finish_reason == Some(FinishReason::ToolCalls));
    let made = calls(&asked)?;
    let [(id, arguments)] = made.as_slice() else { anyhow::bail!("{made:?}") };
    ensure!(arguments == &json!({ "city": "Paris" }), "{arguments}");
    let messages = json!([
        { "role": "user", "content": WEATHER },
        { "role": "assistant", "content": null, "tool_calls": asked.message.tool_calls },
        { "role": "tool", "tool_call_id": id, "content": WEATHER_RESULT },
    ]);
    let told = first(stack, &messages, tools.clone()).await?;
    let text = told.message.content.unwrap_or_default();
    ensure!(text.ends_with("sunny in Paris."), "{text}");

    let both = calls(&first(stack, &user(WEATHER_TWICE), tools).await?)?;
    let cities: Vec<_> = both.iter().filter_map(|(_, a)| a["city"].as_str()).collect();
    ensure!(cities == ["Paris", "Rome"], "{cities:?}");
    Ok(())
}

async fn tools_streamed(stack: &Stack) -> anyhow::Result<()> {
    let request = request(stack, &user(WEATHER_TWICE), json!({ "tools": weather_tools() }))?;
    let mut stream = stack.client.chat().create_stream(request).await?;
    let (mut arguments, mut names) = (BTreeMap::<u32, String>::new(), Vec::new());
    while let Some(chunk) = stream.next().await {
        for delta in chunk?.choices.into_iter().filter_map(|c| c.delta.tool_calls).flatten() {
            let function = delta.function.context("no function")?;
            names.extend(function.name);
            arguments
                .entry(delta.index)
                .or_default()
                .push_str(&function.arguments.unwrap_or_default());
        }
    }
    ensure!(names == ["get_weather", "get_weather"], "{names:?}");
    let cities: Vec<Value> =
        arguments.values().map(|text| serde_json::from_str(text)).collect::<Result<_, _>>()?;
    ensure!(cities == [json!({ "city": "Paris" }), json!({ "city": "Rome" })], "{cities:?}");
    Ok(())
}

async fn tool_choice(stack: &Stack) -> anyhow::Result<()> {
    let named = json!({ "type": "function", "function": { "name": "get_weather" } });
    for choice in [json!("required"), named] {
        let more = json!({
            "tools": weather_tools(), "tool_choice": choice, "max_completion_tokens": 200,
        });
        ensure!(!calls(&first(stack, &user("Hello!"), more).await?)?.is_empty(), "{choice}");
    }
    let none = json!({ "tools": weather_tools(), "tool_choice": "none" });
    ensure!(first(stack, &user(WEATHER), none).await?.message.tool_calls.is_none());
    Ok(())
}

async fn json_schema(stack: &Stack) -> anyhow::Result<()> {
    let schema = json!({ "name": "person", "strict": true, "schema": person_schema() });
    let form = json!({ "type": "json_schema", "json_schema": schema });
    let more = json!({ "response_format": form, "max_completion_tokens": 300 });
    let choice = first(stack, &user(PERSON), more).await?;
    check_person(&choice.message.content.unwrap_or_default())?;
    let more =
        json!({ "response_format": { "type": "json_object" }, "max_completion_tokens": 300 });
    let text = first(stack, &user(PERSON), more).await?.message.content.unwrap_or_default();
    ensure!(serde_json::from_str::<Value>(&text)?.is_object(), "{text}");
    Ok(())
}

async fn logprobs(stack: &Stack) -> anyhow::Result<()> {
    let more = json!({ "logprobs": true, "top_logprobs": 2, "max_completion_tokens": 4 });
    let choice = first(stack, &user("Count to 5."), more).await?;
    let tokens = choice.logprobs.and_then(|l| l.content).context("no logprobs")?;
    ensure!(
        tokens.len() == 4 && tokens.iter().all(|t| t.logprob <= 0.0 && t.top_logprobs.len() == 2)
    );
    let bytes: Vec<u8> = tokens.into_iter().filter_map(|t| t.bytes).flatten().collect();
    ensure!(Some(String::from_utf8(bytes)?) == choice.message.content);
    Ok(())
}

async fn choices(stack: &Stack) -> anyhow::Result<()> {
    let more = json!({ "n": 3, "temperature": 1, "seed": 7, "max_completion_tokens": 20 });
    let answer = whole(stack, &user("Tell me a story."), more).await?;
    let indices: Vec<u32> = answer.choices.iter().map(|c| c.index).collect();
    ensure!(indices == [0, 1, 2], "{indices:?}");
    ensure!(answer.usage.context("no usage")?.completion_tokens == 60);
    Ok(())
}

async fn bounds(stack: &Stack) -> anyhow::Result<()> {
    let stopped = first(stack, &user("Count to 9."), json!({ "stop": [" 4"] })).await?;
    ensure!(stopped.message.content.as_deref() == Some("1, 2, 3,"));
    for limit in ["max_tokens", "max_completion_tokens"] {
        let cut = whole(stack, &user("Count to 9."), json!({ limit: 3 })).await?;
        ensure!(cut.choices[0].finish_reason == Some(FinishReason::Length), "{limit}");
        ensure!(cut.usage.context("no usage")?.completion_tokens == 3, "{limit}");
    }
    let mut stories = Vec::new();
    for seed in [1, 1, 2] {
        let more = json!({ "seed": seed, "temperature": 1, "max_completion_tokens": 30 });
        stories.push(first(stack, &user("Tell me a story."), more).await?.message.content);
    }
    ensure!(stories[0] == stories[1] && stories[1] != stories[2], "{stories:?}");
    let biased = json!({ "logit_bias": { "0": -100, "2": -100 }, "max_completion_tokens": 30 });
    let endless = first(stack, &user("ping"), biased).await?;
    ensure!(endless.finish_reason == Some(FinishReason::Length), "tokens 0 and 2 end an answer");
    let penalties = json!({ "frequency_penalty": 0.5, "presence_penalty": 0.5, "top_p": 0.9 });
    first(stack, &user("ping"), penalties).await?;
    Ok(())
}

async fn reasoning(stack: &Stack) -> anyhow::Result<()> {
    for effort in ["none", "minimal", "low", "medium", "high"] {
        let answer = whole(stack, &user("ping"), json!({ "reasoning_effort": effort })).await?;
        ensure!(answer.choices[0].message.content.as_deref() == Some("pong"), "{effort}");
        let details =
            answer.usage.and_then(|u| u.completion_tokens_details).context("no details")?;
        ensure!(details.reasoning_tokens.is_some(), "{effort}");
    }
    Ok(())
}

/// Dropping a stream is how this client cancels; the books of it are the Python client's part.
async fn cancelled(stack: &Stack) -> anyhow::Result<()> {
    let more = json!({ "logit_bias": { "0": -100, "2": -100 }, "max_completion_tokens": 1500 });
    let mut stream = stack.client.chat().create_stream(request(stack, &user(STORY), more)?).await?;
    for _ in 0..3 {
        stream.next().await.context("the stream ended by itself")??;
    }
    drop(stream);
    plain(stack).await
}
