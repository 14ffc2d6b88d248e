//! How many tokens the prompts of a request may have.
//!
//! In a clear request the gateway computed the limit from the body, so that no prompt is over it.
//! In a sealed one the client states it, and pays by it: a prompt that is over it, or of which
//! nobody can say before the answer, is refused and never billed for less than it is.

use cocoon_metering::prompt_bound;
use cocoon_openai_wire::peek::Peek;
use cocoon_primitives::TokenCount;

use super::refusal::Refusal;
use crate::engine::ModelCard;

/// Prompt tokens that a chat template may add around a request's own text: what gateways reserve
/// by default, and `cocoon proxy` seals.
const TEMPLATE_ALLOWANCE_TOKENS: u64 = 1024;

/// The room for the prompts of one request, all of them together.
#[derive(Debug, Clone, Copy)]
pub(super) struct PromptRoom {
    max: u64,
    /// The most that the body can become.
    bound: u64,
    is_sealed: bool,
    /// The engine says how long a prompt is before it answers.
    is_counted: bool,
}

impl PromptRoom {
    /// `max` is what the terms allow; `body_bytes` are those of the opened body.
    pub(super) fn new(
        max: u64,
        is_sealed: bool,
        card: &ModelCard,
        peek: &Peek<'_>,
        body_bytes: usize,
    ) -> Self {
        // Each prompt has the context for itself.
        let contexts = u64::from(card.context_length).saturating_mul(u64::from(peek.prompts));
        let body_bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        let allowance = TokenCount::new(TEMPLATE_ALLOWANCE_TOKENS);
        let bound = prompt_bound(TokenCount::new(contexts), body_bytes, allowance).get();
        Self { max, bound, is_sealed, is_counted: card.counts_prompts }
    }

    /// Refuses, before the engine hears of them, prompts that nobody will count in time.
    pub(super) fn check_unread(&self) -> Result<(), Refusal> {
        if self.is_counted { Ok(()) } else { self.check(None) }
    }

    /// Refuses prompts of so many tokens; of `None` nobody can say yet.
    pub(super) fn check(&self, tokens: Option<u64>) -> Result<(), Refusal> {
        match tokens {
            Some(tokens) if tokens <= self.max => Ok(()),
            Some(_) if self.is_sealed => Err(Refusal::prompt_over_sealed_limit()),
            Some(_) => Err(Refusal::prompt_over_limit()),
            None if !self.is_sealed || self.bound <= self.max => Ok(()),
            None => Err(Refusal::sealed_limit_too_low(self.bound)),
        }
    }
}

#[cfg(test)]
mod tests {
    use cocoon_openai_wire::endpoint::Endpoint;
    use cocoon_openai_wire::peek;
    use cocoon_primitives::ModelKind;

    use super::*;

    fn room(max: u64, is_sealed: bool, is_counted: bool, prompts: &str) -> PromptRoom {
        let card = ModelCard {
            name: "m".parse().unwrap(),
            kind: ModelKind::Chat,
            embedding_dimensions: None,
            context_length: 100,
            counts_prompts: is_counted,
            manifest_digest: [0; 32],
            engine: "test",
            is_demo: false,
            owned_by: String::new(),
        };
        let body = format!(r#"{{"model":"m","prompt":{prompts}}}"#);
        let peek = peek::read(Endpoint::Completions, body.as_bytes()).unwrap();
        PromptRoom::new(max, is_sealed, &card, &peek, 10)
    }

    #[test]
    fn what_is_counted_is_held_to_the_limit() {
        for is_sealed in [false, true] {
            let room = room(7, is_sealed, true, r#""x""#);
            assert!(room.check_unread().is_ok() && room.check(Some(7)).is_ok());
            assert!(room.check(Some(8)).is_err());
        }
    }

    #[test]
    fn a_sealed_prompt_that_nobody_counts_needs_room_for_all_that_it_can_be() {
        for (prompts, bound) in [(r#""x""#, 100), (r#"["x","y"]"#, 200), ("[[1],[2],[3]]", 300)] {
            assert!(room(bound - 1, true, false, prompts).check_unread().is_err());
            assert!(room(bound, true, false, prompts).check_unread().is_ok());
            assert!(room(bound - 1, true, true, prompts).check(None).is_err());
            assert!(room(1, false, false, prompts).check_unread().is_ok());
        }
        // Ten bytes, and what a template adds: less than twelve contexts.
        let twelve = format!("[{}]", ["[1]"; 12].join(","));
        assert!(room(1033, true, false, &twelve).check_unread().is_err());
        assert!(room(1034, true, false, &twelve).check_unread().is_ok());
    }
}
