//! The outbox's file: one for each run of a worker, in a folder for each gateway.
//!
//! A record is written before the receipt can leave, with one `write` and no waiting, so it survives
//! a crash of the process. A task of its own brings the file to the disk some 50 ms later: a power
//! loss takes what was signed in that time, and of those receipts the gateway usually has its copy.
//! The owner of a file holds its lock; a run that starts takes over all files that nobody holds, and
//! what it does not understand of them is reported and left out.
//!
//! The file is readable by its owner alone. It holds what a receipt holds, salts included, and no
//! text of requests or answers. Inside a trusted environment the folder belongs on memory or on a
//! disk under a key of the environment: with a salt, somebody who can read the disk can confirm a
//! guess of what was asked.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cocoon_attest::receipt::SignedReceipt;

use super::record::{self, MAGIC};

/// Files of earlier runs that are looked at.
const FILES_MAX: usize = 64;
/// Of one file. Receipts in memory are bounded, so a file that is rewritten in time stays below.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Below this a file is not worth rewriting.
const REWRITE_BYTES_MIN: u64 = 1024 * 1024;

const EXTENSION: &str = "log";
const REWRITTEN: &str = "new";

/// An open file of records.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Something since the last sync.
    is_dirty: bool,
    /// A write failed: the file is to be written anew.
    is_broken: bool,
    /// Records that came while the file is being rewritten.
    meanwhile: Option<Vec<u8>>,
}

impl Journal {
    /// Makes the file of this run, and returns it with the receipts of earlier runs, oldest first.
    pub(super) fn open(folder: &Path, name: &str) -> io::Result<(Self, Vec<SignedReceipt>)> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let earlier = abandoned(folder)?;
        let receipts: Vec<SignedReceipt> =
            earlier.iter().flat_map(|(path, file)| read(path, file)).collect();
        let path = folder.join(format!("{name}.{EXTENSION}"));
        let (file, bytes) = write_new(&path, &receipts)?;
        sync_folder(folder)?;
        for (path, _lock) in &earlier {
            fs::remove_file(path)?;
        }
        let journal =
            Self { path, file, bytes, is_dirty: false, is_broken: false, meanwhile: None };
        Ok((journal, receipts))
    }

    /// Adds records. A failure is reported once; the file is written anew when it can be.
    pub(super) fn append(&mut self, records: &[u8]) {
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile.extend_from_slice(records);
        }
        if self.is_broken {
            return;
        }
        self.is_dirty = true;
        let length = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let outcome = match self.bytes.saturating_add(length) {
            after if after > FILE_BYTES_MAX => Err(io::ErrorKind::FileTooLarge.into()),
            after => self.file.write_all(records).map(|()| self.bytes = after),
        };
        if let Err(error) = outcome {
            self.is_broken = true;
            tracing::error!(%error, "the outbox's file cannot be written: receipts are in memory only");
        }
    }

    /// A handle to bring to the disk, where there is something to bring.
    pub(super) fn take_dirty(&mut self) -> Option<io::Result<File>> {
        std::mem::take(&mut self.is_dirty).then(|| self.file.try_clone())
    }

    /// Whether most of the file is of no use any more, or the file is broken.
    pub(super) fn wants_rewrite(&self, live_bytes: u64) -> bool {
        let useful = live_bytes.saturating_mul(2).max(REWRITE_BYTES_MIN);
        self.meanwhile.is_none() && (self.is_broken || self.bytes > useful)
    }

    /// From here on records are kept aside for the new file.
    pub(super) fn begin_rewrite(&mut self) -> Rewrite {
        self.meanwhile = Some(Vec::new());
        Rewrite { path: self.path.with_extension(REWRITTEN) }
    }

    /// Puts the new file, with what came meanwhile, in place of the old one.
    pub(super) fn end_rewrite(&mut self, rewritten: io::Result<Rewritten>) -> io::Result<()> {
        let meanwhile = self.meanwhile.take().unwrap_or_default();
        let Rewritten { path, mut file, bytes } = rewritten?;
        file.write_all(&meanwhile)?;
        fs::rename(&path, &self.path)?;
        self.bytes = bytes.saturating_add(u64::try_from(meanwhile.len()).unwrap_or(u64::MAX));
        self.file = file;
        (self.is_dirty, self.is_broken) = (true, false);
        Ok(())
    }

    /// Removes the file: there is nothing left in it that anybody needs.
    pub(super) fn remove(&self) {
        // One that stays is taken over, and removed, by a later run.
        drop(fs::remove_file(&self.path));
    }
}

/// The file that will replace the journal's.
pub(super) struct Rewrite {
    path: PathBuf,
}

/// The same once it is on disk.
pub(super) struct Rewritten {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Rewrite {
    /// Writes `receipts`. Takes as long as the disk does.
    pub(super) fn write<'a>(
        self,
        receipts: impl IntoIterator<Item = &'a SignedReceipt>,
    ) -> io::Result<Rewritten> {
        // What an earlier attempt left.
        drop(fs::remove_file(&self.path));
        let (file, bytes) = write_new(&self.path, receipts)?;
        Ok(Rewritten { path: self.path, file, bytes })
    }
}

/// Makes a file of receipts, holds its lock, and brings it to the disk.
fn write_new<'a>(
    path: &Path,
    receipts: impl IntoIterator<Item = &'a SignedReceipt>,
) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create_new(true).mode(0o600).open(path)?;
    file.try_lock()?;
    let mut bytes = MAGIC.to_vec();
    for receipt in receipts {
        bytes.extend_from_slice(&record::of_receipt(receipt));
    }
    file.write_all(&bytes)?;
    file.sync_all()?;
    Ok((file, u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
}

/// The files that nobody holds, locked by us now, oldest first.
fn abandoned(folder: &Path) -> io::Result<Vec<(PathBuf, File)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some(EXTENSION | REWRITTEN)) || found.len() == FILES_MAX {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        match file.try_lock() {
            // Another worker of this folder, alive.
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        let metadata = file.metadata()?;
        // Zero links: somebody else took it over while we looked.
        if metadata.nlink() == 0 {
            continue;
        }
        if extension == Some(REWRITTEN) {
            // The file that it was to replace is still there.
            fs::remove_file(&path)?;
            continue;
        }
        found.push((metadata.mtime(), metadata.mtime_nsec(), path, file));
    }
    found.sort_by(|one, other| (one.0, one.1, &one.2).cmp(&(other.0, other.1, &other.2)));
    Ok(found.into_iter().map(|(_, _, path, file)| (path, file)).collect())
}

fn read(path: &Path, file: &File) -> Vec<SignedReceipt> {
    let mut bytes = Vec::new();
    if let Err(error) = file.take(FILE_BYTES_MAX).read_to_end(&mut bytes) {
        tracing::error!(%error, "an earlier outbox cannot be read to its end: {}", path.display());
    }
    let replayed = record::replay(&bytes);
    let (receipts, torn) = (replayed.receipts.len(), replayed.torn_bytes);
    if torn > 0 {
        tracing::warn!(
            receipts,
            torn,
            "an earlier outbox ends in {torn} bytes that are no record; {receipts} receipts before them are kept"
        );
    }
    replayed.receipts
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
