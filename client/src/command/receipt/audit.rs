//! `cocoon receipt audit`: a folder of receipts, each verified, and the chains that they form.

mod chain;

use std::path::{Path, PathBuf};

use clap::Args;
use cocoon_primitives::WorkerId;
use serde::Serialize;

use self::chain::{Chain, Completeness, Entry, Finding, Judgement, Totals};
use super::verify;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Receipts of one folder.
const FILES_MAX: usize = 100_000;

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// The folder: every file in it that ends in .json is a receipt, but for those that end in
    /// .refused.json, which the proxy did not take
    folder: PathBuf,
    /// The gateway's receipt key, in hex; without it any gateway's signature counts
    #[arg(long, value_name = "HEX")]
    gateway_key: Option<String>,
    /// A worker that may have signed, as in wrk_…; repeat for more. A receipt of any other worker
    /// does not hold
    #[arg(long = "worker", value_name = "ID")]
    workers: Vec<String>,
    /// The folder has every receipt of these workers: one that is missing does not hold. Without
    /// it, what is missing is taken for other payers' and only reported
    #[arg(long)]
    complete: bool,
}

#[derive(Serialize)]
struct AuditReport {
    accepted: bool,
    files: usize,
    totals: Totals,
    workers: Vec<Chain>,
    findings: Vec<Finding>,
}

pub(crate) fn run(context: &Context, args: &AuditArgs) -> Result<(), CliError> {
    let pinned = args.gateway_key.as_deref().map(verify::key_of).transpose()?;
    let workers = args.workers.iter().map(|text| text.parse());
    let workers: Vec<WorkerId> = workers
        .collect::<Result<_, _>>()
        .map_err(|error| CliError::argument("--worker", &error))?;
    let completeness = if args.complete { Completeness::Demanded } else { Completeness::Unknown };
    let paths = receipts(&args.folder)?;
    let mut refused = Vec::new();
    let mut entries = Vec::new();
    for path in &paths {
        match entry(path, pinned.as_ref(), &workers) {
            Ok(entry) => entries.push(entry),
            Err(finding) => refused.push(finding),
        }
    }
    let Judgement { chains, findings, totals } = chain::judge(&entries);
    refused.extend(findings);
    let failed: Vec<&Finding> =
        refused.iter().filter(|finding| finding.refuses(completeness)).collect();
    let outcome = match failed.first() {
        None => Ok(()),
        Some(first) => Err(CliError::Audit {
            code: first.code(),
            reason: format!("{} of the findings do not hold", failed.len()),
        }),
    };
    let report = AuditReport {
        accepted: outcome.is_ok(),
        files: paths.len(),
        totals,
        workers: chains,
        findings: refused,
    };
    if context.as_json {
        output::json(&report)?;
    } else {
        print(&report, completeness)?;
    }
    outcome
}

/// The folder's receipts by name.
fn receipts(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let failed = |source| CliError::File { action: "read", path: folder.into(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if !name.ends_with(b".json") || name.ends_with(b".refused.json") {
            continue;
        }
        if paths.len() == FILES_MAX {
            let reason = format!("it has more than {FILES_MAX} receipts");
            return Err(CliError::Content { path: folder.into(), reason });
        }
        paths.push(path);
    }
    paths.sort();
    Ok(paths)
}

fn entry(path: &Path, pinned: Option<&[u8; 32]>, workers: &[WorkerId]) -> Result<Entry, Finding> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let file = output::plain(&name);
    let refused = |code, reason: String| Finding::Refused {
        file: file.clone(),
        code,
        reason: output::plain(&reason),
    };
    let read = verify::read(path).map_err(|error| refused("unusable", error.to_string()))?;
    let verified = verify::check(&read, pinned).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        refused(error.check_code().unwrap_or("receipt"), cause.unwrap_or_default())
    })?;
    let core = verified.core;
    if !workers.is_empty() && !workers.contains(&core.worker_id) {
        return Err(refused("worker", format!("{} is none of the workers", core.worker_id)));
    }
    Ok(Entry { file, core })
}

fn print(report: &AuditReport, completeness: Completeness) -> Result<(), CliError> {
    if !report.workers.is_empty() {
        output::table(
            &["worker", "receipts", "seq", "prompt", "completion", "charge", "commission"],
            report.workers.iter().map(|chain| {
                [
                    chain.worker_id.to_string(),
                    chain.totals.receipts.to_string(),
                    format!("{}–{}", chain.first_seq, chain.last_seq),
                    chain.totals.prompt_tokens.to_string(),
                    chain.totals.completion_tokens.to_string(),
                    output::gram(chain.totals.charge_nano),
                    output::gram(chain.totals.commission_nano),
                ]
            }),
        )?;
    }
    for finding in &report.findings {
        let label = if finding.refuses(completeness) { "refused" } else { "not seen here" };
        output::line(&format!("{label}: {}", told(finding)))?;
    }
    let verdict = if report.accepted { "accepted" } else { "refused" };
    let Totals { receipts, charge_nano, prompt_tokens, completion_tokens, .. } = report.totals;
    output::line(&format!(
        "{verdict}: {receipts} requests in {} files, {prompt_tokens} + {completion_tokens} tokens, {}",
        report.files,
        output::gram(charge_nano),
    ))
}

fn told(finding: &Finding) -> String {
    match finding {
        Finding::Refused { file, code, reason } => format!("{file} ({code}): {reason}"),
        Finding::Fork { worker_id, seq, files } => {
            format!("{worker_id} signed different receipts as number {seq}: {}", files.join(", "))
        }
        Finding::BrokenLink { worker_id, seq, files } => format!(
            "number {seq} of {worker_id} does not follow the one before it: {}",
            files.join(", ")
        ),
        Finding::Duplicate { request_id, files } => {
            format!("{request_id} has different receipts: {}", files.join(", "))
        }
        Finding::Missing { worker_id, first_seq, last_seq } => {
            format!("numbers {first_seq} to {last_seq} of {worker_id}")
        }
    }
}
