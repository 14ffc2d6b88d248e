//! `cocoon-gateway ledger check`: the store against itself.

use cocoon_store::{LedgerReport, Store};

use crate::config::Config;

/// Audits the ledger; the report, and the text to print.
pub async fn check_ledger(config: &Config, json: bool) -> anyhow::Result<(LedgerReport, String)> {
    let store = Store::open(&config.store_path())?;
    let report = store.check().await?;
    store.close().await;
    let text = if json { as_json(&report) } else { as_text(&report) };
    Ok((report, text))
}

fn as_json(report: &LedgerReport) -> String {
    let open: Vec<String> =
        report.open_reservations.iter().map(|open| open.request_id.to_string()).collect();
    serde_json::json!({
        "clean": report.is_clean(),
        "accounts": report.accounts,
        "transfers": report.transfers,
        // Beyond 64 bits only where the ledger is broken beyond measure.
        "sum_nano": i64::try_from(report.sum).unwrap_or(i64::MAX),
        "open_reservations": open,
        "problems": report.problems,
    })
    .to_string()
}

fn as_text(report: &LedgerReport) -> String {
    let mut text = format!(
        "accounts: {}\ntransfers: {}\nsum: {} nano\nopen reservations: {}",
        report.accounts,
        report.transfers,
        report.sum,
        report.open_reservations.len()
    );
    for problem in &report.problems {
        text.push_str("\nproblem: ");
        text.push_str(problem);
    }
    text.push_str(if report.is_clean() {
        "\nthe ledger is clean"
    } else {
        "\nthe ledger is NOT clean"
    });
    text
}
