//! Completions, embeddings, models, errors, idempotency.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::traits::RequestOptionsBuilder as _;
use async_openai::types::completions::CreateCompletionRequest;
use async_openai::types::embeddings::{CreateEmbeddingRequest, EncodingFormat};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::chat::{request, user};
use crate::script::{STORY, refused};
use crate::stack::Stack;
use crate::talk::Talk;

pub(crate) async fn talk(stack: &Stack, talk: &mut Talk) {
    talk.shows(&["completions.plain", "completions.many"], completions(stack)).await;
    talk.shows(&["completions.stream"], completions_streamed(stack)).await;
    let features =
        ["embeddings.text", "embeddings.base64", "embeddings.float", "embeddings.tokens"];
    talk.shows(&features, embeddings(stack)).await;
    talk.shows(&["models.list", "models.retrieve"], models(stack)).await;
    talk.shows(&["errors.key", "errors.funds"], accounts(stack)).await;
    talk.shows(&["errors.model", "errors.parameter"], refusals(stack)).await;
    talk.shows(&["errors.context"], context(stack)).await;
    talk.shows(&["errors.timeout"], timeout(stack)).await;
    talk.shows(&["retry.idempotency"], idempotent(stack)).await;
}

fn completion(stack: &Stack, more: Value) -> anyhow::Result<CreateCompletionRequest> {
    let mut body = json!({ "model": stack.model, "prompt": "Once upon a time,", "temperature": 0 });
    let Value::Object(more) = more else { anyhow::bail!("parameters are an object") };
    body.as_object_mut().context("an object")?.extend(more);
    Ok(serde_json::from_value(body)?)
}

async fn completions(stack: &Stack) -> anyhow::Result<()> {
    let client = stack.client.completions();
    let answer = client.create(completion(stack, json!({}))?).await?;
    ensure!(answer.choices.len() == 1 && !answer.choices[0].text.is_empty());
    ensure!(answer.usage.context("no usage")?.completion_tokens <= 16);
    let more = json!({ "prompt": ["One", "Two"], "n": 2, "max_tokens": 5, "temperature": 1 });
    let many = client.create(completion(stack, more)?).await?;
    let indices: Vec<u32> = many.choices.iter().map(|c| c.index).collect();
    ensure!(indices == [0, 1, 2, 3], "{indices:?}");
    Ok(())
}

async fn completions_streamed(stack: &Stack) -> anyhow::Result<()> {
    let client = stack.client.completions();
    let whole = client.create(completion(stack, json!({}))?).await?;
    let mut stream = client.create_stream(completion(stack, json!({}))?).await?;
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.extend(chunk?.choices.into_iter().map(|choice| choice.text));
    }
    ensure!(text == whole.choices[0].text, "{text}");
    Ok(())
}

async fn embeddings(stack: &Stack) -> anyhow::Result<()> {
    let make = |input: Value| -> anyhow::Result<CreateEmbeddingRequest> {
        Ok(serde_json::from_value(json!({ "model": stack.embedding_model, "input": input }))?)
    };
    let client = stack.client.embeddings();
    let texts = json!(["A fox sleeps.", "A fox sleeps.", "Paris is in France."]);
    let answer = client.create(make(texts.clone())?).await?;
    let rows = &answer.data;
    ensure!(rows.len() == 3 && rows[0].embedding == rows[1].embedding);
    ensure!(rows[0].embedding != rows[2].embedding && answer.usage.prompt_tokens > 0);
    let length: f32 = rows[0].embedding.iter().map(|x| x * x).sum();
    ensure!((length - 1.0).abs() < 1e-3, "length {length}");
    let mut request = make(texts)?;
    request.encoding_format = Some(EncodingFormat::Base64);
    let packed = client.create_base64(request).await?;
    for (row, packed) in rows.iter().zip(packed.data) {
        ensure!(row.embedding.len() == Vec::<f32>::from(packed.embedding).len());
    }
    let tokens = client.create(make(json!([[10, 11, 12], [13]]))?).await?;
    ensure!(tokens.data.len() == 2 && tokens.usage.prompt_tokens == 4);
    Ok(())
}

async fn models(stack: &Stack) -> anyhow::Result<()> {
    let listed = stack.client.models().list().await?.data;
    for name in [&stack.model, &stack.embedding_model] {
        ensure!(listed.iter().any(|model| &model.id == name), "{name} is not listed");
        ensure!(&stack.client.models().retrieve(name).await?.id == name);
    }
    Ok(())
}

async fn accounts(stack: &Stack) -> anyhow::Result<()> {
    let wrong = stack.with_key("sk-cocoon-wrong")?;
    ensure!(refused(wrong.models().list().await)?.status_code == 401);
    let empty = stack.with_key(&stack.empty_key)?;
    let ask = || request(stack, &user("ping"), json!({}));
    ensure!(refused(empty.chat().create(ask()?).await)?.status_code == 402);
    ensure!(refused(empty.chat().create_stream(ask()?).await)?.status_code == 402);
    Ok(())
}

async fn refusals(stack: &Stack) -> anyhow::Result<()> {
    let chat = stack.client.chat();
    let more = json!({ "model": "no/such-model" });
    let error = refused(chat.create(request(stack, &user("ping"), more)?).await)?;
    ensure!(error.api_error.code.as_deref() == Some("model_not_found") && error.status_code == 404);
    let more = json!({ "temperature": 9 });
    let error = refused(chat.create(request(stack, &user("ping"), more)?).await)?;
    ensure!(error.status_code == 400 && error.api_error.param.as_deref() == Some("temperature"));
    Ok(())
}

async fn context(stack: &Stack) -> anyhow::Result<()> {
    let long = "word ".repeat(10_000);
    let chat = stack.client.chat();
    let error = refused(chat.create(request(stack, &user(&long), json!({}))?).await)?;
    ensure!(error.api_error.code.as_deref() == Some("context_length_exceeded"), "{error}");
    let error = refused(chat.create_stream(request(stack, &user(&long), json!({}))?).await)?;
    ensure!(error.api_error.code.as_deref() == Some("context_length_exceeded"), "{error}");
    Ok(())
}

async fn timeout(stack: &Stack) -> anyhow::Result<()> {
    let impatient = crate::stack::client(OpenAIConfig::new(), Duration::from_millis(200))?;
    let more = json!({ "logit_bias": { "0": -100, "2": -100 }, "max_completion_tokens": 1500 });
    let result = impatient.chat().create(request(stack, &user(STORY), more)?).await;
    ensure!(
        matches!(&result, Err(OpenAIError::Reqwest(error)) if error.is_timeout()),
        "{result:?}"
    );
    Ok(())
}

async fn idempotent(stack: &Stack) -> anyhow::Result<()> {
    let key = format!("rust-{}", std::process::id());
    let mut answers = Vec::new();
    for _ in 0..2 {
        let chat = stack.client.chat().header("idempotency-key", key.as_str())?;
        let more = json!({ "temperature": 1 });
        answers.push(chat.create(request(stack, &user("Tell me a story."), more)?).await?);
    }
    ensure!(answers[0] == answers[1], "a repeat was answered anew");
    Ok(())
}
