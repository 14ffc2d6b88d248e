//! The comparison: what clients saw, beside what the gateway's books say. Pure.
//!
//! What must hold whatever was killed and when:
//! 1. the ledger's accounts add up to zero and it reports no problem of its own;
//! 2. no reservation is open beyond its timeout;
//! 3. each request is charged at most once, and at most its reservation;
//! 4. an answer that its client saw to the end is charged exactly what its usage costs;
//! 5. the wallet's balance is what it was credited, less the sum of those charges;
//! 6. an answer that its client saw to the end has a countersigned receipt, of the same usage and charge.

use std::collections::HashMap;

use cocoon_metering::{PriceRow, Usage};
use cocoon_primitives::TokenCount;
use serde::Serialize;

use super::receipts::{Receipts, Statement};
use crate::record::{self, Outcome, Record};

/// One request in the gateway's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) request_id: String,
    pub(crate) reserved_nano: u64,
    /// As the request's row has it.
    pub(crate) charged_nano: u64,
    /// As the ledger's transfers have it, and how many they are.
    pub(crate) posted_nano: u64,
    pub(crate) charges: u64,
    pub(crate) is_open: bool,
    pub(crate) expires_at_ms: u64,
}

/// Everything that the gateway says: its API before it stopped, its database afterwards.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) rows: Vec<Row>,
    pub(crate) ledger_sum: i64,
    pub(crate) ledger_problems: Vec<String>,
    /// Every transfer out of a wallet, whatever it was for.
    pub(crate) wallet_charges: u64,
    pub(crate) wallet_charged_nano: u64,
    /// From the balance API.
    pub(crate) credited_nano: u64,
    pub(crate) charged_nano: u64,
    pub(crate) reserved_nano: u64,
    pub(crate) available_nano: u64,
    /// From the usage API.
    pub(crate) usage_charged_nano: u64,
    /// From the receipts API.
    pub(crate) receipts: Receipts,
}

#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) requests_in_books: usize,
    pub(crate) charged_requests: usize,
    pub(crate) charged_nano: u64,
    pub(crate) exact_charges_checked: usize,
    pub(crate) receipts_verified: usize,
    pub(crate) violations: Vec<String>,
}

pub(crate) fn judge(records: &[Record], books: &Books, price: &PriceRow, now_ms: u64) -> Verdict {
    let mut violations = books.ledger_problems.clone();
    if books.ledger_sum != 0 {
        violations.push(format!("the ledger's accounts add up to {}", books.ledger_sum));
    }
    violations.extend(books.rows.iter().flat_map(|row| row_violations(row, now_ms)));
    violations.extend(balance_violations(books));
    let charged = u64::try_from(books.rows.iter().filter(|row| row.charges > 0).count());
    if charged != Ok(books.wallet_charges) {
        violations.push(format!("{charged:?} requests and {} charges", books.wallet_charges));
    }
    let by_id: HashMap<&str, &Row> =
        books.rows.iter().map(|row| (row.request_id.as_str(), row)).collect();
    if by_id.len() != books.rows.len() {
        violations.push("a request id stands in the books twice".to_owned());
    }
    let completed: Vec<&Record> =
        records.iter().filter(|record| record.outcome == Outcome::Completed).collect();
    violations
        .extend(completed.iter().filter_map(|record| charge_violation(record, &by_id, price)));
    let unproven: Vec<String> =
        completed.iter().filter_map(|record| receipt_violation(record, books, &by_id)).collect();
    let receipts_verified = completed.len() - unproven.len();
    violations.extend(unproven);
    Verdict {
        requests_in_books: books.rows.len(),
        charged_requests: books.rows.iter().filter(|row| row.charges > 0).count(),
        charged_nano: books.charged_nano,
        exact_charges_checked: completed.len(),
        receipts_verified,
        violations,
    }
}

fn row_violations(row: &Row, now_ms: u64) -> Vec<String> {
    let id = &row.request_id;
    let mut found = Vec::new();
    if row.charges > 1 {
        found.push(format!("{id} was charged {} times", row.charges));
    }
    if row.charged_nano != row.posted_nano {
        let (charged, posted) = (row.charged_nano, row.posted_nano);
        found.push(format!("{id} says {charged} nano and its transfers {posted}"));
    }
    if row.charged_nano > row.reserved_nano {
        let (charged, reserved) = (row.charged_nano, row.reserved_nano);
        found.push(format!("{id} was charged {charged} nano and had reserved {reserved}"));
    }
    if row.is_open && row.expires_at_ms < now_ms {
        found.push(format!("the reservation of {id} is open beyond its timeout"));
    }
    found
}

fn balance_violations(books: &Books) -> Vec<String> {
    let row_sum: u64 = books.rows.iter().map(|row| row.charged_nano).sum();
    let open_sum: u64 =
        books.rows.iter().filter(|row| row.is_open).map(|row| row.reserved_nano).sum();
    let spent = books.charged_nano + books.reserved_nano;
    let equal = [
        ("the charges of all requests and the wallet's", row_sum, books.charged_nano),
        (
            "the transfers out of wallets and the wallet's charges",
            books.wallet_charged_nano,
            books.charged_nano,
        ),
        ("the usage page's charges and the wallet's", books.usage_charged_nano, books.charged_nano),
        ("the open reservations and the wallet's", open_sum, books.reserved_nano),
        (
            "credit, and charges + reservations + what is left",
            books.credited_nano,
            spent + books.available_nano,
        ),
    ];
    equal
        .into_iter()
        .filter(|(_, left, right)| left != right)
        .map(|(what, left, right)| format!("{what} differ: {left} and {right} nano"))
        .collect()
}

/// The durable promise: what a client saw to its end had been charged, exactly, before it saw that end.
fn charge_violation(
    record: &Record,
    by_id: &HashMap<&str, &Row>,
    price: &PriceRow,
) -> Option<String> {
    let Some(id) = record.request_id.as_deref() else {
        return Some(format!("request {} was answered without x-request-id", record.index));
    };
    let Some(usage) = record.usage else {
        return Some(format!("{id} was completed without usage"));
    };
    let Some(row) = by_id.get(id) else {
        return Some(format!("{id} was completed and is not in the books"));
    };
    let cost = cost_nano(price, usage);
    (row.charged_nano != cost)
        .then(|| format!("{id} costs {cost} nano and was charged {}", row.charged_nano))
}

/// The proof that stays with the payer: what it saw and what it paid, signed by both.
fn receipt_violation(
    record: &Record,
    books: &Books,
    by_id: &HashMap<&str, &Row>,
) -> Option<String> {
    let id = record.request_id.as_deref().unwrap_or("an answer without x-request-id");
    let receipt = match books.receipts.get(id) {
        None => return Some(format!("{id} was completed and no receipt was asked for")),
        Some(Err(why)) => return Some(format!("{id} has no valid receipt: {why}")),
        Some(Ok(statement)) => statement,
    };
    let seen = record
        .usage
        .zip(by_id.get(id))
        .map(|(usage, row)| Statement { usage, charge_nano: row.charged_nano });
    (seen != Some(*receipt))
        .then(|| format!("{id} has a receipt of {receipt:?}; the client and the books: {seen:?}"))
}

pub(crate) fn cost_nano(price: &PriceRow, usage: record::Usage) -> u64 {
    let usage = Usage {
        prompt: TokenCount::new(usage.prompt),
        cached: TokenCount::new(usage.cached),
        completion: TokenCount::new(usage.completion),
        reasoning: TokenCount::new(0),
    };
    cocoon_metering::charge(price, &usage).get()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cocoon_primitives::{Nano, TokenPrice};

    use super::*;

    type Change = fn(&mut Vec<Record>, &mut Books);

    fn price() -> PriceRow {
        let row = |nano| TokenPrice::per_million(Nano::new(nano).unwrap());
        PriceRow { prompt: row(1_000_000), cached: row(1_000_000), completion: row(2_000_000) }
    }

    fn receipt() -> Statement {
        let usage = record::Usage { prompt: 3, cached: 0, completion: 4 };
        Statement { usage, charge_nano: 11 }
    }

    /// One completed request of 3 + 4 tokens, which cost 11, and its books.
    fn exact() -> (Vec<Record>, Books) {
        let record = Record {
            index: 0,
            outcome: Outcome::Completed,
            request_id: Some("req_a".to_owned()),
            usage: Some(receipt().usage),
            first_token: None,
            total: Duration::ZERO,
        };
        let row = Row {
            request_id: "req_a".to_owned(),
            reserved_nano: 50,
            charged_nano: 11,
            posted_nano: 11,
            charges: 1,
            is_open: false,
            expires_at_ms: 10,
        };
        let books = Books {
            rows: vec![row],
            wallet_charges: 1,
            wallet_charged_nano: 11,
            credited_nano: 100,
            charged_nano: 11,
            available_nano: 89,
            usage_charged_nano: 11,
            receipts: HashMap::from([("req_a".to_owned(), Ok(receipt()))]),
            ..Books::default()
        };
        (vec![record], books)
    }

    fn violations(change: impl FnOnce(&mut Vec<Record>, &mut Books)) -> Vec<String> {
        let (mut records, mut books) = exact();
        change(&mut records, &mut books);
        judge(&records, &books, &price(), 20).violations
    }

    fn put(books: &mut Books, receipt: Result<Statement, String>) {
        books.receipts.insert("req_a".to_owned(), receipt);
    }

    #[test]
    fn exact_books_pass() {
        let (records, books) = exact();
        let verdict = judge(&records, &books, &price(), 20);
        assert_eq!(verdict.violations, Vec::<String>::new());
        assert_eq!((verdict.exact_charges_checked, verdict.receipts_verified), (1, 1));
    }

    #[test]
    fn every_kind_of_wrong_books_is_found() {
        let wrong: [(&str, Change); 15] = [
            ("the sum is not zero", |_, books| books.ledger_sum = 1),
            ("the ledger says so itself", |_, books| books.ledger_problems.push("x".to_owned())),
            ("charged twice", |_, books| books.rows[0].charges = 2),
            ("charged for nothing", |_, books| books.wallet_charges = 2),
            ("the row and its transfers differ", |_, books| books.rows[0].posted_nano = 10),
            ("more than reserved", |_, books| books.rows[0].reserved_nano = 10),
            ("open beyond its timeout", |_, books| {
                books.rows[0].is_open = true;
                books.reserved_nano = 50;
                books.available_nano = 39;
            }),
            ("not the cost", |records, _| records[0].usage.as_mut().unwrap().completion = 5),
            ("completed and unknown", |_, books| books.rows[0].request_id = "req_b".to_owned()),
            ("money is missing", |_, books| books.available_nano = 88),
            ("usage disagrees", |_, books| books.usage_charged_nano = 10),
            ("no receipt", |_, books| books.receipts.clear()),
            ("no valid receipt", |_, books| put(books, Err("forged".to_owned()))),
            ("a receipt of another charge", |_, books| {
                put(books, Ok(Statement { charge_nano: 10, ..receipt() }));
            }),
            ("a receipt of another usage", |_, books| {
                let usage = record::Usage { cached: 1, ..receipt().usage };
                put(books, Ok(Statement { usage, ..receipt() }));
            }),
        ];
        for (what, change) in wrong {
            assert!(!violations(change).is_empty(), "not found: {what}");
        }
    }
}
