//! The token limits that a request is quoted, sent and checked with.

use cocoon_primitives::TokenCount;

/// The most prompt tokens that a body can become.
///
/// A token stands for at least one byte, so the body's length bounds the user's part; the template
/// allowance covers what the chat template adds around it; the context bounds the sum.
#[must_use]
pub fn prompt_bound(
    context_length: TokenCount,
    body_bytes: u64,
    template_allowance: TokenCount,
) -> TokenCount {
    TokenCount::new(body_bytes).saturating_add(template_allowance).min(context_length)
}

/// The most completion tokens of one choice, reasoning included: what was asked for, at most
/// the model's and the configuration's limits.
#[must_use]
pub fn completion_limit(
    asked: Option<TokenCount>,
    model_max: TokenCount,
    configured_max: TokenCount,
) -> TokenCount {
    asked.unwrap_or(TokenCount::new(u64::MAX)).min(model_max).min(configured_max)
}
