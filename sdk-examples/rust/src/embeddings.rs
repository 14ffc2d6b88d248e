//! Which of some sentences is the nearest to a question? Embeddings, compared by their angle.

use anyhow::Context as _;
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::embeddings::{CreateEmbeddingRequest, EmbeddingInput};

const TEXTS: [&str; 4] = [
    "Where do foxes sleep?",
    "A fox sleeps in its den.",
    "The gateway has a price for each model.",
    "Paris is in France.",
];

pub(crate) async fn run(client: &Client<OpenAIConfig>, model: &str) -> anyhow::Result<()> {
    let request = CreateEmbeddingRequest {
        model: model.into(),
        input: EmbeddingInput::StringArray(TEXTS.map(String::from).to_vec()),
        encoding_format: None,
        user: None,
        dimensions: None,
    };
    let answer = client.embeddings().create(request).await?;
    let (question, others) = answer.data.split_first().context("no embedding came")?;
    println!("{} dimensions, {} tokens", question.embedding.len(), answer.usage.prompt_tokens);
    for (row, text) in others.iter().zip(&TEXTS[1..]) {
        println!("{:+.3}  {text}", cosine(&question.embedding, &row.embedding));
    }
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())
}
