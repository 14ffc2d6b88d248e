//! What can go wrong, what is worth another attempt, and how to make one without paying twice.

use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::traits::RequestOptionsBuilder as _;
use async_openai::types::chat::{
    ChatCompletionRequestUserMessage, CreateChatCompletionRequest, CreateChatCompletionResponse,
};
use tokio::time::Instant;

const ATTEMPTS_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether the same request may succeed a moment later. A 400, 402 or 404 will not.
fn transient(error: &OpenAIError) -> bool {
    match error {
        OpenAIError::ApiError(refusal) => {
            matches!(refusal.status_code.as_u16(), 408 | 409 | 429 | 500..)
        }
        OpenAIError::Reqwest(_) => true,
        _ => false,
    }
}

/// Asks until there is an answer. All attempts carry one key, so the gateway answers and charges
/// once: where the first answer was lost on its way, the next attempt gets it again.
async fn ask(
    client: &Client<OpenAIConfig>,
    key: &str,
    request: &CreateChatCompletionRequest,
) -> Result<CreateChatCompletionResponse, OpenAIError> {
    let mut attempt = 1;
    loop {
        let chat = client.chat().header("idempotency-key", key)?;
        match chat.create(request.clone()).await {
            Err(error) if attempt < ATTEMPTS_MAX && transient(&error) => {
                tokio::time::sleep_until(Instant::now() + PAUSE * attempt).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

pub(crate) async fn run(client: &Client<OpenAIConfig>, model: &str) -> anyhow::Result<()> {
    let good = CreateChatCompletionRequest {
        model: model.into(),
        messages: ChatCompletionRequestUserMessage::from("Hello!").into(),
        ..CreateChatCompletionRequest::default()
    };
    let unknown = CreateChatCompletionRequest { model: "no-such-model".into(), ..good.clone() };
    let wrong = CreateChatCompletionRequest { temperature: Some(9.0), ..good.clone() };
    for (name, request) in [("good", good), ("unknown-model", unknown), ("temperature", wrong)] {
        // One key for each thing that is to happen once.
        let key = format!("{name}-{}", std::process::id());
        match tokio::time::timeout(ANSWER_TIMEOUT, ask(client, &key, &request)).await {
            Err(_) => println!("{name}: no answer in time"),
            Ok(Ok(answer)) => println!("{name}: answered as {}", answer.id),
            Ok(Err(OpenAIError::ApiError(refusal))) => {
                let error = refusal.api_error;
                let (code, param) =
                    (error.code.unwrap_or_default(), error.param.unwrap_or_default());
                println!("{name}: {} {code} ({param}): {}", refusal.status_code, error.message);
            }
            Ok(Err(other)) => println!("{name}: {other}"),
        }
    }
    Ok(())
}
