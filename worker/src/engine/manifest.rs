//! Which model this is: one digest over its files and the settings that shape its answers.
//!
//! `SHA-256("cocoon/model/v1" ‖ 0 ‖ settings ‖ 0 ‖ for each file, sorted by name:
//! name ‖ 0 ‖ size (u64 big-endian) ‖ SHA-256(content))`. Names are relative to the folder with
//! `/` between parts; hidden files and folders (a leading dot) do not count; links are followed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

const DOMAIN: &[u8] = b"cocoon/model/v1\0";

/// Files and folders in a model's folder.
const ENTRIES_MAX: usize = 4096;

const FOLDERS_DEEP_MAX: usize = 8;

#[derive(Debug, Error)]
pub enum ManifestError {
    #[error("failed to read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} holds too many files, or folders too deep, for a model")]
    TooLarge { path: PathBuf },
    #[error("{path} is not UTF-8")]
    Name { path: PathBuf },
}

/// The manifest digest of the model in `folder`. Reads every file: run it off the async threads.
pub fn model_digest(folder: &Path, settings: &str) -> Result<[u8; 32], ManifestError> {
    let mut files = Vec::new();
    collect(folder, "", 0, &mut files)?;
    files.sort();
    let mut digest = with_settings(settings);
    for (name, path) in files {
        let (size, content) = file_digest(&path)?;
        digest.update(name.as_bytes());
        digest.update([0]);
        digest.update(size.to_be_bytes());
        digest.update(content);
    }
    Ok(digest.finalize().into())
}

/// The manifest digest where the worker holds no files: of an engine by URL, of scripted text.
pub(super) fn settings_digest(settings: &str) -> [u8; 32] {
    with_settings(settings).finalize().into()
}

fn with_settings(settings: &str) -> Sha256 {
    let mut digest = Sha256::new();
    digest.update(DOMAIN);
    digest.update(settings.as_bytes());
    digest.update([0]);
    digest
}

fn collect(
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<(), ManifestError> {
    let failed = |source| ManifestError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if files.len() == ENTRIES_MAX || depth == FOLDERS_DEEP_MAX {
            return Err(ManifestError::TooLarge { path: folder.to_owned() });
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| ManifestError::Name { path: path.clone() })?;
        if name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{name}/"), depth + 1, files)?;
        } else {
            files.push((name, path));
        }
    }
    Ok(())
}

fn file_digest(path: &Path) -> Result<(u64, [u8; 32]), ManifestError> {
    let failed = |source| ManifestError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let (mut digest, mut size) = (Sha256::new(), 0_u64);
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Ok((size, digest.finalize().into()));
        }
        digest.update(&buffer[..read]);
        size += u64::try_from(read).expect("a buffer's length fits 64 bits");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_name_and_setting_counts_and_hidden_files_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let digest = || model_digest(folder.path(), "a").unwrap();
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        let first = digest();
        assert_ne!(first, model_digest(folder.path(), "b").unwrap());

        fs::write(folder.path().join(".lock"), "x").unwrap();
        assert_eq!(first, digest());

        fs::create_dir(folder.path().join("part")).unwrap();
        fs::write(folder.path().join("part/a"), "").unwrap();
        let second = digest();
        assert_ne!(first, second);

        fs::write(folder.path().join("part/a"), "1").unwrap();
        assert_ne!(second, digest());
        fs::remove_dir_all(folder.path().join("part")).unwrap();
        assert_eq!(first, digest());
    }
}
