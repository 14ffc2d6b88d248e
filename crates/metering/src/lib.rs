//! What a request may cost and what it did cost: prices, token counts, quotes, charges, shares.
//!
//! Pure integer arithmetic. Products are exact in `u128`, are summed, and the sum is rounded up
//! once per request; a worker's share is rounded down and the rest is commission.
//!
//! Invariants: a charge within the quoted limits is at most the quote; more tokens never cost
//! less; the two shares add up to the charge. An amount above [`Nano::MAX`] is [`Nano::MAX`],
//! which no balance covers, so nothing here fails.

mod limits;

pub use limits::{completion_limit, prompt_bound};

use cocoon_primitives::{Nano, TokenCount, TokenPrice};
use serde::{Deserialize, Serialize};

/// Basis points in a whole.
pub const BASIS_POINTS: u16 = 10_000;

/// What one model's tokens cost, frozen for a request when it is reserved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceRow {
    pub prompt: TokenPrice,
    /// Prompt tokens that the engine found in its cache.
    pub cached: TokenPrice,
    /// Generated tokens, reasoning included.
    pub completion: TokenPrice,
}

/// Tokens of one request. `cached` is part of `prompt`, `reasoning` is part of `completion`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Usage {
    pub prompt: TokenCount,
    pub cached: TokenCount,
    pub completion: TokenCount,
    pub reasoning: TokenCount,
}

/// A charge, divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    pub worker: Nano,
    pub commission: Nano,
}

/// The most that a request within these limits can cost, whatever part of its prompt is cached.
#[must_use]
pub fn quote(price: &PriceRow, prompt_max: TokenCount, completion_max: TokenCount) -> Nano {
    let prompt = price.prompt.max(price.cached).micro_nano(prompt_max);
    round_up(prompt.saturating_add(price.completion.micro_nano(completion_max)))
}

/// The cost of `usage`. Cached tokens beyond the prompt's do not exist and cost nothing.
#[must_use]
pub fn charge(price: &PriceRow, usage: &Usage) -> Nano {
    let cached = usage.cached.min(usage.prompt);
    let fresh = usage.prompt.saturating_sub(cached);
    round_up(
        price
            .prompt
            .micro_nano(fresh)
            .saturating_add(price.cached.micro_nano(cached))
            .saturating_add(price.completion.micro_nano(usage.completion)),
    )
}

/// Divides a charge: the worker's share is rounded down. A commission above the whole is the whole.
#[must_use]
pub fn split(charge: Nano, commission_bp: u16) -> Split {
    let worker_bp = u128::from(BASIS_POINTS.saturating_sub(commission_bp));
    let share = u128::from(charge.get()) * worker_bp / u128::from(BASIS_POINTS);
    let worker = u64::try_from(share)
        .ok()
        .and_then(Nano::new)
        .expect("a share of at most the whole is at most the charge");
    Split { worker, commission: charge.saturating_sub(worker) }
}

/// Millionths of a nano-coin, rounded up to whole ones.
fn round_up(micro_nano: u128) -> Nano {
    let nano = micro_nano.div_ceil(u128::from(TokenPrice::TOKENS_PER_UNIT));
    u64::try_from(nano).ok().and_then(Nano::new).unwrap_or(Nano::MAX)
}

#[cfg(test)]
mod tests;
