//! Whether a grammar can be compiled at all, found out where it harms nobody.
//!
//! llguidance bounds neither its time nor, where a schema's references lead from one to the next,
//! its recursion: a schema of a hundred kilobytes can overflow the stack, which ends a process, and
//! one of ten kilobytes can keep a processor for a minute. So a grammar is compiled first in a
//! process of its own, this same program, with limits of the system on its time and memory. What
//! ends well there is compiled again here, where it then ends well too.
//!
//! Bounds: [`CPU_SECONDS`] and [`MEMORY_KIB`] for each probe; [`KNOWN_MAX`] grammars that passed are
//! remembered by a keyed hash, so that an agent that sends its tools with every turn pays once.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use super::Grammars;

const CPU_SECONDS: u32 = 4;
/// Address space, most of it the program's own and its stack's.
const MEMORY_KIB: u32 = 4 * 1024 * 1024;
const KNOWN_MAX: usize = 256;

/// The argument that makes this program a probe.
pub(crate) const ARGUMENT: &str = "--probe-grammar";

#[derive(Debug)]
pub(crate) struct Probe {
    program: PathBuf,
    known: Mutex<VecDeque<u64>>,
    hasher: RandomState,
}

impl Probe {
    pub(crate) fn this_program() -> std::io::Result<Self> {
        let (known, hasher) = (Mutex::default(), RandomState::new());
        Ok(Self { program: std::env::current_exe()?, known, hasher })
    }

    /// Waits for the probe: not for a thread of the runtime.
    pub(super) fn passes(&self, text: &str) -> bool {
        let hash = self.hasher.hash_one(text);
        if self.known().contains(&hash) {
            return true;
        }
        let passes = self.run(text).is_ok_and(|passes| passes);
        if passes {
            let mut known = self.known();
            known.truncate(KNOWN_MAX - 1);
            known.push_front(hash);
        }
        passes
    }

    fn run(&self, text: &str) -> std::io::Result<bool> {
        // A shell is how a program without unsafe code limits another one.
        let limits = format!("ulimit -t {CPU_SECONDS} && ulimit -v {MEMORY_KIB} && exec \"$@\"");
        let mut probe = Command::new("/bin/sh")
            .args(["-c", &limits, "sh"])
            .arg(&self.program)
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut input) = probe.stdin.take() {
            // A probe that ended early says so by its status.
            drop(input.write_all(text.as_bytes()));
        }
        // It reads, computes and ends, so that the limit on its time is one on this wait.
        Ok(probe.wait()?.success())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, VecDeque<u64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The probe's own side: compiles what stdin says, in a vocabulary of single bytes.
pub(crate) fn main() -> ExitCode {
    let mut text = String::new();
    if std::io::stdin().lock().read_to_string(&mut text).is_err() {
        return ExitCode::FAILURE;
    }
    let mut words: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    words.push(b"\xff<end>".to_vec());
    let end = 256;
    let grammars = Grammars::new(words, std::sync::Arc::new([end].into()), None);
    if grammars.compile_text(text).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
