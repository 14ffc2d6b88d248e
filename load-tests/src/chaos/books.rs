//! The gateway's books, read by an outsider: its database file by SQL of our own, beside what its API and its own audit
//! say. So a mistake in how the gateway reads its rows does not hide one in the rows.
//!
//! The only SQL outside `crates/store`: read-only, and on a file whose process has ended.

use std::path::Path;

use anyhow::Context;
use cocoon_ledger::TransferId;
use cocoon_primitives::RequestId;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::receipts::Receipts;
use super::verdict::{Books, Row};

pub(crate) fn read(
    database: &Path,
    ledger_check: &str,
    balance: &Value,
    usage: &Value,
    receipts: Receipts,
) -> anyhow::Result<Books> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .context("failed to open the gateway's database")?;
    let report: Value = serde_json::from_str(ledger_check)
        .with_context(|| format!("ledger check printed no JSON: {ledger_check}"))?;
    let problems =
        report["problems"].as_array().context("ledger check reports no problems field")?;
    let number = |from: &Value, path: &str| {
        from.pointer(path).and_then(Value::as_u64).with_context(|| format!("no {path} in {from}"))
    };
    let (wallet_charges, wallet_charged_nano) = wallet_charges(&connection)?;
    Ok(Books {
        rows: rows(&connection)?,
        ledger_sum: ledger_sum(&connection)?,
        ledger_problems: problems
            .iter()
            .map(|problem| format!("ledger check: {problem}"))
            .collect(),
        wallet_charges,
        wallet_charged_nano,
        credited_nano: number(balance, "/credited_nano")?,
        charged_nano: number(balance, "/charged_nano")?,
        reserved_nano: number(balance, "/reserved_nano")?,
        available_nano: number(balance, "/available_nano")?,
        usage_charged_nano: number(usage, "/totals/charge_nano")?,
        receipts,
    })
}

fn rows(connection: &Connection) -> anyhow::Result<Vec<Row>> {
    let mut requests = connection.prepare(
        "-- chaos.requests
         SELECT id, reserved, charge, state = 0, expires_at FROM requests",
    )?;
    let mut charges = connection.prepare(
        "-- chaos.charges
         SELECT count(*), coalesce(sum(amount), 0) FROM transfers WHERE pending = ? AND kind = 3",
    )?;
    let mut rows = Vec::new();
    let mut found = requests.query(())?;
    while let Some(row) = found.next()? {
        let id = RequestId::from_bytes(row.get(0)?);
        let (count, posted): (i64, i64) = charges
            .query_row([TransferId::reserve(&id).as_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        rows.push(Row {
            request_id: id.to_string(),
            reserved_nano: unsigned(row.get(1)?)?,
            charged_nano: unsigned(row.get(2)?)?,
            posted_nano: unsigned(posted)?,
            charges: unsigned(count)?,
            is_open: row.get(3)?,
            expires_at_ms: unsigned(row.get(4)?)?,
        });
    }
    Ok(rows)
}

/// How often wallets were charged, and how much, whatever the transfers are called.
fn wallet_charges(connection: &Connection) -> anyhow::Result<(u64, u64)> {
    let (count, sum): (i64, i64) = connection.query_row(
        "-- chaos.wallet_charges
         SELECT count(*), coalesce(sum(t.amount), 0) FROM transfers t JOIN accounts a ON a.id = t.debit
         WHERE a.kind = 1 AND t.kind IN (1, 3)",
        (),
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok((unsigned(count)?, unsigned(sum)?))
}

/// Debits less credits over all accounts.
fn ledger_sum(connection: &Connection) -> anyhow::Result<i64> {
    Ok(connection.query_row(
        "-- chaos.sum
         SELECT coalesce(sum(debits_posted + debits_pending - credits_posted - credits_pending), 0)
         FROM accounts",
        (),
        |row| row.get(0),
    )?)
}

fn unsigned(number: i64) -> anyhow::Result<u64> {
    u64::try_from(number).context("a negative number in the books")
}
