//! The ledger against itself: every account recomputed from the transfers, every request from
//! its transfers, every key from its requests.

use cocoon_ledger::{AccountKind, Totals};
use cocoon_primitives::Nano;
use rusqlite::Row;

use crate::column::Sql;
use crate::posting::kind_of;
use crate::request::{REQUEST_COLUMNS, request_row};
use crate::reservation::OpenReservation;
use crate::tx::Tx;
use crate::{Store, StoreError};

/// Problems that a report lists; after these it only says that there are more.
const PROBLEMS_MAX: usize = 100;

/// What an audit of one snapshot found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerReport {
    pub accounts: u64,
    pub transfers: u64,
    /// Debits less credits over all accounts, posted and pending. Anything but zero is a defect.
    pub sum: i128,
    pub open_reservations: Vec<OpenReservation>,
    /// In words, for a person; empty where all is well.
    pub problems: Vec<String>,
}

impl LedgerReport {
    /// Whether nothing is wrong. Open reservations are not wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.sum == 0 && self.problems.is_empty()
    }
}

impl Store {
    /// Audits the whole ledger on one snapshot. Reads every transfer.
    pub async fn check(&self) -> Result<LedgerReport, StoreError> {
        self.read("ledger.check", check).await
    }
}

fn check(tx: &Tx<'_>) -> Result<LedgerReport, StoreError> {
    let mut problems = Vec::new();
    let mut totals = Totals::default();
    let mut accounts = 0;
    for line in lines(tx)? {
        accounts += 1;
        line.add_to(&mut totals);
        line.compare(&mut problems);
    }
    if !totals.is_balanced() {
        problems.push(format!("debits and credits differ: {totals:?}"));
    }
    for (what, sql) in RULES {
        let subjects = tx.all(sql, (), |row| row.get::<_, String>(0))?;
        problems.extend(subjects.into_iter().map(|subject| format!("{what}: {subject}")));
    }
    if problems.len() > PROBLEMS_MAX {
        problems.truncate(PROBLEMS_MAX);
        problems.push("and more".to_owned());
    }
    Ok(LedgerReport {
        accounts,
        transfers: tx.get("-- transfer.count\nSELECT count(*) FROM transfers", (), count)?,
        sum: difference(&totals),
        open_reservations: open_reservations(tx)?,
        problems,
    })
}

fn count(row: &Row<'_>) -> rusqlite::Result<u64> {
    row.get::<_, Sql<Nano>>(0).map(|number| number.0.get())
}

fn difference(totals: &Totals) -> i128 {
    let signed = |sum: u128| i128::try_from(sum).unwrap_or(i128::MAX);
    signed(totals.debits_posted) - signed(totals.credits_posted) + signed(totals.debits_pending)
        - signed(totals.credits_pending)
}

fn open_reservations(tx: &Tx<'_>) -> Result<Vec<OpenReservation>, StoreError> {
    let rows = tx.all(
        &format!(
            "-- reservation.open\nSELECT {REQUEST_COLUMNS} FROM requests WHERE state = 0 ORDER BY expires_at"
        ),
        (),
        request_row,
    )?;
    Ok(rows.into_iter().map(OpenReservation::from).collect())
}

/// Four totals: debits pending and posted, credits pending and posted.
type Sums = [Nano; 4];

/// An account's stored totals beside the same four sums over its transfers.
struct Line {
    account: String,
    kind: AccountKind,
    stored: Sums,
    computed: Sums,
}

impl Line {
    fn add_to(&self, totals: &mut Totals) {
        let [debits_pending, debits_posted, credits_pending, credits_posted] =
            self.stored.map(|sum| u128::from(sum.get()));
        totals.debits_pending += debits_pending;
        totals.debits_posted += debits_posted;
        totals.credits_pending += credits_pending;
        totals.credits_posted += credits_posted;
    }

    fn compare(&self, problems: &mut Vec<String>) {
        if self.stored != self.computed {
            problems.push(format!(
                "{} account {} holds {:?} but its transfers make {:?}",
                self.kind.as_str(),
                self.account,
                self.stored,
                self.computed
            ));
        }
    }
}

fn lines(tx: &Tx<'_>) -> Result<Vec<Line>, StoreError> {
    let sums = |row: &Row<'_>, first: usize| -> rusqlite::Result<Sums> {
        let mut sums = [Nano::ZERO; 4];
        for (offset, sum) in sums.iter_mut().enumerate() {
            *sum = row.get::<_, Sql<Nano>>(first + offset)?.0;
        }
        Ok(sums)
    };
    tx.all(
        "-- ledger.lines
         WITH moves AS (
           SELECT debit, credit, amount,
             kind IN (1, 3) AS is_posted,
             kind = 2 AND NOT EXISTS (SELECT 1 FROM transfers e WHERE e.pending = t.id) AS is_held
           FROM transfers t),
         debits AS (
           SELECT debit AS id, sum(amount * is_held) AS held, sum(amount * is_posted) AS posted
           FROM moves GROUP BY debit),
         credits AS (
           SELECT credit AS id, sum(amount * is_held) AS held, sum(amount * is_posted) AS posted
           FROM moves GROUP BY credit)
         SELECT lower(hex(a.id)), a.kind,
           a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted,
           coalesce(debits.held, 0), coalesce(debits.posted, 0),
           coalesce(credits.held, 0), coalesce(credits.posted, 0)
         FROM accounts a
         LEFT JOIN debits ON debits.id = a.id LEFT JOIN credits ON credits.id = a.id",
        (),
        |row| {
            Ok(Line {
                account: row.get(0)?,
                kind: kind_of(row, 1)?,
                stored: sums(row, 2)?,
                computed: sums(row, 6)?,
            })
        },
    )
}

/// What must hold for every row; each text finds the rows for which it does not.
const RULES: [(&str, &str); 7] = [
    (
        "the file is damaged",
        "-- ledger.check_file
         SELECT quick_check FROM pragma_quick_check WHERE quick_check <> 'ok' LIMIT 100",
    ),
    (
        "a row refers to one that is not there",
        "-- ledger.check_references
         SELECT \"table\" FROM pragma_foreign_key_check LIMIT 100",
    ),
    (
        "a transfer does not match the pending one that it ends",
        "-- ledger.check_ends
         SELECT lower(hex(e.id)) FROM transfers e JOIN transfers p ON p.id = e.pending
         WHERE p.kind <> 2 OR p.debit <> e.debit OR p.credit <> e.credit OR e.amount > p.amount
           OR (e.kind IN (4, 5) AND e.amount <> p.amount)
           OR (e.kind IN (3, 4)) <> (e.at < p.expires_at) LIMIT 100",
    ),
    (
        "charges and shares have passed the clearing account unevenly",
        "-- ledger.check_clearing
         SELECT lower(hex(id)) FROM accounts WHERE kind = 4 AND debits_posted <> credits_posted",
    ),
    (
        "the requests' charges are not what the wallets paid",
        "-- ledger.check_charges
         SELECT charged || ' and ' || paid FROM
           (SELECT (SELECT coalesce(sum(charge), 0) FROM requests) AS charged,
              (SELECT coalesce(sum(amount), 0) FROM transfers WHERE kind = 3) AS paid)
         WHERE charged <> paid",
    ),
    (
        "open requests hold another amount than the wallets' reservations",
        "-- ledger.check_reservations
         SELECT held || ' and ' || pending FROM
           (SELECT (SELECT coalesce(sum(reserved), 0) FROM requests WHERE state = 0) AS held,
              (SELECT coalesce(sum(debits_pending), 0) FROM accounts WHERE kind = 1) AS pending)
         WHERE held <> pending",
    ),
    (
        "a key's counters are not what its requests make",
        "-- ledger.check_keys
         SELECT 'key_' || lower(hex(k.id)) FROM api_keys k
         LEFT JOIN (SELECT key, sum(charge) AS spent, sum(reserved * (state = 0)) AS held
                    FROM requests WHERE key IS NOT NULL GROUP BY key) r ON r.key = k.id
         WHERE k.spent <> coalesce(r.spent, 0) OR k.reserved <> coalesce(r.held, 0) LIMIT 100",
    ),
];
