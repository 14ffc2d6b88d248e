//! Everything but the kernel's and the library's own answers.

mod gpus;
mod register;
#[cfg(feature = "soft-tee")]
mod reports;
#[cfg(feature = "soft-tee")]
mod software;

use std::path::Path;
use std::process::Command;

use cocoon_attest::verify::event_log::{EventLog, GpuPolicy};

const NO_GPUS: GpuPolicy = GpuPolicy { gpu_count: 0, cc_on: false, devtools: false };

fn log() -> EventLog {
    EventLog::of_worker(&[[1; 32], [2; 32]], NO_GPUS).unwrap()
}

/// A pipe with a name: whoever opens it waits for the other side, as a caller waits for a kernel.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}
