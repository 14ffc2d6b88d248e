//! Keeps one child running.
//!
//! A child is ready after it has loaded its model and generated a token. It is killed, never asked,
//! when it is silent too long, grows too large, or fails to generate a token after a job of its
//! failed. The next one starts after a pause that doubles with each failure in a row, and after the
//! model's files were hashed again: whoever owns the disk could have put others there meanwhile.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use cocoon_primitives::Clock;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::super::EngineStartError;
use super::super::config::MistralrsConfig;
use super::link::Link;
use super::{State, manifest_of};

const HEARTBEAT: Duration = Duration::from_secs(2);

/// Answers to so many heartbeats may be missing.
const HEARTBEATS_MISSED_MAX: u64 = 5;

const CANARY_PATIENCE: Duration = Duration::from_secs(60);

const PAUSE_MIN: Duration = Duration::from_millis(100);

const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A child that served so long starts the count of failures anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// After so many failures in a row jobs are refused instead of kept waiting.
const FAILURES_UNTIL_DOWN: u32 = 2;

const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// The model's files, as they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Model {
    Same,
    Changed,
    Unreadable,
}

pub(super) struct Supervisor {
    pub(super) program: PathBuf,
    pub(super) folder: PathBuf,
    /// Of what the worker says that it serves.
    pub(super) manifest_digest: [u8; 32],
    pub(super) config: MistralrsConfig,
    pub(super) state: watch::Sender<State>,
    pub(super) clock: Arc<dyn Clock>,
    /// Nobody wants an engine any more.
    pub(super) give_up: CancellationToken,
}

/// Why no more children are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    GivenUp,
    ModelChanged,
}

/// Whether the program is there at all.
pub(super) fn probe(program: &Path) -> Result<(), EngineStartError> {
    match std::fs::metadata(program) {
        Ok(_) => Ok(()),
        Err(source) => Err(EngineStartError::Program { path: program.to_owned(), source }),
    }
}

impl Supervisor {
    pub(super) async fn run(self) -> Stopped {
        let mut failures = 0_u32;
        let mut was_ready = false;
        while !self.give_up.is_cancelled() {
            // Before the first child the files were hashed a moment ago.
            let model = match failures {
                0 => Model::Same,
                _ => tokio::select! {
                    () = self.give_up.cancelled() => return Stopped::GivenUp,
                    model = self.model() => model,
                },
            };
            let born = self.clock.now();
            let served = match model {
                Model::Same => tokio::select! {
                    () = self.give_up.cancelled() => return Stopped::GivenUp,
                    served = self.one_child() => served,
                },
                Model::Unreadable => false,
                Model::Changed => {
                    self.state.send_replace(State::Down);
                    let folder = self.folder.display();
                    tracing::error!(
                        "the model's files in {folder} have changed since they were attested: the worker ends"
                    );
                    return Stopped::ModelChanged;
                }
            };
            was_ready |= served;
            let healthy = served && self.clock.now().since(born) >= HEALTHY_AFTER;
            failures = if healthy { 1 } else { failures.saturating_add(1) };
            // Before the first success the start itself waits, and must hear of the failure.
            let down = !was_ready || failures > FAILURES_UNTIL_DOWN;
            self.state.send_replace(if down { State::Down } else { State::Starting });
            metrics::counter!("cocoon_engine_restarts_total").increment(1);
            tokio::select! {
                () = self.give_up.cancelled() => {}
                () = sleep_until(Instant::now() + pause(failures)) => {}
            }
        }
        Stopped::GivenUp
    }

    /// Hashes the model's files again.
    async fn model(&self) -> Model {
        let (config, folder) = (self.config.clone(), self.folder.clone());
        let read = tokio::task::spawn_blocking(move || manifest_of(&config, &folder)).await;
        match read {
            Ok(Ok(manifest)) if manifest.digest() == self.manifest_digest => Model::Same,
            Ok(Ok(_)) => Model::Changed,
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(cause, "the model's files cannot be hashed again: {error}");
                Model::Unreadable
            }
            Err(_) => Model::Unreadable,
        }
    }

    /// Runs one child to its end; whether it was ever ready.
    async fn one_child(&self) -> bool {
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(error) => {
                tracing::error!("the engine program cannot be run: {error}");
                return false;
            }
        };
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return false;
        };
        let (link, frames) = Link::new();
        let mut served = false;
        let why = tokio::select! {
            why = link.read(stdout) => why,
            why = Link::write(frames, stdin) => why,
            why = self.serve(&link, &mut served) => why,
            why = self.watch(&link) => why,
            () = link.condemned() => "it did not stop a cancelled job",
        };
        // Jobs that come from now on wait for the next child.
        self.state.send_replace(State::Starting);
        // Dead before its jobs hear of it: whoever retries must not meet it again.
        let status = end(&mut child).await;
        link.bury();
        tracing::warn!("the engine ended ({why}; {status}): it is started again");
        served
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .arg("--model")
            .arg(&self.folder)
            .arg("--jobs")
            .arg(self.config.permits.min(u16::MAX.into()).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            // Weights come from the folder alone.
            .env("HF_HUB_OFFLINE", "1")
            // A terminal's Ctrl-C goes to the whole process group. The worker drains on it, and
            // needs its engine for that; the child ends with the worker, when its input does.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(context) = self.config.context_length {
            command.arg("--context").arg(context.to_string());
        }
        if let Some(threads) = self.config.threads {
            command.env("RAYON_NUM_THREADS", threads.to_string());
        }
        command.spawn()
    }

    /// Makes the child ready, then tries it again whenever a job fails in it.
    async fn serve(&self, link: &Arc<Link>, served: &mut bool) -> &'static str {
        let patience = Duration::from_millis(self.config.load_timeout_ms);
        let loaded = async {
            link.loaded().await;
            link.canary().await
        };
        match timeout(patience, loaded).await {
            Ok(true) => {}
            Ok(false) => return "it generated no first token",
            Err(_) => return "it did not load the model in time",
        }
        *served = true;
        self.state.send_replace(State::Ready(Arc::clone(link)));
        tracing::info!("the engine is ready");
        loop {
            link.suspected().await;
            if !matches!(timeout(CANARY_PATIENCE, link.canary()).await, Ok(true)) {
                return "it generates no token after a job failed";
            }
        }
    }

    /// Returns when the child hangs or has grown too large.
    async fn watch(&self, link: &Link) -> &'static str {
        link.loaded().await;
        let stall = Duration::from_millis(self.config.stall_timeout_ms);
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = 0_u64;
        loop {
            beat.tick().await;
            let pulse = link.pulse();
            // A pong is never ahead of its ping: the link refuses such a child.
            if sent.saturating_sub(pulse.pong) > HEARTBEATS_MISSED_MAX {
                return "it does not answer";
            }
            if link.silence() > stall {
                return "a job hangs in it";
            }
            if self.config.resident_bytes_max.is_some_and(|max| pulse.resident_bytes > max) {
                return "it takes too much memory";
            }
            sent += 1;
            // A child that does not read its stdin must not stop the clock here.
            drop(timeout(HEARTBEAT, link.ping(sent)).await);
        }
    }
}

async fn end(child: &mut Child) -> String {
    // It may have ended by itself; then there is nothing to kill.
    drop(child.start_kill());
    match timeout(KILL_PATIENCE, child.wait()).await {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not die".to_owned(),
    }
}

/// Doubles with each failure, and lies between half and all of that, so that the workers of a
/// machine do not start together.
fn pause(failures: u32) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let longest = doubled.min(PAUSE_MAX);
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    longest.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use cocoon_runtime::SystemClock;

    use super::*;

    /// A supervisor of a program that runs `script` in its model's folder, and ends.
    fn supervisor(folder: &Path, script: &str) -> (Supervisor, watch::Receiver<State>) {
        let (model, program) = (folder.join("model"), folder.join("engine"));
        fs::create_dir(&model).unwrap();
        fs::write(model.join("config.json"), "{}").unwrap();
        let text = format!("#!/bin/sh\ncd '{}' && {script}\n", model.display());
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let text = format!("engine_bin = '{}'", program.display());
        let config: MistralrsConfig = toml::from_str(&text).unwrap();
        let (state, seen) = watch::channel(State::Starting);
        let supervisor = Supervisor {
            manifest_digest: manifest_of(&config, &model).unwrap().digest(),
            program,
            folder: model,
            config,
            state,
            clock: Arc::new(SystemClock),
            give_up: CancellationToken::new(),
        };
        (supervisor, seen)
    }

    #[tokio::test]
    async fn a_model_or_program_that_changed_is_not_started_again() {
        let scripts =
            ["echo 1 >> config.json", "echo 1 > more.json", "rm config.json", "echo >> ../engine"];
        for script in scripts {
            let folder = tempfile::tempdir().unwrap();
            let (supervisor, state) = supervisor(folder.path(), script);
            let stopped = timeout(Duration::from_secs(30), supervisor.run()).await.unwrap();
            assert_eq!(stopped, Stopped::ModelChanged, "{script}");
            assert!(matches!(*state.borrow(), State::Down), "{script}");
        }
    }

    #[tokio::test]
    async fn the_same_model_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo >> ../runs && test $(wc -l < ../runs) -lt 2 || echo 1 > changed";
        let (supervisor, _state) = supervisor(folder.path(), script);
        let stopped = timeout(Duration::from_secs(30), supervisor.run()).await.unwrap();
        assert_eq!(stopped, Stopped::ModelChanged);
        assert_eq!(fs::read_to_string(folder.path().join("runs")).unwrap(), "\n\n");
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        for failures in 0..40 {
            let longest = PAUSE_MIN.saturating_mul(1 << (failures.clamp(1, 17) - 1)).min(PAUSE_MAX);
            let pause = pause(failures);
            assert!(longest / 2 <= pause && pause <= longest, "{failures}: {pause:?}");
        }
    }
}
