//! Tasks under one roof, ended in two steps.
//!
//! Invariant: every task of the process was spawned here, so that after [`Lifecycle::drain`]
//! none is left. The *soft* token asks a task to finish what it holds and take nothing new;
//! each task watches it where that makes sense. The *hard* token ends a task at its next
//! suspension point, whatever it does: its future is dropped.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// How long tasks get to be dropped once the hard token has fired.
const HARD_STOP_GRACE: Duration = Duration::from_secs(2);

/// The tasks of one process, or of one part that starts and stops as a whole. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every task finished by itself.
    Finished,
    /// The deadline passed; this many tasks were stopped.
    Stopped { tasks: usize },
}

impl Lifecycle {
    pub fn new() -> Self {
        Self::default()
    }

    /// Fires when the process should finish what it holds and take nothing new.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Fires when the process should stop now.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    pub fn is_draining(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Runs `future` as a tracked task until it ends or the hard token fires. A panic in it is
    /// logged and ends this task alone.
    ///
    /// The current span goes with the task.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns: tracked")]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hard = self.hard.clone();
        let guarded = async move {
            let work = AssertUnwindSafe(future).catch_unwind();
            tokio::select! {
                // Hard first: a task that is always ready must not outlive the stop.
                biased;
                () = hard.cancelled() => {}
                outcome = work => if outcome.is_err() {
                    metrics::counter!("cocoon_task_panics_total", "task" => name).increment(1);
                    tracing::error!(task.name = name, "task {name} panicked");
                },
            }
        };
        tokio::spawn(self.tasks.track_future(guarded.in_current_span()))
    }

    /// Tasks that have not ended yet.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Asks every task to finish, waits up to `deadline`, then stops the rest.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.soft.cancel();
        self.tasks.close();
        let finished = tokio::select! {
            outcome = tokio::time::timeout(deadline, self.tasks.wait()) => outcome.is_ok(),
            // Someone else lost patience: a second signal.
            () = self.hard.cancelled() => false,
        };
        let tasks = self.tasks.len();
        self.hard.cancel();
        if finished {
            return Drained::Finished;
        }
        if tokio::time::timeout(HARD_STOP_GRACE, self.tasks.wait()).await.is_err() {
            tracing::error!(tasks = self.tasks.len(), "tasks did not stop");
        }
        Drained::Stopped { tasks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_watches_the_soft_token_finishes() {
        let lifecycle = Lifecycle::new();
        let soft = lifecycle.soft().clone();
        lifecycle.spawn("watcher", async move { soft.cancelled().await });
        assert_eq!(lifecycle.drain(Duration::from_secs(5)).await, Drained::Finished);
        assert_eq!(lifecycle.tasks(), 0);
    }

    #[tokio::test]
    async fn a_task_that_never_ends_is_stopped_at_the_deadline() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("forever", std::future::pending());
        let drained = lifecycle.drain(Duration::ZERO).await;
        assert_eq!(drained, Drained::Stopped { tasks: 1 });
        assert_eq!(lifecycle.tasks(), 0);
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_task_alone() {
        let lifecycle = Lifecycle::new();
        let broken = lifecycle.spawn("broken", async { panic!("on purpose") });
        let (sender, receiver) = tokio::sync::oneshot::channel();
        lifecycle.spawn("sound", async move { sender.send(7).unwrap() });
        assert_eq!(receiver.await, Ok(7));
        assert!(broken.await.is_ok());
        assert_eq!(lifecycle.drain(Duration::from_secs(5)).await, Drained::Finished);
    }
}
