//! A stream of several prompts is held back until the engine has taken every one of them.
//!
//! A prompt that is too long, or that has a token which the model does not know, is found out when
//! its first job starts, and on an engine that works on one job at a time that is after the jobs
//! of other prompts have ended. Had their text left by then, the client would have a stream that
//! breaks off, and a bill for it. Held back, the failure is the first thing that the gateway hears
//! of the answer: a real status, and no charge. Heartbeats leave all the while; what is held is
//! bounded like a whole answer.

/// The prompts whose jobs have not started.
#[derive(Debug)]
pub(super) struct Held {
    /// By prompt.
    has_started: Vec<bool>,
    per_prompt: u32,
    left: usize,
}

impl Held {
    /// Holds back until each of so many prompts has started once.
    pub(super) fn until_started(prompts: u32, per_prompt: u32) -> Self {
        let left = usize::try_from(prompts).unwrap_or(usize::MAX);
        Self { has_started: vec![false; left], per_prompt: per_prompt.max(1), left }
    }

    /// Holds back nothing.
    pub(super) const fn nothing() -> Self {
        Self { has_started: Vec::new(), per_prompt: 1, left: 0 }
    }

    pub(super) fn started(&mut self, choice: u32) {
        let prompt = usize::try_from(choice / self.per_prompt).unwrap_or(usize::MAX);
        if let Some(has_started) = self.has_started.get_mut(prompt)
            && !std::mem::replace(has_started, true)
        {
            self.left -= 1;
        }
    }

    pub(super) const fn is_held(&self) -> bool {
        self.left > 0
    }
}
