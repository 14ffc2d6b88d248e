//! `[idempotency]`: how much is kept for repeats.

use std::time::Duration;

use super::Findings;
use crate::config::raw;
use crate::idempotency::IdempotencyLimits;

const HOUR: Duration = Duration::from_secs(60 * 60);
/// A longer memory of answers than a week is a mistyped number.
const KEEP_HOURS_MAX: u32 = 168;
/// The most of an answer that fits into one row, with room for what is around it.
const ANSWER_BYTES_MAX: usize = 64 << 20;

pub(super) fn idempotency(findings: &mut Findings, raw: &raw::Idempotency) -> IdempotencyLimits {
    let standard = IdempotencyLimits::STANDARD;
    let mut field = |name: &str, is_wrong: bool, message: String| {
        if is_wrong {
            findings.add(format!("idempotency.{name}"), message);
        }
    };
    let hours = raw.keep_hours;
    let is_wrong = hours.is_some_and(|hours| !(1..=KEEP_HOURS_MAX).contains(&hours));
    field("keep_hours", is_wrong, format!("must be 1 to {KEEP_HOURS_MAX}"));
    field("rows_per_account", raw.rows_per_account == Some(0), "must be at least 1".to_owned());
    let limits = IdempotencyLimits {
        keep: hours.map_or(standard.keep, |hours| HOUR * hours),
        bytes_per_account: raw.bytes_per_account.unwrap_or(standard.bytes_per_account),
        bytes_total: raw.bytes_total.unwrap_or(standard.bytes_total),
        rows_per_account: raw.rows_per_account.unwrap_or(standard.rows_per_account),
        answer_bytes_max: raw.answer_bytes_max.unwrap_or(standard.answer_bytes_max),
        ..standard
    };
    let is_wrong = limits.answer_bytes_max > ANSWER_BYTES_MAX;
    field("answer_bytes_max", is_wrong, format!("must be at most {ANSWER_BYTES_MAX}"));
    let is_wrong = limits.bytes_total < limits.bytes_per_account;
    field("bytes_total", is_wrong, "must be at least bytes_per_account".to_owned());
    limits
}
