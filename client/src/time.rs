//! Moments as people and gateways write them.

use cocoon_primitives::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::error::CliError;

/// Unix seconds as UTC, as in `2026-11-22T16:00:00Z`; the number where it is out of range.
pub(crate) fn utc(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| seconds.to_string(), |moment| moment.to_string())
}

/// Reads Unix seconds, RFC 3339, or a date, which is its first moment in UTC.
pub(crate) fn parse(what: &'static str, text: &str) -> Result<Timestamp, CliError> {
    if let Ok(seconds) = text.parse() {
        return Ok(Timestamp::from_seconds(seconds));
    }
    let moment = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let date: Date = text.parse().ok()?;
        Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    moment
        .and_then(|moment| u64::try_from(moment.as_second()).ok())
        .map(Timestamp::from_seconds)
        .ok_or(CliError::Argument {
            what,
            reason: format!("{text:?} is neither 2026-11-22, nor RFC 3339, nor Unix seconds"),
        })
}
