//! The last policy that was in force, on the disk: what a rollback is measured by.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use cocoon_attest::policy::Seen;

use super::PolicyProblem;

/// `None` where no policy was ever in force. A file that cannot be read is not that.
pub(super) fn read(path: &Path) -> Result<Option<Seen>, PolicyProblem> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PolicyProblem::Read { path: path.to_owned(), source }),
    };
    let seen = serde_json::from_slice(&text)
        .map_err(|_| PolicyProblem::SeenMalformed { path: path.to_owned() })?;
    Ok(Some(seen))
}

/// Durable when it returns: a file beside it, its disk, the rename, the folder's disk.
pub(super) fn write(path: &Path, seen: Seen) -> Result<(), PolicyProblem> {
    let text = serde_json::to_vec(&seen).expect("a number and a digest are JSON");
    let beside = path.with_extension("seen.tmp");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| PolicyProblem::SeenWrite { path: path.to_owned(), source })
}
