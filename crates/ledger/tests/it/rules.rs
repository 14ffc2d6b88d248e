//! One row for each rule, refusals first.

use cocoon_ledger::{
    Account, AccountId, Applied, Book, Field, Limit, Rejection, Resolution, Side, Transfer,
    TransferId, TransferKind,
};
use cocoon_primitives::{Nano, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1000);
const LATER: Timestamp = Timestamp::from_millis(2000);

const SOURCE: u8 = 1;
const WALLET: u8 = 2;
const SINK: u8 = 3;
/// Receives only what it has given.
const MIRROR: u8 = 4;

fn nano(amount: u64) -> Nano {
    Nano::new(amount).expect("test amounts are small enough")
}

fn account(number: u8) -> AccountId {
    AccountId::from_bytes([number; 16])
}

fn transfer(number: u8, debit: u8, credit: u8, amount: u64, kind: TransferKind) -> Transfer {
    Transfer {
        id: TransferId::from_bytes([number; 16]),
        debit: account(debit),
        credit: account(credit),
        amount: nano(amount),
        kind,
        at: NOW,
    }
}

fn ends(number: u8) -> TransferId {
    TransferId::from_bytes([number; 16])
}

const HOLD: TransferKind = TransferKind::Pending { expires_at: LATER };

/// Transfer 1 gives the wallet 100; transfer 2 holds 60 of it for the sink.
fn book() -> Book {
    let mut book = Book::default();
    for (number, limit) in [
        (SOURCE, Limit::None),
        (WALLET, Limit::DebitsWithinCredits),
        (SINK, Limit::DebitsWithinCredits),
        (MIRROR, Limit::CreditsWithinDebits),
    ] {
        assert!(book.open(Account::new(account(number), limit)));
    }
    apply(&mut book, &transfer(1, SOURCE, WALLET, 100, TransferKind::Posted));
    apply(&mut book, &transfer(2, WALLET, SINK, 60, HOLD));
    book
}

fn apply(book: &mut Book, transfer: &Transfer) {
    let applied = book.apply(transfer).expect("the rules allow it");
    assert_ne!(applied, Applied::Exists);
}

fn totals(book: &Book, number: u8) -> [u64; 4] {
    let account = book.account(&account(number)).expect("an open account");
    [account.debits_pending, account.debits_posted, account.credits_pending, account.credits_posted]
        .map(Nano::get)
}

#[test]
fn refuses_what_the_rules_forbid() {
    use TransferKind::{ExpirePending, PostPending, Posted, VoidPending};
    let post = |number| PostPending { pending: ends(number) };
    let void = |number| VoidPending { pending: ends(number) };
    let expire = |number| ExpirePending { pending: ends(number) };
    let max = Nano::MAX.get();
    for (transfer, expected) in [
        (transfer(9, WALLET, WALLET, 1, Posted), Rejection::SameAccount),
        (transfer(9, 77, SINK, 1, Posted), Rejection::AccountNotFound(Side::Debit)),
        (transfer(9, WALLET, 77, 1, Posted), Rejection::AccountNotFound(Side::Credit)),
        // 40 of the wallet's 100 are free.
        (transfer(9, WALLET, SINK, 41, Posted), Rejection::ExceedsCredits { available: nano(40) }),
        (transfer(9, WALLET, SINK, 41, HOLD), Rejection::ExceedsCredits { available: nano(40) }),
        // Pending credits are not money yet.
        (transfer(9, SINK, WALLET, 1, Posted), Rejection::ExceedsCredits { available: nano(0) }),
        (transfer(9, SOURCE, MIRROR, 1, Posted), Rejection::ExceedsDebits { available: nano(0) }),
        (transfer(9, SOURCE, MIRROR, 1, HOLD), Rejection::ExceedsDebits { available: nano(0) }),
        (transfer(9, SOURCE, WALLET, max, Posted), Rejection::Overflow(Side::Debit)),
        (transfer(1, SOURCE, WALLET, 99, Posted), Rejection::ExistsWithDifferent(Field::Amount)),
        (transfer(1, SOURCE, SINK, 100, Posted), Rejection::ExistsWithDifferent(Field::Accounts)),
        (transfer(1, SOURCE, WALLET, 100, HOLD), Rejection::ExistsWithDifferent(Field::Kind)),
        (transfer(9, WALLET, SINK, 1, post(8)), Rejection::PendingNotFound),
        (transfer(9, SOURCE, WALLET, 1, post(1)), Rejection::NotPending),
        (transfer(9, WALLET, MIRROR, 1, post(2)), Rejection::PendingHasDifferent(Field::Accounts)),
        (
            transfer(9, WALLET, SINK, 61, post(2)),
            Rejection::ExceedsPendingAmount { pending: nano(60) },
        ),
        (transfer(9, WALLET, SINK, 59, void(2)), Rejection::PendingHasDifferent(Field::Amount)),
        (transfer(9, WALLET, SINK, 60, expire(2)), Rejection::NotYetExpired { expires_at: LATER }),
        (
            Transfer { at: LATER, ..transfer(9, WALLET, SINK, 59, expire(2)) },
            Rejection::PendingHasDifferent(Field::Amount),
        ),
        (
            Transfer { at: LATER, ..transfer(9, WALLET, SINK, 60, post(2)) },
            Rejection::PendingEnded(Resolution::Expired),
        ),
        (
            Transfer { at: LATER, ..transfer(9, WALLET, SINK, 60, void(2)) },
            Rejection::PendingEnded(Resolution::Expired),
        ),
    ] {
        let mut book = book();
        let before = book.totals();
        assert_eq!(book.apply(&transfer), Err(expected), "{transfer:?}");
        assert_eq!(book.totals(), before, "{transfer:?} changed something");
    }
}

#[test]
fn a_pending_transfer_ends_once() {
    use TransferKind::{ExpirePending, PostPending, VoidPending};
    let pending = ends(2);
    let ways = [
        (NOW, 25, PostPending { pending }, Resolution::Posted),
        (NOW, 60, VoidPending { pending }, Resolution::Voided),
        (LATER, 60, ExpirePending { pending }, Resolution::Expired),
    ];
    for (at, amount, kind, resolution) in ways {
        let mut book = book();
        let end = Transfer { at, ..transfer(3, WALLET, SINK, amount, kind) };
        apply(&mut book, &end);
        assert_eq!(book.apply(&end), Ok(Applied::Exists));
        for (at, amount, kind, _) in ways {
            let again = Transfer { at, ..transfer(4, WALLET, SINK, amount, kind) };
            assert_eq!(book.apply(&again), Err(Rejection::PendingEnded(resolution)), "{again:?}");
        }
    }
}

#[test]
fn posting_moves_a_part_and_lets_the_rest_go() {
    let mut book = book();
    assert_eq!(totals(&book, WALLET), [60, 0, 0, 100]);
    assert_eq!(totals(&book, SINK), [0, 0, 60, 0]);
    apply(
        &mut book,
        &transfer(3, WALLET, SINK, 25, TransferKind::PostPending { pending: ends(2) }),
    );
    assert_eq!(totals(&book, WALLET), [0, 25, 0, 100]);
    assert_eq!(totals(&book, SINK), [0, 0, 0, 25]);
}

#[test]
fn voiding_and_expiring_give_all_of_it_back() {
    let pending = ends(2);
    for (at, kind) in [
        (NOW, TransferKind::VoidPending { pending }),
        (LATER, TransferKind::ExpirePending { pending }),
    ] {
        let mut book = book();
        apply(&mut book, &Transfer { at, ..transfer(3, WALLET, SINK, 60, kind) });
        assert_eq!(totals(&book, WALLET), [0, 0, 0, 100]);
        assert_eq!(totals(&book, SINK), [0, 0, 0, 0]);
    }
}

#[test]
fn a_repeat_at_another_time_is_the_same_transfer() {
    let mut book = book();
    let again = Transfer { at: LATER, ..transfer(1, SOURCE, WALLET, 100, TransferKind::Posted) };
    assert_eq!(book.apply(&again), Ok(Applied::Exists));
    assert_eq!(totals(&book, WALLET), [60, 0, 0, 100]);
}

#[test]
fn what_is_available_can_be_spent_to_the_last() {
    let mut book = book();
    apply(&mut book, &transfer(3, WALLET, SINK, 40, HOLD));
    assert_eq!(totals(&book, WALLET), [100, 0, 0, 100]);
    apply(&mut book, &transfer(4, WALLET, SINK, 0, HOLD));
    apply(&mut book, &transfer(5, MIRROR, SINK, 7, TransferKind::Posted));
    apply(&mut book, &transfer(6, SOURCE, MIRROR, 7, TransferKind::Posted));
    assert!(book.totals().is_balanced());
}

#[test]
fn an_account_opens_once() {
    let mut book = book();
    assert!(!book.open(Account::new(account(WALLET), Limit::None)));
    assert_eq!(totals(&book, WALLET), [60, 0, 0, 100]);
}
