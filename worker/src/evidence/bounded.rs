//! Reading a file that must not be larger than it should.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Why a file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is over {bytes_max} bytes", path.display())]
    TooLong { path: PathBuf, bytes_max: usize },
}

/// The whole file, at most `bytes_max` of it.
pub(super) fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, FileError> {
    let bytes = read_io(path, bytes_max)
        .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    bytes.ok_or_else(|| FileError::TooLong { path: path.to_owned(), bytes_max })
}

/// The same with the system's own error; `None` is a file that is too long.
pub(super) fn read_io(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= bytes_max).then_some(bytes))
}
