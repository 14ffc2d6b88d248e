//! An answer as it is made, and what it took.

use std::io::Write as _;

use anyhow::Context as _;
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::{
    ChatCompletionRequestUserMessage, ChatCompletionStreamOptions, CreateChatCompletionRequest,
};
use futures_util::StreamExt as _;

pub(crate) async fn run(
    client: &Client<OpenAIConfig>,
    model: &str,
    question: Option<String>,
) -> anyhow::Result<()> {
    let question = question.unwrap_or_else(|| "Hello!".into());
    let request = CreateChatCompletionRequest {
        model: model.into(),
        messages: ChatCompletionRequestUserMessage::from(question).into(),
        stream_options: Some(ChatCompletionStreamOptions {
            include_usage: Some(true),
            ..ChatCompletionStreamOptions::default()
        }),
        ..CreateChatCompletionRequest::default()
    };
    let mut stream = client.chat().create_stream(request).await?;
    let mut usage = None;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        for choice in &chunk.choices {
            print!("{}", choice.delta.content.as_deref().unwrap_or_default());
            std::io::stdout().flush()?;
        }
        usage = chunk.usage.or(usage);
    }
    // Dropping the stream earlier would stop the worker, and only what it made would be charged.
    let usage = usage.context("the stream ended without its usage")?;
    println!("\nusage: {} + {} tokens", usage.prompt_tokens, usage.completion_tokens);
    Ok(())
}
