//! What is asked, and what every client's answer is looked at for.

use anyhow::{Context as _, ensure};
use async_openai::error::{ApiErrorResponse, OpenAIError};
use serde_json::{Value, json};

pub(crate) const CAPITAL: &str = "What is the capital of France?";
pub(crate) const CAPITAL_ANSWER: &str = "The capital of France is Paris.";
pub(crate) const STORY: &str = "Tell me a long story.";
pub(crate) const PERSON: &str = "Give me a person as JSON.";
pub(crate) const WEATHER: &str = "What is the weather in Paris?";
pub(crate) const WEATHER_TWICE: &str = "What is the weather in Paris and Rome?";
pub(crate) const WEATHER_RESULT: &str = r#"{"temperature": 21, "sky": "sunny"}"#;

pub(crate) fn weather_parameters() -> Value {
    json!({
        "type": "object",
        "properties": { "city": { "type": "string" } },
        "required": ["city"],
        "additionalProperties": false,
    })
}

pub(crate) fn person_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "age": { "type": "integer" },
            "city": { "type": "string" },
        },
        "required": ["name", "age", "city"],
        "additionalProperties": false,
    })
}

pub(crate) fn check_person(text: &str) -> anyhow::Result<()> {
    let person: Value = serde_json::from_str(text).with_context(|| format!("not JSON: {text}"))?;
    let fields = person.as_object().context("not an object")?;
    ensure!(
        fields.len() == 3 && person["name"].is_string() && person["city"].is_string(),
        "{text}"
    );
    ensure!(person["age"].is_i64(), "{text}");
    Ok(())
}

pub(crate) fn check_usage(prompt: u32, completion: u32, total: u32) -> anyhow::Result<()> {
    ensure!(prompt > 0 && completion > 0 && prompt + completion == total, "usage does not add up");
    Ok(())
}

/// The refusal that a call must end in.
pub(crate) fn refused<T>(result: Result<T, OpenAIError>) -> anyhow::Result<ApiErrorResponse> {
    match result {
        Ok(_) => anyhow::bail!("nothing was refused"),
        Err(OpenAIError::ApiError(refusal)) => Ok(refusal),
        Err(other) => Err(other).context("the refusal could not be read"),
    }
}
