//! The receipts of completed requests, fetched as their payer and verified as anybody could.
//!
//! Bound: countersigning is waited for once for all of them, not once for each.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cocoon_attest::receipt::{ReceiptFile, verify_file};
use cocoon_metering::PriceRow;
use tokio::time::Instant;

use super::account::{Account, Reply};
use super::verdict::cost_nano;
use crate::record::{Outcome, Record, Usage};

/// A receipt is countersigned a moment after its answer ended, and the answers ended long ago.
const COUNTERSIGN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a receipt says whose signatures, path and payer were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) usage: Usage,
    /// Of that usage at the prices that the worker signed.
    pub(crate) charge_nano: u64,
}

/// By request id: the receipt's statement, or why there is no valid receipt.
pub(crate) type Receipts = HashMap<String, Result<Statement, String>>;

/// One receipt for each request that its client saw completed. `key` is the gateway's receipt key.
pub(crate) async fn collect(records: &[Record], account: &Account, key: &[u8; 32]) -> Receipts {
    let limit = Instant::now() + COUNTERSIGN_TIMEOUT;
    let completed = records.iter().filter(|record| record.outcome == Outcome::Completed);
    let mut receipts = Receipts::new();
    for id in completed.filter_map(|record| record.request_id.as_deref()) {
        let found = match fetch(account, id, limit).await {
            Ok(file) => verify(&file, id, &account.wallet, key),
            Err(error) => Err(error),
        };
        receipts.insert(id.to_owned(), found.map_err(|error| format!("{error:#}")));
    }
    receipts
}

async fn fetch(account: &Account, id: &str, limit: Instant) -> anyhow::Result<ReceiptFile> {
    let path = format!("/v1/receipts/{id}");
    loop {
        match account.ask(&path).await? {
            Reply { status, body } if status.is_success() => {
                return serde_json::from_slice(&body).context("no receipt file");
            }
            reply if reply.has_code("receipt_pending") && Instant::now() < limit => {
                tokio::time::sleep_until(Instant::now() + Duration::from_millis(50)).await;
            }
            Reply { status, body } => bail!("{status}: {}", String::from_utf8_lossy(&body)),
        }
    }
}

fn verify(file: &ReceiptFile, id: &str, wallet: &str, key: &[u8; 32]) -> anyhow::Result<Statement> {
    let verified = verify_file(file, Some(key))?;
    let core = verified.core;
    ensure!(core.request_id.to_string() == id, "it is the receipt of {}", core.request_id);
    let payer = verified.account.map(|account| account.to_string());
    ensure!(payer.as_deref() == Some(wallet), "it names the payer {payer:?}");
    let price = PriceRow {
        prompt: core.terms.price.prompt,
        cached: core.terms.price.cached,
        completion: core.terms.price.completion,
    };
    let usage = Usage {
        prompt: core.usage.prompt,
        cached: core.usage.cached,
        completion: core.usage.completion,
    };
    Ok(Statement { usage, charge_nano: cost_nano(&price, usage) })
}
