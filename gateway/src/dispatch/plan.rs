//! What a request may use and cost at most, from what it asks for. Pure.

use cocoon_metering::{PriceRow, completion_limit, prompt_bound, quote};
use cocoon_openai_wire::peek::Peek;
use cocoon_primitives::{Nano, TokenCount};

use super::limits::DispatchLimits;
use super::prices::ModelPrice;

/// The limits of one request, and the worst case within them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) price: PriceRow,
    pub(crate) prompt_max: u64,
    /// All choices, reasoning included.
    pub(crate) completion_max: u32,
    pub(crate) amount: Nano,
}

pub(crate) fn plan(
    peek: &Peek<'_>,
    body_bytes: usize,
    price: &ModelPrice,
    context_length: u64,
    limits: &DispatchLimits,
) -> Plan {
    let context = TokenCount::new(context_length);
    let body_bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
    let allowance = TokenCount::new(limits.template_allowance_tokens);
    let prompt_max = prompt_bound(context, body_bytes, allowance);
    let model_max = context_length.min(price.completion_tokens_max.unwrap_or(u64::MAX));
    let one_choice = completion_limit(
        peek.max_tokens.map(TokenCount::new),
        TokenCount::new(model_max),
        TokenCount::new(limits.completion_tokens_max),
    );
    let all_choices = one_choice.get().saturating_mul(u64::from(peek.n));
    let completion_max = u32::try_from(all_choices).unwrap_or(u32::MAX);
    let amount = quote(&price.row, prompt_max, TokenCount::new(u64::from(completion_max)));
    Plan { price: price.row, prompt_max: prompt_max.get(), completion_max, amount }
}

#[cfg(test)]
mod tests {
    use cocoon_openai_wire::peek;
    use cocoon_primitives::TokenPrice;

    use super::*;

    #[test]
    fn the_least_limit_holds_and_choices_multiply_it() {
        let per_million = |nano| TokenPrice::per_million(Nano::new(nano).unwrap());
        let (prompt, completion) = (per_million(1_000_000), per_million(2_000_000));
        let row = PriceRow { prompt, cached: prompt, completion };
        let limits = DispatchLimits {
            completion_tokens_max: 500,
            template_allowance_tokens: 100,
            ..DispatchLimits::STANDARD
        };
        for (asked, model_max, context, expected) in [
            (r#""n":1"#, None, 4096, (160, 500)),
            (r#""max_tokens":7"#, None, 4096, (160, 7)),
            (r#""max_tokens":7,"n":3"#, None, 4096, (160, 21)),
            (r#""max_tokens":9999"#, Some(300), 4096, (160, 300)),
            (r#""max_tokens":9999"#, None, 128, (128, 128)),
            (r#""max_completion_tokens":5,"max_tokens":7"#, None, 4096, (160, 5)),
        ] {
            let body = format!(r#"{{"model":"m","messages":[{{}}],{asked}}}"#);
            let price = ModelPrice { row, completion_tokens_max: model_max };
            let peek = peek::chat(body.as_bytes()).unwrap();
            let plan = plan(&peek, 60, &price, context, &limits);
            assert_eq!((plan.prompt_max, plan.completion_max), expected, "{body}");
            let worst = plan.prompt_max + 2 * u64::from(plan.completion_max);
            assert_eq!(plan.amount.get(), worst, "{body}");
        }
    }
}
