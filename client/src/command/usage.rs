//! `cocoon usage`: finished requests, newest first, as a table, CSV or JSON.

use std::io::Write as _;

use clap::Args;
use cocoon_primitives::{KeyId, Nano, RequestId, WorkerId};
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::context::Context;
use crate::error::CliError;
use crate::{output, time};

const PAGE_ROWS_MAX: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// Comma-separated values, amounts in nano-coins
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Not before: a date, RFC 3339, or Unix seconds
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before: a date, RFC 3339, or Unix seconds
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Rows at most
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

#[derive(Deserialize)]
struct UsagePage {
    data: Vec<UsageRow>,
    has_more: bool,
    next: Option<String>,
    totals: Totals,
}

#[derive(Serialize, Deserialize)]
struct UsageRow {
    request_id: RequestId,
    model: String,
    key_id: Option<KeyId>,
    created_at: u64,
    outcome: String,
    usage: Tokens,
    charge_nano: Nano,
    worker_id: Option<WorkerId>,
    streamed: bool,
}

#[derive(Serialize, Deserialize)]
struct Tokens {
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
}

/// Over the whole period, not only the rows that are shown.
#[derive(Serialize, Deserialize)]
struct Totals {
    requests: u64,
    charge_nano: Nano,
    prompt_tokens: u64,
    completion_tokens: u64,
}

#[derive(Serialize)]
struct UsageReport {
    data: Vec<UsageRow>,
    has_more: bool,
    totals: Totals,
}

pub(crate) async fn run(context: &Context, args: UsageArgs) -> Result<(), CliError> {
    let mut query = Vec::new();
    for (name, what, text) in [("from", "--from", &args.from), ("to", "--to", &args.to)] {
        if let Some(text) = text {
            query.push((name, time::parse(what, text)?.as_seconds().to_string()));
        }
    }
    let limit = usize::try_from(args.limit).expect("a u32 fits in usize");
    let report = collect(&context.api()?, &query, limit).await?;
    if context.as_json {
        return output::json(&report);
    }
    if args.csv { print_csv(&report) } else { print_table(&report) }
}

/// Follows pages up to `limit` rows.
async fn collect(
    api: &Api,
    period: &[(&str, String)],
    limit: usize,
) -> Result<UsageReport, CliError> {
    let mut rows = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let wanted = (limit - rows.len()).min(PAGE_ROWS_MAX);
        let mut query = period.to_vec();
        query.push(("limit", wanted.to_string()));
        query.extend(after.map(|cursor| ("after", cursor)));
        let page: UsagePage = api.get_with("/usage", &query).await?;
        let is_empty = page.data.is_empty();
        rows.extend(page.data);
        rows.truncate(limit);
        let is_full = rows.len() == limit;
        match page.next.filter(|_| page.has_more && !is_full && !is_empty) {
            Some(cursor) => after = Some(cursor),
            None => {
                return Ok(UsageReport {
                    data: rows,
                    has_more: page.has_more,
                    totals: page.totals,
                });
            }
        }
    }
}

fn print_table(report: &UsageReport) -> Result<(), CliError> {
    if !report.data.is_empty() {
        output::table(
            &["time", "request", "model", "prompt", "completion", "charge", "outcome"],
            report.data.iter().map(|row| {
                [
                    time::utc(row.created_at),
                    row.request_id.to_string(),
                    output::plain(&row.model),
                    row.usage.prompt_tokens.to_string(),
                    row.usage.completion_tokens.to_string(),
                    output::gram(row.charge_nano),
                    output::plain(&row.outcome),
                ]
            }),
        )?;
    }
    let Totals { requests, charge_nano, prompt_tokens, completion_tokens } = report.totals;
    let charge = output::gram(charge_nano);
    let more = if report.has_more { " (more rows: --limit N)" } else { "" };
    output::note(&format!(
        "In all: {requests} requests, {prompt_tokens} + {completion_tokens} tokens, {charge}{more}"
    ))
}

fn print_csv(report: &UsageReport) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "created_at,request_id,model,key_id,streamed,outcome,prompt_tokens,cached_tokens,\
         completion_tokens,reasoning_tokens,charge_nano,worker_id"
    )?;
    for row in &report.data {
        let Tokens { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens } =
            row.usage;
        writeln!(
            out,
            "{},{},{},{},{},{},{prompt_tokens},{cached_tokens},{completion_tokens},\
             {reasoning_tokens},{},{}",
            time::utc(row.created_at),
            row.request_id,
            csv_field(&row.model),
            row.key_id.map_or_else(String::new, |id| id.to_string()),
            row.streamed,
            csv_field(&row.outcome),
            row.charge_nano.get(),
            row.worker_id.map_or_else(String::new, |id| id.to_string()),
        )?;
    }
    Ok(())
}

/// RFC 4180: quoted where it has to be. A leading `=`, `+`, `-` or `@` would be a formula in a
/// spreadsheet, so it is quoted behind an apostrophe.
fn csv_field(text: &str) -> String {
    let text = output::plain(text);
    let text = match text.starts_with(['=', '+', '-', '@']) {
        true => format!("'{text}"),
        false => text,
    };
    match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}
