//! One small program for each thing that an application does, with `async-openai`.
//!
//! Reads `OPENAI_BASE_URL`, `OPENAI_API_KEY`, `COCOON_MODEL` and, for embeddings,
//! `COCOON_EMBEDDING_MODEL`. The first argument names the program, a file of this folder.

mod chat;
mod embeddings;
mod errors;
mod responses;
mod structured;
mod tools;

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_openai::Client;
use async_openai::config::{Config as _, OpenAIConfig};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two pieces of an answer; a gateway sends keep-alive comments far more often.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // async-openai brings no TLS provider of its own in this build: choose one, once.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = client(OpenAIConfig::new())?; // reads OPENAI_BASE_URL and OPENAI_API_KEY
    let model = variable("COCOON_MODEL")?;
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().unwrap_or_else(|| "chat".into());
    let question = arguments.next();
    match program.as_str() {
        "chat" => chat::run(&client, &model, question).await,
        "tools" => tools::run(&client, &model, question).await,
        "structured" => structured::run(&client, &model).await,
        "responses" => responses::run(&client, &model, question).await,
        "embeddings" => embeddings::run(&client, &variable("COCOON_EMBEDDING_MODEL")?).await,
        "errors" => errors::run(&client, &model).await,
        other => bail!(
            "there is no example '{other}': chat, tools, structured, responses, embeddings, errors"
        ),
    }
}

fn client(config: OpenAIConfig) -> anyhow::Result<Client<OpenAIConfig>> {
    let mut http =
        reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT);
    if config.api_base().starts_with("http://") {
        http = http.tls_certs_only([]); // plain HTTP on loopback needs no roots of trust
    }
    Ok(Client::build(http.build()?, config))
}

#[expect(clippy::disallowed_methods, reason = "an example without a config module")]
fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}
