//! Random histories against a model that keeps nothing but the list of what happened.

use cocoon_ledger::{Account, AccountId, Applied, Book, Limit, Transfer, TransferId, TransferKind};
use cocoon_primitives::{Nano, Timestamp};
use proptest::prelude::*;

const LIMITS: [Limit; 5] = [
    Limit::None,
    Limit::DebitsWithinCredits,
    Limit::DebitsWithinCredits,
    Limit::CreditsWithinDebits,
    Limit::DebitsWithinCredits,
];

/// Sums in `i128` over the whole history, every time. Slow, and too simple to be wrong.
#[derive(Default)]
struct Model {
    history: Vec<Transfer>,
}

#[derive(Default, PartialEq, Eq, Debug)]
struct Sums {
    debits_pending: i128,
    debits_posted: i128,
    credits_pending: i128,
    credits_posted: i128,
}

impl Model {
    fn find(&self, id: TransferId) -> Option<&Transfer> {
        self.history.iter().find(|transfer| transfer.id == id)
    }

    fn is_ended(&self, id: TransferId) -> bool {
        self.history.iter().any(|transfer| transfer.kind.ends() == Some(id))
    }

    fn sums(&self, account: AccountId) -> Sums {
        let mut sums = Sums::default();
        for transfer in &self.history {
            let amount = i128::from(transfer.amount.get());
            let (pending, posted) = match transfer.kind {
                TransferKind::Posted | TransferKind::PostPending { .. } => (0, amount),
                TransferKind::Pending { .. } if !self.is_ended(transfer.id) => (amount, 0),
                _ => (0, 0),
            };
            if transfer.debit == account {
                sums.debits_pending += pending;
                sums.debits_posted += posted;
            }
            if transfer.credit == account {
                sums.credits_pending += pending;
                sums.credits_posted += posted;
            }
        }
        sums
    }

    fn has_room(&self, transfer: &Transfer) -> bool {
        let amount = i128::from(transfer.amount.get());
        let (debit, credit) = (self.sums(transfer.debit), self.sums(transfer.credit));
        let spends = limit_of(transfer.debit) != Limit::DebitsWithinCredits
            || debit.debits_pending + debit.debits_posted + amount <= debit.credits_posted;
        let receives = limit_of(transfer.credit) != Limit::CreditsWithinDebits
            || credit.credits_pending + credit.credits_posted + amount <= credit.debits_posted;
        spends && receives
    }

    fn may_end(&self, transfer: &Transfer, id: TransferId) -> bool {
        let Some(held) = self.find(id) else { return false };
        let TransferKind::Pending { expires_at } = held.kind else { return false };
        let fits = match transfer.kind {
            TransferKind::PostPending { .. } => {
                transfer.at < expires_at && transfer.amount <= held.amount
            }
            TransferKind::VoidPending { .. } => {
                transfer.at < expires_at && transfer.amount == held.amount
            }
            _ => transfer.at >= expires_at && transfer.amount == held.amount,
        };
        fits && (held.debit, held.credit) == (transfer.debit, transfer.credit) && !self.is_ended(id)
    }

    /// Whether the transfer is allowed; it is remembered if it is new.
    fn apply(&mut self, transfer: &Transfer) -> bool {
        if let Some(existing) = self.find(transfer.id) {
            return Transfer { at: transfer.at, ..*existing } == *transfer;
        }
        let allowed = transfer.debit != transfer.credit
            && match transfer.kind.ends() {
                None => self.has_room(transfer),
                Some(id) => self.may_end(transfer, id),
            };
        if allowed {
            self.history.push(*transfer);
        }
        allowed
    }
}

fn account(number: usize) -> AccountId {
    let number = u8::try_from(number).expect("a few accounts");
    AccountId::from_bytes([number; 16])
}

fn limit_of(id: AccountId) -> Limit {
    LIMITS[usize::from(id.as_bytes()[0])]
}

fn id(number: u8) -> TransferId {
    TransferId::from_bytes([number; 16])
}

prop_compose! {
    /// A transfer out of few ids, accounts, amounts and times, so that histories collide.
    fn any_transfer()(
        number in 0u8..40, debit in 0..LIMITS.len(), credit in 0..LIMITS.len(),
        amount in 0u64..30, at in 0u64..20, lifetime in 0u64..20, ends in 0u8..40, kind in 0u8..8,
        follows in any::<bool>(),
    ) -> (Transfer, bool) {
        let pending = id(ends);
        let expires_at = Timestamp::from_millis(at + lifetime);
        let kind = match kind {
            0 | 1 => TransferKind::Posted,
            2..=4 => TransferKind::Pending { expires_at },
            5 => TransferKind::PostPending { pending },
            6 => TransferKind::VoidPending { pending },
            _ => TransferKind::ExpirePending { pending },
        };
        let transfer = Transfer {
            id: id(number),
            debit: account(debit),
            credit: account(credit),
            amount: Nano::new(amount).expect("small"),
            kind,
            at: Timestamp::from_millis(at),
        };
        (transfer, follows)
    }
}

/// Half of the transfers that end another are made to fit it, or few would be allowed.
fn aimed(transfer: Transfer, follows: bool, model: &Model) -> Transfer {
    let held = transfer.kind.ends().and_then(|id| model.find(id));
    let Some(held) = held.filter(|_| follows) else { return transfer };
    let amount = match transfer.kind {
        TransferKind::PostPending { .. } => transfer.amount.min(held.amount),
        _ => held.amount,
    };
    Transfer { debit: held.debit, credit: held.credit, amount, ..transfer }
}

proptest! {
    #[test]
    fn every_history_agrees_with_the_model(
        operations in prop::collection::vec(any_transfer(), 1..120),
    ) {
        let mut book = Book::default();
        for (number, limit) in LIMITS.into_iter().enumerate() {
            book.open(Account::new(account(number), limit));
        }
        let mut model = Model::default();
        for (transfer, follows) in operations {
            let transfer = aimed(transfer, follows, &model);
            let known = model.history.len();
            let allowed = model.apply(&transfer);
            let applied = book.apply(&transfer);
            prop_assert_eq!(applied.is_ok(), allowed, "{:?}: {:?}", transfer, applied);
            if allowed {
                let is_new = model.history.len() > known;
                prop_assert_eq!(applied != Ok(Applied::Exists), is_new);
            }
            prop_assert!(book.totals().is_balanced());
            for number in 0..LIMITS.len() {
                let held = book.account(&account(number)).expect("open from the start");
                let sums = Sums {
                    debits_pending: held.debits_pending.get().into(),
                    debits_posted: held.debits_posted.get().into(),
                    credits_pending: held.credits_pending.get().into(),
                    credits_posted: held.credits_posted.get().into(),
                };
                prop_assert_eq!(sums, model.sums(account(number)));
                prop_assert!(held.is_within_limit());
            }
        }
    }
}
