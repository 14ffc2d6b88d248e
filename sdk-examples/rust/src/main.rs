//! Streams one answer through `async-openai` and prints what it took.
//!
//! Reads `OPENAI_BASE_URL`, `OPENAI_API_KEY` and `COCOON_MODEL`; the question is the argument.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::{
    ChatCompletionRequestMessage, ChatCompletionRequestUserMessage, ChatCompletionStreamOptions,
    CreateChatCompletionRequest,
};
use futures_util::StreamExt as _;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two pieces of an answer; a gateway sends keep-alive comments far more often.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // async-openai brings no TLS provider of its own in this build: choose one, once.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let question = std::env::args().nth(1).unwrap_or_else(|| "Hello!".into());
    #[expect(clippy::disallowed_methods, reason = "an example without a config module")]
    let model = std::env::var("COCOON_MODEL").context("COCOON_MODEL is not set")?;

    let user = ChatCompletionRequestUserMessage::from(question);
    let request = CreateChatCompletionRequest {
        model,
        messages: vec![ChatCompletionRequestMessage::User(user)],
        stream_options: Some(ChatCompletionStreamOptions {
            include_usage: Some(true),
            ..ChatCompletionStreamOptions::default()
        }),
        ..CreateChatCompletionRequest::default()
    };
    let mut http =
        reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT);
    let config = OpenAIConfig::new(); // reads OPENAI_BASE_URL and OPENAI_API_KEY
    if async_openai::config::Config::api_base(&config).starts_with("http://") {
        http = http.tls_certs_only([]); // plain HTTP on loopback needs no roots of trust
    }
    let client = Client::build(http.build()?, config);

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
    let usage = usage.context("the stream ended without its usage")?;
    println!("\nusage: {} + {} tokens", usage.prompt_tokens, usage.completion_tokens);
    Ok(())
}
