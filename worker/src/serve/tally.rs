//! What an answer has used so far, choice by choice.
//!
//! Pure. A prompt is counted once, however many choices go on from it.

use cocoon_attest::receipt::Usage;

use crate::engine::{self, Channel};

/// The counts of all choices, and their running sum.
pub(super) struct Tally {
    choices: Vec<engine::Usage>,
    /// Choices that share a prompt stand next to each other.
    per_prompt: usize,
    /// Completion tokens of one choice at most.
    limit: u64,
    /// Completion tokens of all choices.
    completion: u64,
}

impl Tally {
    pub(super) fn new(choices: u32, per_prompt: u32, limit: u32) -> Self {
        let size = |count: u32| usize::try_from(count).unwrap_or(1).max(1);
        Self {
            choices: vec![engine::Usage::default(); size(choices)],
            per_prompt: size(per_prompt),
            limit: limit.into(),
            completion: 0,
        }
    }

    pub(super) fn started(&mut self, choice: u32, prompt_tokens: u64) {
        if let Some(usage) = self.of(choice) {
            usage.prompt = prompt_tokens;
        }
    }

    /// Moves a choice's count on. False where that would be over its limit: then nothing changes.
    pub(super) fn count_up(&mut self, choice: u32, completion: u32, channel: Channel) -> bool {
        let completion = u64::from(completion);
        if completion > self.limit {
            return false;
        }
        let Some(usage) = self.of(choice) else { return true };
        let new = completion.saturating_sub(usage.completion);
        usage.completion += new;
        if channel == Channel::Reasoning {
            usage.reasoning += new;
        }
        self.completion += new;
        true
    }

    /// Takes a choice's last word on its tokens, which never falls behind what was counted, nor
    /// goes over the limit: true where it would.
    pub(super) fn finished(&mut self, choice: u32, last: engine::Usage) -> bool {
        let limit = self.limit;
        let Some(usage) = self.of(choice) else { return false };
        let counted = usage.completion;
        let said = last.completion.max(counted);
        *usage = engine::Usage { completion: said.min(limit), ..last };
        let new = usage.completion - counted;
        self.completion += new;
        said > limit
    }

    /// Completion tokens of all choices so far: what every frame states.
    pub(super) fn cumulative(&self) -> u32 {
        u32::try_from(self.completion).unwrap_or(u32::MAX)
    }

    /// The sum: prompts once each, completions of all choices.
    pub(super) fn usage(&self) -> Usage {
        let mut sum = Usage { prompt: 0, cached: 0, completion: self.completion, reasoning: 0 };
        for prompt in self.choices.chunks(self.per_prompt) {
            let most = |of: fn(&engine::Usage) -> u64| prompt.iter().map(of).max().unwrap_or(0);
            sum.prompt = sum.prompt.saturating_add(most(|usage| usage.prompt));
            sum.cached = sum.cached.saturating_add(most(|usage| usage.cached));
        }
        for usage in &self.choices {
            sum.reasoning = sum.reasoning.saturating_add(usage.reasoning);
        }
        sum
    }

    fn of(&mut self, choice: u32) -> Option<&mut engine::Usage> {
        self.choices.get_mut(usize::try_from(choice).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(prompt: u64, completion: u64) -> engine::Usage {
        engine::Usage { prompt, cached: 1, completion, reasoning: 0 }
    }

    #[test]
    fn a_prompt_counts_once_and_completions_add_up() {
        // Two prompts with two choices each.
        let mut tally = Tally::new(4, 2, 10);
        tally.started(0, 5);
        tally.started(2, 7);
        assert!(tally.count_up(0, 3, Channel::Content));
        assert!(tally.count_up(1, 2, Channel::Reasoning));
        assert_eq!(tally.cumulative(), 5);
        for (choice, prompt, completion) in [(0, 5, 4), (1, 5, 2), (2, 7, 1), (3, 7, 1)] {
            assert!(!tally.finished(choice, used(prompt, completion)));
        }
        let expected = Usage { prompt: 12, cached: 2, completion: 8, reasoning: 0 };
        assert_eq!((tally.usage(), tally.cumulative()), (expected, 8));
    }

    #[test]
    fn no_choice_counts_over_its_limit_or_backwards() {
        let mut tally = Tally::new(2, 2, 4);
        assert!(tally.count_up(0, 4, Channel::Content));
        assert!(!tally.count_up(0, 5, Channel::Content));
        assert!(tally.count_up(0, 2, Channel::Content));
        assert!(!tally.finished(0, used(1, 1)));
        assert!(tally.finished(1, used(1, 9)));
        assert_eq!(tally.cumulative(), 8);
    }
}
