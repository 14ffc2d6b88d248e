//! The stack under test, known only by the environment that an application would have.

use std::time::Duration;

use anyhow::Context as _;
use async_openai::Client;
use async_openai::config::OpenAIConfig;

const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// What every conversation may use.
pub(crate) struct Stack {
    pub(crate) client: Client<OpenAIConfig>,
    pub(crate) model: String,
    pub(crate) embedding_model: String,
    pub(crate) empty_key: String,
}

impl Stack {
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        Ok(Self {
            client: client(OpenAIConfig::new(), READ_TIMEOUT)?,
            model: variable("COCOON_MODEL")?,
            embedding_model: variable("COCOON_EMBEDDING_MODEL")?,
            empty_key: variable("COCOON_EMPTY_KEY")?,
        })
    }

    /// The same gateway with another key.
    pub(crate) fn with_key(&self, key: &str) -> anyhow::Result<Client<OpenAIConfig>> {
        client(OpenAIConfig::new().with_api_key(key), READ_TIMEOUT)
    }
}

pub(crate) fn client(
    config: OpenAIConfig,
    read_timeout: Duration,
) -> anyhow::Result<Client<OpenAIConfig>> {
    let http = reqwest::Client::builder().read_timeout(read_timeout).tls_certs_only([]).build()?;
    Ok(Client::build(http, config))
}

#[expect(clippy::disallowed_methods, reason = "a program for the suite, without a config module")]
fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}
