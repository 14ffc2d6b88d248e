//! Whose turn it is to ask a worker for evidence: one question at a time, renewals first.
//!
//! Anybody may ask for a report, so no report may cost a worker its lease: while a renewal is due
//! or runs, reports are refused, and one that runs gives way.

use tokio::sync::{Mutex, MutexGuard, watch};

/// One worker's questions.
#[derive(Debug)]
pub(super) struct Turns {
    /// Held by whoever waits for evidence.
    asking: Mutex<()>,
    is_renewing: watch::Sender<bool>,
}

/// The turn of a renewal. Reports go on when it is dropped.
#[derive(Debug)]
pub(super) struct Renewing<'a> {
    turns: &'a Turns,
    asking: Option<MutexGuard<'a, ()>>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { asking: Mutex::new(()), is_renewing: watch::Sender::new(false) }
    }

    /// Waits for the turn of the connection's one renewal: as long as a report takes to give way.
    pub(super) async fn renewal(&self) -> Renewing<'_> {
        self.is_renewing.send_replace(true);
        let mut turn = Renewing { turns: self, asking: None };
        turn.asking = Some(self.asking.lock().await);
        turn
    }

    /// Asks in turn. `None`: a renewal is due or runs, before or while this asks.
    pub(super) async fn report<T>(&self, ask: impl Future<Output = T>) -> Option<T> {
        let mut renewals = self.is_renewing.subscribe();
        let asked = async {
            let _asking = self.asking.lock().await;
            ask.await
        };
        tokio::select! {
            // The renewal first: nothing is sent once it is due.
            biased;
            _ = renewals.wait_for(|is_renewing| *is_renewing) => None,
            answer = asked => Some(answer),
        }
    }
}

impl Drop for Renewing<'_> {
    fn drop(&mut self) {
        self.asking.take();
        self.turns.is_renewing.send_replace(false);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_renewal_ends_the_report_that_runs_and_keeps_others_out() {
        let turns = Turns::new();
        let report = turns.report(pending::<()>());
        let renewal = async {
            let turn = turns.renewal().await;
            assert_eq!(turns.report(ready(())).await, None, "it runs");
            drop(turn);
        };
        let (report, ()) = tokio::join!(report, renewal);
        assert_eq!(report, None);
        assert_eq!(turns.report(ready(7)).await, Some(7));
    }

    #[tokio::test]
    async fn a_renewal_that_is_given_up_lets_reports_in_again() {
        let turns = Turns::new();
        let held = turns.asking.lock().await;
        let mut renewal = Box::pin(turns.renewal());
        assert!(futures_util::poll!(&mut renewal).is_pending());
        assert_eq!(turns.report(ready(())).await, None, "one is due");
        drop((renewal, held));
        assert_eq!(turns.report(ready(7)).await, Some(7));
    }
}
