//! The fourth run-time register of a TDX guest, through the kernel's measurement files
//! (`tdx_guest/measurements`, Linux 6.16 and newer): a read gives the register, a write of 48 bytes
//! extends it.
//!
//! A register only ever goes on. So a worker that starts again on the same machine finds what an
//! earlier run measured: all of it, or, after a crash in between, a part, which is then completed.
//! Any other value is of somebody else, and only a new boot helps.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use cocoon_attest::verify::event_log::{Event, EventLog};
use sha2::{Digest as _, Sha384};

use super::bounded::{self, FileError};

const FILE: &str = "rtmr3:sha384";
const REGISTER_BYTES: usize = 48;

type Register = [u8; REGISTER_BYTES];

/// Why the log is not in the register.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("the register cannot be read")]
    Read(#[source] FileError),
    #[error("{} does not hold 48 bytes", path.display())]
    Form { path: PathBuf },
    #[error("failed to extend the register by {}", path.display())]
    Extend { path: PathBuf, source: io::Error },
    #[error(
        "something else than this worker's models and GPUs was measured since the machine booted: \
         boot it anew"
    )]
    Foreign,
}

/// Extends the register by what it lacks of `log`, and sees that it then holds the whole of it.
pub(super) fn measure(folder: &Path, log: &EventLog) -> Result<(), RegisterError> {
    let path = folder.join(FILE);
    for digest in missing(&read(&path)?, log).ok_or(RegisterError::Foreign)? {
        let extended = OpenOptions::new().write(true).open(&path);
        extended
            .and_then(|mut file| file.write_all(&digest))
            .map_err(|source| RegisterError::Extend { path: path.clone(), source })?;
    }
    if read(&path)? == log.rtmr3() { Ok(()) } else { Err(RegisterError::Foreign) }
}

/// The digests that are still to go into a register with this value; `None` where it holds anything
/// but a beginning of the log.
pub(super) fn missing(register: &Register, log: &EventLog) -> Option<Vec<Register>> {
    let digests: Vec<Register> = log.events().iter().map(Event::digest).collect();
    let mut expected = [0; REGISTER_BYTES];
    for (done, digest) in digests.iter().enumerate() {
        if expected == *register {
            return Some(digests[done..].to_vec());
        }
        expected = Sha384::new().chain_update(expected).chain_update(digest).finalize().into();
    }
    (expected == *register).then(Vec::new)
}

fn read(path: &Path) -> Result<Register, RegisterError> {
    let bytes = bounded::read(path, REGISTER_BYTES).map_err(RegisterError::Read)?;
    bytes.try_into().map_err(|_| RegisterError::Form { path: path.to_owned() })
}
