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
    /// Prompt tokens that a worker may have to read, whatever is charged for them.
    pub(crate) prompt_work: u64,
    /// Of each prompt: one for each of its choices.
    pub(crate) readings: u32,
    pub(crate) amount: Nano,
}

impl Plan {
    /// Tokens that a worker may have to work through. A prompt is charged once and read once for
    /// each choice, so this is more than what can be charged for.
    pub(crate) fn work_max(&self) -> u64 {
        work(self.prompt_work, self.readings, self.completion_max.into())
    }

    /// The same as far as it is paid for: of a sealed request the rest is only suspected, and no
    /// reason to refuse it for good.
    pub(crate) fn work_stated(&self) -> u64 {
        work(self.prompt_max, 1, self.completion_max.into())
    }
}

/// Tokens that were worked through.
pub(crate) fn work(prompt: u64, readings: u32, completion: u64) -> u64 {
    prompt.saturating_mul(u64::from(readings)).saturating_add(completion)
}

pub(crate) fn plan(
    peek: &Peek<'_>,
    body_bytes: usize,
    price: &ModelPrice,
    context_length: u64,
    limits: &DispatchLimits,
) -> Plan {
    // Each prompt has the context for itself.
    let contexts = TokenCount::new(context_length.saturating_mul(u64::from(peek.prompts)));
    let body_bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
    let allowance = TokenCount::new(limits.template_allowance_tokens);
    let prompt_max = prompt_bound(contexts, body_bytes, allowance);
    let choice_max = TokenCount::new(choice_max(price, context_length, limits));
    let asked = peek.max_tokens.map(TokenCount::new);
    let one_choice = completion_limit(asked, choice_max, choice_max);
    let all_choices = one_choice.get().saturating_mul(u64::from(peek.choices));
    let completion_max = u32::try_from(all_choices).unwrap_or(u32::MAX);
    let amount = quote(&price.row, prompt_max, TokenCount::new(u64::from(completion_max)));
    // Of embeddings there are no choices, and each input is read all the same.
    let readings = peek.choices.checked_div(peek.prompts).unwrap_or(0).max(1);
    let prompt_max = prompt_max.get();
    Plan { price: price.row, prompt_max, completion_max, prompt_work: prompt_max, readings, amount }
}

/// Completion tokens that one choice may have, whatever was asked for.
pub(crate) fn choice_max(price: &ModelPrice, context_length: u64, limits: &DispatchLimits) -> u64 {
    let model_max = price.completion_tokens_max.unwrap_or(u64::MAX);
    context_length.min(model_max).min(limits.completion_tokens_max)
}

#[cfg(test)]
mod tests {
    use cocoon_openai_wire::endpoint::Endpoint;
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
        let asked = |body: &str, endpoint, model_max, context| {
            let price = ModelPrice { row, completion_tokens_max: model_max };
            let peek = peek::read(endpoint, body.as_bytes()).unwrap();
            let plan = plan(&peek, 60, &price, context, &limits);
            let worst = plan.prompt_max + 2 * u64::from(plan.completion_max);
            assert_eq!(plan.amount.get(), worst, "{body}");
            let work = plan.prompt_max * u64::from(plan.readings) + u64::from(plan.completion_max);
            assert_eq!(plan.work_max(), work, "{body}");
            (plan.prompt_max, plan.completion_max, plan.readings)
        };
        for (fields, model_max, context, expected) in [
            (r#""n":1"#, None, 4096, (160, 500, 1)),
            (r#""max_tokens":7"#, None, 4096, (160, 7, 1)),
            (r#""max_tokens":7,"n":3"#, None, 4096, (160, 21, 3)),
            (r#""max_tokens":9999"#, Some(300), 4096, (160, 300, 1)),
            (r#""max_tokens":9999"#, None, 128, (128, 128, 1)),
            (r#""max_completion_tokens":5,"max_tokens":7"#, None, 4096, (160, 5, 1)),
        ] {
            let body = format!(r#"{{"model":"m","messages":[{{}}],{fields}}}"#);
            let planned = asked(&body, Endpoint::ChatCompletions, model_max, context);
            assert_eq!(planned, expected, "{body}");
        }
        use Endpoint::{Completions, Embeddings, Responses};
        for (endpoint, fields, context, expected) in [
            (Responses, r#""input":"x""#, 4096, (160, 500, 1)),
            (Responses, r#""input":[],"max_output_tokens":9"#, 4096, (160, 9, 1)),
            (Completions, r#""prompt":"x""#, 4096, (160, 16, 1)),
            (Completions, r#""prompt":["x","y"],"n":3,"max_tokens":5"#, 4096, (160, 30, 3)),
            // Each prompt has the context for itself, the body they share.
            (Completions, r#""prompt":["x","y"],"max_tokens":5"#, 64, (128, 10, 1)),
            (Completions, r#""prompt":[1,2],"max_tokens":5"#, 64, (64, 5, 1)),
            (Embeddings, r#""input":"x""#, 64, (64, 0, 1)),
            (Embeddings, r#""input":["x","y"]"#, 64, (128, 0, 1)),
            (Embeddings, r#""input":[[1],[2],[3]],"max_tokens":5"#, 64, (160, 0, 1)),
        ] {
            let body = format!(r#"{{"model":"m",{fields}}}"#);
            assert_eq!(asked(&body, endpoint, None, context), expected, "{body}");
        }
    }

    /// The count of all choices goes to workers in 32 bits.
    #[test]
    fn the_greatest_numbers_saturate() {
        let price = ModelPrice { row: PriceRow::default(), completion_tokens_max: None };
        let limits = DispatchLimits { completion_tokens_max: u64::MAX, ..DispatchLimits::STANDARD };
        let body = br#"{"model":"m","messages":[{}],"n":128}"#;
        let peek = peek::read(Endpoint::ChatCompletions, body).unwrap();
        let plan = plan(&peek, usize::MAX, &price, u64::MAX, &limits);
        assert_eq!((plan.prompt_max, plan.completion_max), (u64::MAX, u32::MAX));
        assert_eq!(plan.work_max(), u64::MAX);
    }
}
