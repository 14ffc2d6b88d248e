//! An object instead of text: the schema is enforced while the answer is made, so it always fits.

use anyhow::Context as _;
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::{
    ChatCompletionRequestUserMessage, CreateChatCompletionRequest, ResponseFormat,
    ResponseFormatJsonSchema,
};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Person {
    name: String,
    age: u64,
    city: String,
}

pub(crate) async fn run(client: &Client<OpenAIConfig>, model: &str) -> anyhow::Result<()> {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "city": { "type": "string" },
        },
        "required": ["name", "age", "city"],
        "additionalProperties": false,
    });
    let request = CreateChatCompletionRequest {
        model: model.into(),
        messages: ChatCompletionRequestUserMessage::from("Give me a person as JSON.").into(),
        response_format: Some(ResponseFormat::JsonSchema {
            json_schema: ResponseFormatJsonSchema {
                name: "person".into(),
                description: None,
                schema,
                strict: Some(true),
            },
        }),
        // A schema bounds the shape of an answer, not its length.
        max_completion_tokens: Some(200),
        ..CreateChatCompletionRequest::default()
    };
    let answer = client.chat().create(request).await?;
    let choice = answer.choices.into_iter().next().context("an answer without a choice")?;
    let person: Person = serde_json::from_str(&choice.message.content.unwrap_or_default())?;
    println!("{}, {}, lives in {}", person.name, person.age, person.city);
    Ok(())
}
