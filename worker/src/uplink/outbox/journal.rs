//! The outbox's file: one for each run of a worker, in a folder for each gateway.
//!
//! A record is written before the receipt can leave, with one `write` and no waiting, so it survives
//! a crash of the process. A task of its own brings the file to the disk some 50 ms later: a power
//! loss takes what was signed in that time, and of those receipts the gateway usually has its copy.
//! The owner of a file holds its lock; a run that starts takes over all files that nobody holds, those
//! that were to replace one included: a receipt that stands in two of them is taken once. What is cut
//! at its end is what a crash leaves. A file that it does not understand otherwise, or cannot read, is
//! reported, and stays, with `.bad` after its name, whatever could be taken from it.
//!
//! The file is readable by its owner alone. It holds what a receipt holds, salts included, and no
//! text of requests or answers. Inside a trusted environment the folder belongs on memory or on a
//! disk under a key of the environment: with a salt, somebody who can read the disk can confirm a
//! guess of what was asked.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cocoon_attest::receipt::SignedReceipt;

use super::record::{self, End, MAGIC};

/// Files of earlier runs that are looked at.
const FILES_MAX: usize = 64;
/// Of one file. Receipts in memory are bounded, so a file that is rewritten in time stays below.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Below this a file is not worth rewriting.
const REWRITE_BYTES_MIN: u64 = 1024 * 1024;

const EXTENSION: &str = "log";
const REWRITTEN: &str = "new";
const BAD: &str = "bad";

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
        let (mut receipts, mut seen, mut done) = (Vec::new(), BTreeSet::new(), Vec::new());
        for (path, file) in &earlier {
            let (found, is_understood) = read(path, file);
            let is_new = |receipt: &SignedReceipt| seen.insert(receipt.core.clone());
            receipts.extend(found.into_iter().filter(is_new));
            done.push((path, is_understood));
        }
        let path = folder.join(format!("{name}.{EXTENSION}"));
        let (file, bytes) = write_new(&path, &receipts)?;
        sync_folder(folder)?;
        for (path, is_understood) in done {
            if is_understood { fs::remove_file(path)? } else { set_aside(path)? }
        }
        // The locks go now: nobody has looked into a file before it was dealt with.
        drop(earlier);
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

    /// The file did not reach the disk, and nobody knows how much of it did: it is written anew.
    pub(super) fn distrust(&mut self) {
        (self.is_dirty, self.is_broken) = (true, true);
    }

    /// Makes every wait for the disk fail from now on.
    #[cfg(test)]
    pub(super) fn lose_disk(&mut self) {
        self.file = OpenOptions::new().append(true).open("/dev/null").expect("it is always there");
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

    /// Puts the new file, with what came meanwhile, in place of the old one, and returns the folder,
    /// which has to reach the disk too.
    pub(super) fn end_rewrite(&mut self, rewritten: io::Result<Rewritten>) -> io::Result<PathBuf> {
        let meanwhile = self.meanwhile.take().unwrap_or_default();
        let Rewritten { path, mut file, bytes } = rewritten?;
        file.write_all(&meanwhile)?;
        fs::rename(&path, &self.path)?;
        self.bytes = bytes.saturating_add(u64::try_from(meanwhile.len()).unwrap_or(u64::MAX));
        self.file = file;
        (self.is_dirty, self.is_broken) = (true, false);
        Ok(self.path.parent().map(Path::to_owned).unwrap_or_default())
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
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) => {
                tracing::error!(%error, "an earlier outbox cannot be opened: {}", path.display());
                continue;
            }
        };
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
        found.push((metadata.mtime(), metadata.mtime_nsec(), path, file));
    }
    found.sort_by(|one, other| (one.0, one.1, &one.2).cmp(&(other.0, other.1, &other.2)));
    Ok(found.into_iter().map(|(_, _, path, file)| (path, file)).collect())
}

/// The receipts of a file, and whether that is all that it can have held.
fn read(path: &Path, mut file: &File) -> (Vec<SignedReceipt>, bool) {
    let mut bytes = Vec::new();
    let shown = path.display();
    let mut is_whole = true;
    if let Err(error) = Read::take(&mut file, FILE_BYTES_MAX + 1).read_to_end(&mut bytes) {
        tracing::error!(%error, "an earlier outbox cannot be read to its end: {shown}");
        is_whole = false;
    }
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        tracing::error!("an earlier outbox is over {FILE_BYTES_MAX} bytes: {shown}");
        is_whole = false;
    }
    let replayed = record::replay(&bytes);
    let (receipts, torn) = (replayed.receipts.len(), replayed.torn_bytes);
    match replayed.end {
        End::Whole => {}
        End::Cut => tracing::warn!(
            receipts,
            torn,
            "an earlier outbox ends in {torn} bytes of a record; {receipts} receipts before them are kept"
        ),
        End::Unknown => {
            tracing::error!(
                receipts,
                torn,
                "an earlier outbox has {torn} bytes that are no record; {receipts} receipts before them are kept: {shown}"
            );
            is_whole = false;
        }
    }
    (replayed.receipts, is_whole)
}

/// Keeps a file for a person to look at, under a name that no run reads or takes.
fn set_aside(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let free = (0_u32..).map(|count| match count {
        0 => path.with_file_name(format!("{name}.{BAD}")),
        _ => path.with_file_name(format!("{name}.{count}.{BAD}")),
    });
    let free = free.into_iter().find(|aside| !aside.exists()).unwrap_or_else(|| path.to_owned());
    tracing::error!("an earlier outbox is kept as {}", free.display());
    fs::rename(path, free)
}

/// Brings the names in a folder to the disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
