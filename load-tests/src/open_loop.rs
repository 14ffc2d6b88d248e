//! Carries a plan out: at most `connections` requests at a time, each started at its moment or, when every connection is
//! busy, as soon as one is free; its latency counts from the moment it was meant to start either way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::call::{self, Target};
use crate::plan::Arrival;
use crate::record::Record;

/// How far a run has come; whoever injects faults looks at it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    ended: AtomicUsize,
}

impl Progress {
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }
}

/// Runs the plan to its end and returns a record for each arrival, in the order of the plan, and the time it took.
pub(crate) async fn run(
    target: Target,
    plan: Vec<Arrival>,
    connections: usize,
    progress: Arc<Progress>,
) -> (Vec<Record>, Duration) {
    let http = call::http(connections);
    let target = Arc::new(target);
    let plan: Arc<[Arrival]> = plan.into();
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut lanes = JoinSet::new();
    for _ in 0..connections {
        let (http, target, plan) = (http.clone(), target.clone(), plan.clone());
        let (next, progress) = (next.clone(), progress.clone());
        lanes.spawn(async move {
            let mut records = Vec::new();
            while let Some(arrival) = plan.get(next.fetch_add(1, Ordering::Relaxed)) {
                let intended = start + arrival.at;
                tokio::time::sleep_until(intended).await;
                records.push(call::call(&http, &target, *arrival, intended).await);
                progress.ended.fetch_add(1, Ordering::Relaxed);
            }
            records
        });
    }
    let mut records = lanes.join_all().await.concat();
    records.sort_by_key(|record| record.index);
    (records, start.elapsed())
}
