//! Lets the model call a function: ask, run what it calls, give the results back, print the answer.

use anyhow::{Context as _, bail};
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::{
    ChatCompletionMessageToolCalls, ChatCompletionRequestAssistantMessage,
    ChatCompletionRequestMessage, ChatCompletionRequestToolMessage,
    ChatCompletionRequestUserMessage, ChatCompletionTool, ChatCompletionTools,
    CreateChatCompletionRequest, FunctionCall, FunctionObject,
};
use serde::Deserialize;
use serde_json::json;

const ROUNDS_MAX: usize = 4;

#[derive(Deserialize)]
struct WeatherArguments {
    city: String,
}

/// A real program would look it up.
fn weather(arguments: &WeatherArguments) -> String {
    json!({ "city": arguments.city, "temperature": 21, "sky": "sunny" }).to_string()
}

fn weather_tool() -> ChatCompletionTools {
    ChatCompletionTools::Function(ChatCompletionTool {
        function: FunctionObject {
            name: "get_weather".into(),
            description: Some("Get the current weather for a city.".into()),
            parameters: Some(json!({
                "type": "object",
                "properties": { "city": { "type": "string" } },
                "required": ["city"],
            })),
            strict: None,
        },
    })
}

/// The arguments were written by a model: they may be anything.
fn call(function: &FunctionCall) -> anyhow::Result<String> {
    match function.name.as_str() {
        "get_weather" => Ok(weather(&serde_json::from_str(&function.arguments)?)),
        other => bail!("the model called '{other}', which does not exist"),
    }
}

pub(crate) async fn run(
    client: &Client<OpenAIConfig>,
    model: &str,
    question: Option<String>,
) -> anyhow::Result<()> {
    let question = question.unwrap_or_else(|| "What is the weather in Paris?".into());
    let mut messages: Vec<ChatCompletionRequestMessage> =
        ChatCompletionRequestUserMessage::from(question).into();
    for _ in 0..ROUNDS_MAX {
        let request = CreateChatCompletionRequest {
            model: model.into(),
            messages: messages.clone(),
            tools: Some(vec![weather_tool()]),
            temperature: Some(0.0),
            ..CreateChatCompletionRequest::default()
        };
        let answer = client.chat().create(request).await?;
        let message =
            answer.choices.into_iter().next().context("an answer without a choice")?.message;
        let Some(calls) = message.tool_calls else {
            println!("{}", message.content.unwrap_or_default());
            return Ok(());
        };
        messages.push(
            ChatCompletionRequestAssistantMessage {
                content: message.content.map(Into::into),
                tool_calls: Some(calls.clone()),
                ..ChatCompletionRequestAssistantMessage::default()
            }
            .into(),
        );
        for made in calls {
            let ChatCompletionMessageToolCalls::Function(made) = made else {
                bail!("the model called something that is no function");
            };
            println!("{}({})", made.function.name, made.function.arguments);
            let content = call(&made.function)?.into();
            messages
                .push(ChatCompletionRequestToolMessage { content, tool_call_id: made.id }.into());
        }
    }
    bail!("the model still wants tools after {ROUNDS_MAX} rounds")
}
