//! `cocoon receipt`: fetch a receipt, and check one without a network.

mod audit;
mod verify;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use cocoon_attest::receipt::ReceiptFile;
use cocoon_primitives::RequestId;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::api::Api;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// A receipt is countersigned a moment after its answer ended.
const COUNTERSIGN_TIMEOUT: Duration = Duration::from_secs(5);
const COUNTERSIGN_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Fetch a receipt of yours
    Get {
        /// The request's id, as `cocoon usage` shows it
        id: String,
        /// Where to save it, instead of printing it
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check a receipt's signatures and charge, offline
    Verify(verify::VerifyArgs),
    /// Check all receipts of a folder, and how they hang together, offline
    Audit(audit::AuditArgs),
}

pub(crate) use verify::{charge, check, key_of};

pub(crate) async fn run(context: &Context, command: ReceiptCommand) -> Result<(), CliError> {
    match command {
        ReceiptCommand::Get { id, output } => {
            let id: RequestId = id.parse().map_err(|error| CliError::argument("ID", &error))?;
            let file = fetch(&context.api()?, id).await?;
            match output {
                None => output::json(&file),
                Some(path) => {
                    save(&file, &path)?;
                    output::note(&format!("saved to {}", path.display()))
                }
            }
        }
        ReceiptCommand::Verify(args) => verify::run(context, &args),
        ReceiptCommand::Audit(args) => audit::run(context, &args),
    }
}

/// The receipt, waited for as long as its countersignature may take.
pub(crate) async fn fetch(api: &Api, id: RequestId) -> Result<ReceiptFile, CliError> {
    let path = format!("/receipts/{id}");
    let countersigned = async {
        let mut ticks = interval(COUNTERSIGN_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match api.get(&path).await {
                Err(CliError::Refused(refusal)) if is_pending(refusal.code.as_deref()) => {}
                answer => return answer,
            }
        }
    };
    match timeout(COUNTERSIGN_TIMEOUT, countersigned).await {
        Ok(answer) => answer,
        Err(_) => api.get(&path).await,
    }
}

fn is_pending(code: Option<&str>) -> bool {
    code == Some("receipt_pending")
}

/// Replaces the file: receipts are public to whoever holds one, so no mode is set.
pub(crate) fn save(file: &ReceiptFile, path: &Path) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(file).expect("our own type is JSON");
    std::fs::write(path, text + "\n").map_err(|source| CliError::File {
        action: "write",
        path: path.into(),
        source,
    })
}
