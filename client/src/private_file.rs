//! Files that hold a secret: mode 0600, bounded, replaced as a whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::error::CliError;

const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
const OTHERS: u32 = 0o077;
const BYTES_MAX: u64 = 64 * 1024;

/// Reads the file; refuses one that others could read.
pub(crate) fn read(path: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::File { action: "read", path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.permissions().mode() & OTHERS != 0 {
        return Err(CliError::Content {
            path: path.into(),
            reason: format!("others can read it; run `chmod 600 {}`", path.display()),
        });
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Makes a new file; an existing one stays as it is and is an error.
pub(crate) fn create(path: &Path, text: &str) -> Result<(), CliError> {
    write_new(path, text).map_err(|source| CliError::File {
        action: "create",
        path: path.into(),
        source,
    })
}

/// Makes or replaces the file.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), CliError> {
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    let next = Path::new(&next);
    let replaced = match fs::remove_file(next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => write_new(next, text).and_then(|()| fs::rename(next, path)),
    };
    replaced.map_err(|source| CliError::File { action: "write", path: path.into(), source })
}

/// Makes the folder for its owner alone. One that is there stays as it is.
pub(crate) fn create_folder(path: &Path) -> Result<(), CliError> {
    make_folder(path).map_err(|source| CliError::File {
        action: "create",
        path: path.into(),
        source,
    })
}

/// An empty file to hold a lock on, made where it is not there.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(path)
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
