//! What reaches the terminal: tables, JSON, errors, and text that cannot command it.

use std::io::Write as _;

use cocoon_primitives::Nano;
use comfy_table::{Row, Table, presets};
use serde::Serialize;

use crate::error::CliError;

/// One line on standard output.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// One line on standard error.
pub(crate) fn note(text: &str) -> Result<(), CliError> {
    writeln!(std::io::stderr(), "{text}")?;
    Ok(())
}

pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), CliError> {
    line(&to_json(value))
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).expect("our own types are JSON")
}

/// A table without lines; `header` is left out where it is empty.
pub(crate) fn table<R: Into<Row>>(
    header: &[&str],
    rows: impl IntoIterator<Item = R>,
) -> Result<(), CliError> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !header.is_empty() {
        table.set_header(header);
    }
    table.add_rows(rows);
    // The first column starts at the edge; the others keep a space on both sides.
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    line(&table.trim_fmt())
}

/// Gram and nano-coins, as in `0.0000012 GRAM`.
pub(crate) fn gram(amount: Nano) -> String {
    format!("{} GRAM", amount.to_gram())
}

pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// Text from elsewhere without control characters, which could rewrite what a terminal shows.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[derive(Serialize)]
struct ErrorReport<'a> {
    error: ErrorFields<'a>,
}

#[derive(Serialize)]
struct ErrorFields<'a> {
    kind: &'static str,
    message: &'a str,
    hint: Option<String>,
    status: Option<u16>,
    code: Option<&'a str>,
    request_id: Option<&'a str>,
}

/// The error with its causes and the next step, on standard error.
pub(crate) fn print_error(error: &CliError, as_json: bool) {
    if matches!(error, CliError::Output(source) if source.kind() == std::io::ErrorKind::BrokenPipe)
    {
        return;
    }
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    let message = plain(&message);
    let refusal = match error {
        CliError::Refused(refusal) => Some(refusal),
        _ => None,
    };
    let text = if as_json {
        to_json(&ErrorReport {
            error: ErrorFields {
                kind: error.kind(),
                message: &message,
                hint: error.hint(),
                status: refusal.map(|refusal| refusal.status),
                code: refusal.and_then(|refusal| refusal.code.as_deref()).or(error.check_code()),
                request_id: refusal.and_then(|refusal| refusal.request_id.as_deref()),
            },
        })
    } else {
        let request = refusal.and_then(|refusal| refusal.request_id.as_deref());
        let request = request.map_or_else(String::new, |id| format!(" (request {})", plain(id)));
        let hint = error.hint().map_or_else(String::new, |hint| format!("\nnext:  {hint}"));
        format!("error: {message}{request}{hint}")
    };
    // Nobody is left to tell when standard error is closed.
    let _ = note(&text);
}
