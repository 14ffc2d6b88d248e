//! The generations behind one answer: one for each choice, a few at a time.
//!
//! The first choice is admitted like any single answer, so that a full engine is a real status.
//! Later ones start as earlier ones end, as many at once as the engine has permits, up to a bound.
//! A later choice that finds no place is not a failure: it asks again when a choice of its own
//! answer has ended, else after the wait that the engine named, and only the request's deadline,
//! with nothing of the answer running, ends that.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::plan::Jobs;
use crate::engine::{Engine, EngineError, EngineEvent, Generation};

/// A wait for a place in the engine, whatever the engine names.
const WAIT_MS_MIN: u64 = 20;
const WAIT_MS_MAX: u64 = 5_000;

/// The generations of one answer. Dropping it cancels them all.
pub(super) struct Fanout {
    engine: Arc<dyn Engine>,
    jobs: Jobs,
    running: Vec<Running>,
    /// Choices that have not started, in the order of [`Jobs::order`].
    waiting: VecDeque<u32>,
    /// Choices that run at once.
    width: usize,
    /// When a choice that found no place asks again.
    again: Option<Pin<Box<Sleep>>>,
    deadline: Instant,
    /// The place among those running that is heard next.
    turn: usize,
}

struct Running {
    choice: u32,
    generation: Generation,
    has_started: bool,
}

impl Fanout {
    /// Admits the first choice. `width` of them run at once.
    pub(super) fn start(
        engine: Arc<dyn Engine>,
        mut jobs: Jobs,
        width: u32,
        deadline: Instant,
    ) -> Result<Self, EngineError> {
        let generation = engine.generate(jobs.job(0))?;
        let permits = engine.load().permits;
        Ok(Self {
            waiting: jobs.order().skip(1).collect(),
            running: vec![Running { choice: 0, generation, has_started: false }],
            width: usize::try_from(width.min(permits)).unwrap_or(1).max(1),
            again: None,
            turn: 0,
            engine,
            jobs,
            deadline,
        })
    }

    /// The next event of the first choice: what is awaited before the head can leave.
    pub(super) async fn first(&mut self) -> EngineEvent {
        let crashed = EngineEvent::Failed(EngineError::Crashed);
        let Some(running) = self.running.first_mut() else { return crashed };
        let event = running.generation.events.recv().await.unwrap_or(crashed);
        running.has_started |= matches!(event, EngineEvent::Started { .. });
        event
    }

    /// The next event, and whose it is; `None` once every choice has ended.
    pub(super) fn poll_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<(u32, EngineEvent)>> {
        loop {
            if self.is_over() {
                return Poll::Ready(None);
            }
            if let Some(failed) = self.admit(context) {
                return Poll::Ready(Some(failed));
            }
            match self.poll_running(context) {
                // It never began: its place in the row is kept, and it asks again.
                Poll::Ready((
                    choice,
                    EngineEvent::Failed(EngineError::Overloaded { retry_after_ms }),
                )) if self.was_shed(choice) => {
                    self.running.retain(|running| running.choice != choice);
                    self.waiting.push_front(choice);
                    self.wait(retry_after_ms);
                }
                Poll::Ready(event) => return Poll::Ready(Some(event)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// A choice has ended; what is left of its generation is cancelled.
    pub(super) fn end(&mut self, choice: u32) {
        self.running.retain(|running| running.choice != choice);
        self.again = None;
    }

    /// Starts no more choices, and names all that have not ended.
    pub(super) fn curtail(&mut self) -> Vec<u32> {
        let running = self.running.iter().map(|running| running.choice);
        self.waiting.drain(..).chain(running).collect()
    }

    /// Cancels everything.
    pub(super) fn stop(&mut self) {
        self.running.clear();
        self.waiting.clear();
    }

    pub(super) fn is_over(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Starts what may start now. A choice that can never start is an event.
    fn admit(&mut self, context: &mut Context<'_>) -> Option<(u32, EngineEvent)> {
        while self.running.len() < self.width {
            let choice = *self.waiting.front()?;
            if let Some(again) = &mut self.again {
                if again.as_mut().poll(context).is_pending() {
                    return None;
                }
                self.again = None;
            }
            if self.running.is_empty() && Instant::now() >= self.deadline {
                let late = EngineError::Overloaded { retry_after_ms: WAIT_MS_MAX };
                return Some((choice, EngineEvent::Failed(late)));
            }
            match self.engine.generate(self.jobs.job(choice)) {
                Ok(generation) => {
                    self.waiting.pop_front();
                    self.running.push(Running { choice, generation, has_started: false });
                }
                // The next turn of the loop asks the timer to wake this task.
                Err(EngineError::Overloaded { retry_after_ms }) => self.wait(retry_after_ms),
                Err(error) => return Some((choice, EngineEvent::Failed(error))),
            }
        }
        None
    }

    /// Hears each generation at most once, beginning after the one that was heard last.
    fn poll_running(&mut self, context: &mut Context<'_>) -> Poll<(u32, EngineEvent)> {
        let count = self.running.len();
        for offset in 0..count {
            let place = (self.turn + offset) % count;
            let running = &mut self.running[place];
            if let Poll::Ready(event) = running.generation.events.poll_recv(context) {
                let event = event.unwrap_or(EngineEvent::Failed(EngineError::Crashed));
                running.has_started |= matches!(event, EngineEvent::Started { .. });
                self.turn = place + 1;
                return Poll::Ready((running.choice, event));
            }
        }
        Poll::Pending
    }

    fn was_shed(&self, choice: u32) -> bool {
        self.running.iter().any(|running| running.choice == choice && !running.has_started)
    }

    fn wait(&mut self, wait_ms: u64) {
        let wait = Duration::from_millis(wait_ms.clamp(WAIT_MS_MIN, WAIT_MS_MAX));
        self.again = Some(Box::pin(sleep_until(Instant::now() + wait)));
    }
}
