//! The Responses API, streamed. The gateway keeps nothing: a conversation is sent whole each time.

use std::io::Write as _;

use anyhow::bail;
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::responses::{CreateResponse, InputParam, ResponseStreamEvent};
use futures_util::StreamExt as _;

pub(crate) async fn run(
    client: &Client<OpenAIConfig>,
    model: &str,
    question: Option<String>,
) -> anyhow::Result<()> {
    let question = question.unwrap_or_else(|| "What is the capital of France?".into());
    let request = CreateResponse {
        model: Some(model.into()),
        input: InputParam::Text(question),
        stream: Some(true),
        ..CreateResponse::default()
    };
    let mut stream = client.responses().create_stream(request).await?;
    while let Some(event) = stream.next().await {
        match event? {
            ResponseStreamEvent::ResponseOutputTextDelta(text) => {
                print!("{}", text.delta);
                std::io::stdout().flush()?;
            }
            ResponseStreamEvent::ResponseCompleted(done) => {
                let Some(usage) = done.response.usage else { bail!("no usage was told") };
                println!("\nusage: {} + {} tokens", usage.input_tokens, usage.output_tokens);
            }
            ResponseStreamEvent::ResponseError(error) => bail!("{}", error.message),
            _ => {}
        }
    }
    Ok(())
}
