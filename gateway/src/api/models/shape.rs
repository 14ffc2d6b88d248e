//! A model in OpenAI's fields and a few more.

use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_primitives::{ModelKind, Nano, TokenPrice};
use serde_json::{Value, json};

use crate::api::StartedAt;
use crate::dispatch::{OfferedModel, kind};

/// Decimal places of a price per token in Gram: nine for nano, six for a million.
const PRICE_PLACES: usize = 15;

/// Parameters that text is generated with, under the names of chat completions.
const CHAT_PARAMETERS: [&str; 19] = [
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
    "structured_outputs",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "stream_options",
];
const EMBEDDING_PARAMETERS: [&str; 2] = ["encoding_format", "dimensions"];

pub(super) fn model(offer: &OfferedModel, started_at: StartedAt) -> Value {
    let OfferedModel { served, price, completion_max } = offer;
    let endpoints: Vec<&str> = Endpoint::ALL
        .into_iter()
        .filter(|endpoint| kind(*endpoint) == served.kind)
        .map(Endpoint::path)
        .collect();
    let (output, parameters): (&str, &[&str]) = match served.kind {
        ModelKind::Chat => ("text", &CHAT_PARAMETERS),
        ModelKind::Embedding => ("embeddings", &EMBEDDING_PARAMETERS),
    };
    json!({
        "id": served.name,
        "object": "model",
        "created": started_at.0.as_seconds(),
        "owned_by": served.owned_by,
        "name": served.name,
        "context_length": served.context_length,
        "pricing": {
            "prompt": gram_per_token(price.prompt),
            "completion": gram_per_token(price.completion),
            "input_cache_read": gram_per_token(price.cached),
        },
        // Beside the prices: clients take every member of `pricing` for a number.
        "currency": "GRAM",
        "pricing_nano_per_million": {
            "prompt": price.prompt.nano_per_million(),
            "cached": price.cached.nano_per_million(),
            "completion": price.completion.nano_per_million(),
        },
        "cocoon": {
            "assurance": served.assurance,
            "workers": served.workers,
            "demo": served.is_demo,
            "kind": served.kind,
        },
        "architecture": { "input_modalities": ["text"], "output_modalities": [output] },
        "supported_endpoints": endpoints,
        "supported_parameters": parameters,
        "top_provider": {
            "context_length": served.context_length,
            "max_completion_tokens": completion_max,
        },
    })
}

/// The exact price of one token in Gram, as in `0.00000005`.
fn gram_per_token(price: TokenPrice) -> String {
    let nano: Nano = price.nano_per_million();
    let digits = format!("{:0>width$}", nano.get(), width = PRICE_PLACES + 1);
    let (whole, fraction) = digits.split_at(digits.len() - PRICE_PLACES);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_per_token_are_exact_decimals() {
        for (nano, text) in [
            (0, "0"),
            (1, "0.000000000000001"),
            (50_000_000, "0.00000005"),
            (1_000_000_000_000_000, "1"),
            (1_500_000_000_000_000, "1.5"),
        ] {
            let price = TokenPrice::per_million(Nano::new(nano).unwrap());
            assert_eq!(gram_per_token(price), text);
        }
    }
}
