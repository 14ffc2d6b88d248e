//! What a sealed request states about itself in the clear, from its body. Pure.

use cocoon_metering::{completion_limit, prompt_bound};
use cocoon_openai_wire::peek::Peek;
use cocoon_primitives::TokenCount;

/// Prompt tokens that a chat template may add around a request's own text.
const TEMPLATE_ALLOWANCE_TOKENS: u64 = 1024;

/// What the gateway offers of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) context_length: u64,
    /// Completion tokens of one choice.
    pub(super) completion_max: u64,
    /// Nano-coins for a million tokens: prompt, cached, completion.
    pub(super) price: [u64; 3],
}

/// The limits of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) max_prompt_tokens: u64,
    /// All choices, reasoning included.
    pub(super) max_tokens: u32,
}

/// The least that the request needs: a worker refuses one that is over its limits.
pub(super) fn limits(peek: &Peek<'_>, body_bytes: usize, offer: &Offer) -> Limits {
    // Each prompt has the context for itself.
    let contexts = offer.context_length.saturating_mul(u64::from(peek.prompts));
    let body_bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
    let allowance = TokenCount::new(TEMPLATE_ALLOWANCE_TOKENS);
    let prompt = prompt_bound(TokenCount::new(contexts), body_bytes, allowance);
    let offered = TokenCount::new(offer.completion_max.min(offer.context_length));
    let choice = completion_limit(peek.max_tokens.map(TokenCount::new), offered, offered);
    let all = choice.get().saturating_mul(u64::from(peek.choices));
    Limits { max_prompt_tokens: prompt.get(), max_tokens: u32::try_from(all).unwrap_or(u32::MAX) }
}

/// Whether a price is within a cap, each part by itself.
pub(super) fn is_within(price: &[u64; 3], cap: &[u64; 3]) -> bool {
    price.iter().zip(cap).all(|(price, cap)| price <= cap)
}

#[cfg(test)]
mod tests {
    use cocoon_openai_wire::endpoint::Endpoint;
    use cocoon_openai_wire::peek;

    use super::*;

    #[test]
    fn limits_follow_the_body_and_the_offer() {
        let offer = Offer { context_length: 4096, completion_max: 500, price: [1, 1, 2] };
        use Endpoint::{ChatCompletions, Completions, Embeddings, Responses};
        for (endpoint, fields, expected) in [
            (ChatCompletions, r#""messages":[{}]"#, (1084, 500)),
            (ChatCompletions, r#""messages":[{}],"max_tokens":7,"n":3"#, (1084, 21)),
            (ChatCompletions, r#""messages":[{}],"max_completion_tokens":9999"#, (1084, 500)),
            (Responses, r#""input":"x","max_output_tokens":9"#, (1084, 9)),
            (Completions, r#""prompt":["x","y"],"n":2,"max_tokens":5"#, (1084, 20)),
            (Embeddings, r#""input":["x","y"]"#, (1084, 0)),
        ] {
            let body = format!(r#"{{"model":"m",{fields}}}"#);
            let peek = peek::read(endpoint, body.as_bytes()).unwrap();
            let limits = limits(&peek, 60, &offer);
            assert_eq!((limits.max_prompt_tokens, limits.max_tokens), expected, "{body}");
        }
        let body = br#"{"model":"m","messages":[{}]}"#;
        let peek = peek::read(ChatCompletions, body).unwrap();
        assert_eq!(limits(&peek, 1 << 20, &offer).max_prompt_tokens, 4096);
    }

    #[test]
    fn a_cap_holds_for_each_price() {
        assert!(is_within(&[1, 2, 3], &[1, 2, 3]));
        assert!(!is_within(&[1, 2, 4], &[9, 9, 3]));
    }
}
