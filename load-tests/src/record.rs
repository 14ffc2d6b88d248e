//! What happened to each request as its client saw it, and the report over all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// How a request ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A whole answer, or a stream to its `[DONE]`.
    Completed,
    /// The client went away, as planned.
    Cancelled,
    /// An answer with this status instead of a completion.
    Refused { status: u16 },
    /// The answer began and broke off, or said that it failed.
    Broken,
    /// No answer began: nobody listened, or the connection went before the head.
    Unreachable,
    /// No end within the deadline.
    TimedOut,
}

/// The counts of an answer's usage object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) completion: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) index: usize,
    pub(crate) outcome: Outcome,
    /// From `x-request-id`; none where no answer began.
    pub(crate) request_id: Option<String>,
    pub(crate) usage: Option<Usage>,
    /// Both from the moment the request was meant to start.
    pub(crate) first_token: Option<Duration>,
    pub(crate) total: Duration,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) requests: usize,
    pub(crate) completed: usize,
    pub(crate) cancelled: usize,
    pub(crate) refused: BTreeMap<u16, usize>,
    pub(crate) broken: usize,
    pub(crate) unreachable: usize,
    pub(crate) timed_out: usize,
    pub(crate) seconds: f64,
    pub(crate) completed_per_second: f64,
    pub(crate) completion_tokens: u64,
    /// Of completed requests, from the moment each was meant to start.
    pub(crate) latency_ms: Percentiles,
    /// Of completed streams.
    pub(crate) first_token_ms: Percentiles,
}

#[derive(Debug, Serialize)]
pub(crate) struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub(crate) max: f64,
}

pub(crate) fn report(records: &[Record], elapsed: Duration) -> Report {
    let count =
        |outcome: Outcome| records.iter().filter(|record| record.outcome == outcome).count();
    let completed: Vec<&Record> =
        records.iter().filter(|record| record.outcome == Outcome::Completed).collect();
    let mut refused = BTreeMap::new();
    for record in records {
        if let Outcome::Refused { status } = record.outcome {
            *refused.entry(status).or_insert(0) += 1;
        }
    }
    let seconds = elapsed.as_secs_f64();
    let finished = u32::try_from(completed.len()).unwrap_or(u32::MAX);
    Report {
        requests: records.len(),
        completed: completed.len(),
        cancelled: count(Outcome::Cancelled),
        refused,
        broken: count(Outcome::Broken),
        unreachable: count(Outcome::Unreachable),
        timed_out: count(Outcome::TimedOut),
        seconds,
        completed_per_second: f64::from(finished) / seconds.max(f64::EPSILON),
        completion_tokens: completed.iter().filter_map(|r| r.usage).map(|u| u.completion).sum(),
        latency_ms: percentiles(completed.iter().map(|record| record.total)),
        first_token_ms: percentiles(completed.iter().filter_map(|record| record.first_token)),
    }
}

fn percentiles(times: impl Iterator<Item = Duration>) -> Percentiles {
    let mut histogram =
        Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are constants");
    for time in times {
        histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
    }
    let at = |quantile: f64| milliseconds(histogram.value_at_quantile(quantile));
    Percentiles {
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: milliseconds(histogram.max()),
    }
}

fn milliseconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_counts_every_record_once() {
        let record = |index, outcome| Record {
            index,
            outcome,
            request_id: None,
            usage: Some(Usage { prompt: 3, cached: 0, completion: 5 }),
            first_token: Some(Duration::from_millis(2)),
            total: Duration::from_millis(10),
        };
        let records = [
            record(0, Outcome::Completed),
            record(1, Outcome::Cancelled),
            record(2, Outcome::Refused { status: 503 }),
            record(3, Outcome::Broken),
            record(4, Outcome::Completed),
        ];
        let report = report(&records, Duration::from_secs(2));
        assert_eq!(
            (report.requests, report.completed, report.cancelled, report.broken),
            (5, 2, 1, 1)
        );
        assert_eq!(report.refused, BTreeMap::from([(503, 1)]));
        assert_eq!(report.completion_tokens, 10);
        assert!((9.9..10.1).contains(&report.latency_ms.p99), "{:?}", report.latency_ms);
    }
}
