//! The files of a model's folder, each with its size and hash.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Files and folders in a model's folder.
const ENTRIES_MAX: usize = 4096;

const FOLDERS_DEEP_MAX: usize = 8;

/// Why there is no manifest.
#[derive(Debug, Error)]
pub enum ManifestError {
    #[error("failed to read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} holds too many files, or folders too deep, for a model")]
    TooLarge { path: PathBuf },
    #[error("{path} is not UTF-8")]
    Name { path: PathBuf },
}

/// One file, as the manifest lists it.
#[derive(Debug, Serialize)]
pub(super) struct ManifestFile {
    name: String,
    size: u64,
    /// Hex.
    sha256: String,
}

/// Every visible file of `folder`, sorted by name.
pub(super) fn read(folder: &Path) -> Result<Vec<ManifestFile>, ManifestError> {
    let mut found = Vec::new();
    collect(folder, "", 0, &mut found)?;
    found.sort();
    found.into_iter().map(|(name, path)| hash(name, &path)).collect()
}

fn collect(
    folder: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Vec<(String, PathBuf)>,
) -> Result<(), ManifestError> {
    let failed = |source| ManifestError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if found.len() == ENTRIES_MAX || depth == FOLDERS_DEEP_MAX {
            return Err(ManifestError::TooLarge { path: folder.to_owned() });
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| ManifestError::Name { path: path.clone() })?;
        if name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{name}/"), depth + 1, found)?;
        } else {
            found.push((name, path));
        }
    }
    Ok(())
}

/// SHA-256 of one file, in hex.
pub(in crate::engine) fn sha256(path: &Path) -> Result<String, ManifestError> {
    Ok(hash(String::new(), path)?.sha256)
}

fn hash(name: String, path: &Path) -> Result<ManifestFile, ManifestError> {
    let failed = |source| ManifestError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let (mut digest, mut size) = (Sha256::new(), 0_u64);
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Ok(ManifestFile { name, size, sha256: hex::encode(digest.finalize()) });
        }
        digest.update(&buffer[..read]);
        size += u64::try_from(read).expect("a buffer's length fits 64 bits");
    }
}
