//! An account: four running totals and a limit. Nothing else is a balance.

use cocoon_primitives::Nano;

use crate::AccountId;

/// What an account must never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// A source or sink of the system's boundary.
    None,
    /// It cannot spend more than it was given: `debits pending + posted ≤ credits posted`.
    DebitsWithinCredits,
    /// The mirror image: `credits pending + posted ≤ debits posted`.
    CreditsWithinDebits,
}

/// An account. Totals only grow, but for the pending ones, which shrink when a transfer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    pub limit: Limit,
    pub debits_pending: Nano,
    pub debits_posted: Nano,
    pub credits_pending: Nano,
    pub credits_posted: Nano,
}

impl Account {
    /// An account that nothing has touched.
    #[must_use]
    pub const fn new(id: AccountId, limit: Limit) -> Self {
        Self {
            id,
            limit,
            debits_pending: Nano::ZERO,
            debits_posted: Nano::ZERO,
            credits_pending: Nano::ZERO,
            credits_posted: Nano::ZERO,
        }
    }

    /// What may still be debited from an account that is limited by its credits: posted credits
    /// less posted and pending debits. Pending credits are not money yet.
    #[must_use]
    pub fn available(&self) -> Nano {
        self.credits_posted.saturating_sub(self.debits_posted).saturating_sub(self.debits_pending)
    }

    /// The mirror image, for an account that is limited by its debits.
    #[must_use]
    pub fn owed(&self) -> Nano {
        self.debits_posted.saturating_sub(self.credits_posted).saturating_sub(self.credits_pending)
    }

    /// Whether the totals keep to the limit.
    #[must_use]
    pub fn is_within_limit(&self) -> bool {
        let within = |pending: Nano, posted: Nano, bound: Nano| {
            pending.checked_add(posted).is_some_and(|total| total <= bound)
        };
        match self.limit {
            Limit::None => true,
            Limit::DebitsWithinCredits => {
                within(self.debits_pending, self.debits_posted, self.credits_posted)
            }
            Limit::CreditsWithinDebits => {
                within(self.credits_pending, self.credits_posted, self.debits_posted)
            }
        }
    }
}
