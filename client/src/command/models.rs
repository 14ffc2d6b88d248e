//! `cocoon models`: what is served, and for how much.

use cocoon_primitives::{Assurance, Nano};
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

#[derive(Serialize, Deserialize)]
pub(crate) struct ModelList {
    object: String,
    data: Vec<Model>,
}

#[derive(Serialize, Deserialize)]
struct Model {
    id: String,
    context_length: u64,
    pricing_nano_per_million: Pricing,
    cocoon: Placement,
}

#[derive(Serialize, Deserialize)]
struct Pricing {
    prompt: Nano,
    cached: Nano,
    completion: Nano,
}

#[derive(Serialize, Deserialize)]
struct Placement {
    assurance: Assurance,
    workers: u64,
}

pub(crate) async fn run(context: &Context) -> Result<(), CliError> {
    let models: ModelList = context.api()?.get("/models").await?;
    if context.as_json {
        return output::json(&models);
    }
    if models.data.is_empty() {
        return output::note("No worker serves a model now.");
    }
    output::table(
        &["model", "context", "prompt", "cached", "completion", "assurance", "workers"],
        models.data.iter().map(|model| {
            let price = &model.pricing_nano_per_million;
            [
                output::plain(&model.id),
                model.context_length.to_string(),
                price.prompt.to_gram(),
                price.cached.to_gram(),
                price.completion.to_gram(),
                model.cocoon.assurance.to_string(),
                model.cocoon.workers.to_string(),
            ]
        }),
    )?;
    output::note("Prices are in GRAM for a million tokens.")
}

/// The first model that is served, for whoever named none.
pub(crate) async fn first(api: &Api) -> Result<String, CliError> {
    let models: ModelList = api.get("/models").await?;
    models.data.into_iter().next().map(|model| model.id).ok_or_else(|| CliError::Argument {
        what: "--model",
        reason: "no worker serves a model now; ask again later".into(),
    })
}
