//! Reports of a confidential guest through the kernel's configfs (`tsm/report`), which is one
//! interface for TDX and SEV-SNP.
//!
//! A report is made by writing 64 bytes to `inblob` and reading `outblob`. `generation` counts the
//! writes: it must have gone on by ours and no other, else somebody else asked in between and the
//! blobs may not belong together. The kernel answers one question at a time and may say that it is
//! busy; questions of this process wait for each other. Source: the kernel's
//! `Documentation/ABI/testing/configfs-tsm-report`.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cocoon_attest::evidence::{ENDORSEMENTS_BYTES_MAX, QUOTE_BYTES_MAX};

use super::bounded;

/// Our folder among the reports.
const NAME: &str = "cocoon-worker";
/// Of a name or a number.
const WORD_BYTES_MAX: usize = 64;
const TRIES_MAX: u32 = 8;
/// After the first refusal; each later pause is that much longer.
const PAUSE: Duration = Duration::from_millis(20);

/// Why the kernel gave no report.
#[derive(Debug, thiserror::Error)]
pub enum TsmError {
    #[error("failed to use {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} holds no number, or too much", path.display())]
    Content { path: PathBuf },
    #[error("this guest's reports come from {found:?}, not from {expected:?}")]
    Provider { expected: &'static str, found: String },
    #[error("the kernel was busy, or others asked in between, {TRIES_MAX} times")]
    Busy,
}

/// The folder of reports.
#[derive(Debug)]
pub(super) struct TsmReports {
    folder: PathBuf,
    one_at_a_time: Mutex<()>,
}

/// What the kernel answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TsmReport {
    pub(super) out: Vec<u8>,
    /// Certificates, where the host gave some.
    pub(super) aux: Vec<u8>,
}

impl TsmReports {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, one_at_a_time: Mutex::new(()) }
    }

    /// A report over `report_data` by the provider that is expected.
    pub(super) fn report(
        &self,
        provider: &'static str,
        report_data: &[u8; 64],
    ) -> Result<TsmReport, TsmError> {
        let _turn = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.folder.join(NAME);
        match fs::create_dir(&folder) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => {
                return Err(TsmError::File { path: folder, source });
            }
            _ => {}
        }
        let found = word(&folder.join("provider"))?;
        if found != provider {
            return Err(TsmError::Provider { expected: provider, found });
        }
        for again in 0..TRIES_MAX {
            pause(again);
            match ask(&folder, report_data) {
                Ok(Some(report)) => return Ok(report),
                Ok(None) => {}
                Err(TsmError::File { source, .. }) if is_passing(&source) => {}
                Err(error) => return Err(error),
            }
        }
        Err(TsmError::Busy)
    }
}

/// One question; `None` where others asked too.
fn ask(folder: &Path, report_data: &[u8; 64]) -> Result<Option<TsmReport>, TsmError> {
    let generation = || {
        let path = folder.join("generation");
        word(&path)?.parse::<u64>().map_err(|_| TsmError::Content { path })
    };
    let before = generation()?;
    let inblob = folder.join("inblob");
    let written = OpenOptions::new().write(true).open(&inblob);
    written
        .and_then(|mut file| file.write_all(report_data))
        .map_err(|source| TsmError::File { path: inblob, source })?;
    let out = blob(&folder.join("outblob"), QUOTE_BYTES_MAX)?;
    let auxblob = folder.join("auxblob");
    let aux = match blob(&auxblob, ENDORSEMENTS_BYTES_MAX) {
        // A provider without certificates has no such file, or nothing in it.
        Err(TsmError::File { source, .. }) if source.kind() == ErrorKind::NotFound => Vec::new(),
        aux => aux?,
    };
    Ok((generation()? == before.wrapping_add(1)).then_some(TsmReport { out, aux }))
}

fn blob(path: &Path, bytes_max: usize) -> Result<Vec<u8>, TsmError> {
    let read = bounded::read_io(path, bytes_max);
    let read = read.map_err(|source| TsmError::File { path: path.to_owned(), source })?;
    read.ok_or_else(|| TsmError::Content { path: path.to_owned() })
}

fn word(path: &Path) -> Result<String, TsmError> {
    let bytes = blob(path, WORD_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| TsmError::Content { path: path.to_owned() })?;
    Ok(text.trim().to_owned())
}

fn is_passing(error: &io::Error) -> bool {
    use ErrorKind::{Interrupted, ResourceBusy, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | ResourceBusy | TimedOut | WouldBlock)
}

#[expect(clippy::disallowed_methods, reason = "off the async threads; the kernel gives no event")]
fn pause(again: u32) {
    std::thread::sleep(PAUSE * again);
}
