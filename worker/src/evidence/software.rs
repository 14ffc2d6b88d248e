//! The software TEE on disk, and evidence from it: no protection at all.
//!
//! A folder holds `seed.key`, the secret that everything follows from; `snp.key`, where SEV-SNP is
//! wanted, whose signer has a key of its own; and `policy.rows.toml`, the sections of a policy that
//! admit exactly this.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use cocoon_attest::evidence::{Device, Evidence};
use cocoon_attest::softtee::{SoftTee, snp_key};
use cocoon_attest::verify::event_log::{EventLog, GpuPolicy};
use cocoon_primitives::Timestamp;

use super::{IMAGE, bounded};

const SEED: &str = "seed.key";
const SNP_KEY: &str = "snp.key";
/// What a policy has to say.
pub const ROWS: &str = "policy.rows.toml";
const KEY_BYTES_MAX: usize = 16 * 1024;

/// Why a folder is not usable.
#[derive(Debug, thiserror::Error)]
pub enum SoftwareTeeError {
    #[error("failed to read or write {file} ({source})")]
    File { file: &'static str, source: io::Error },
    #[error("{file} does not hold a key")]
    Key { file: &'static str },
    #[error("there is no {SNP_KEY}: make it with `cocoon-worker soft-tee init --snp`")]
    NoSnp,
}

/// What a folder is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitOptions {
    /// GPUs of each worker.
    pub gpus: u32,
    pub has_snp: bool,
}

/// Which processor is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoftwareKind {
    Tdx,
    Snp,
}

/// A guest that a [`SoftTee`] plays.
pub struct SoftwareGuest {
    tee: SoftTee,
    kind: SoftwareKind,
    gpus: u32,
    image: String,
}

/// Makes a folder and returns its policy's rows. Keys that exist are kept.
pub fn init(dir: &Path, options: InitOptions) -> Result<String, SoftwareTeeError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system gives random bytes");
    init_from_seed(dir, &seed, options)
}

/// The same with a seed of the caller's, unless the folder has one.
pub fn init_from_seed(
    dir: &Path,
    seed: &[u8; 32],
    options: InitOptions,
) -> Result<String, SoftwareTeeError> {
    fs::create_dir_all(dir).map_err(|source| SoftwareTeeError::File { file: SEED, source })?;
    keep_or_write(dir, SEED, || format!("{}\n", hex::encode(seed)).into_bytes())?;
    if options.has_snp {
        let seed = read_seed(dir)?;
        keep_or_write(dir, SNP_KEY, || snp_key(&seed))?;
    }
    let rows = open(dir)?.policy_rows(IMAGE, options.gpus);
    let written = fs::write(dir.join(ROWS), &rows);
    written.map_err(|source| SoftwareTeeError::File { file: ROWS, source })?;
    Ok(rows)
}

/// The software TEE of a folder.
pub fn open(dir: &Path) -> Result<SoftTee, SoftwareTeeError> {
    let tee = SoftTee::from_seed(&read_seed(dir)?);
    match bounded::read_io(&dir.join(SNP_KEY), KEY_BYTES_MAX) {
        Ok(Some(pkcs8)) => {
            tee.with_snp_key(&pkcs8).map_err(|_| SoftwareTeeError::Key { file: SNP_KEY })
        }
        Ok(None) => Err(SoftwareTeeError::Key { file: SNP_KEY }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(tee),
        Err(source) => Err(SoftwareTeeError::File { file: SNP_KEY, source }),
    }
}

fn read_seed(dir: &Path) -> Result<[u8; 32], SoftwareTeeError> {
    let unusable = SoftwareTeeError::Key { file: SEED };
    let bytes = bounded::read_io(&dir.join(SEED), KEY_BYTES_MAX)
        .map_err(|source| SoftwareTeeError::File { file: SEED, source })?;
    let Some(bytes) = bytes else { return Err(unusable) };
    let mut seed = [0; 32];
    match hex::decode_to_slice(bytes.trim_ascii(), &mut seed) {
        Ok(()) => Ok(seed),
        Err(_) => Err(unusable),
    }
}

fn keep_or_write(
    dir: &Path,
    file: &'static str,
    content: impl FnOnce() -> Vec<u8>,
) -> Result<(), SoftwareTeeError> {
    let failed = |source| SoftwareTeeError::File { file, source };
    let path = dir.join(file);
    if path.exists() {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    let mut out = match options.write(true).create_new(true).mode(0o600).open(&path) {
        Ok(out) => out,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    out.write_all(&content()).map_err(failed)?;
    out.sync_all().map_err(failed)
}

impl SoftwareGuest {
    /// A guest of the folder `dir`.
    pub fn open(
        dir: &Path,
        kind: SoftwareKind,
        gpus: u32,
        image: Option<String>,
    ) -> Result<Self, SoftwareTeeError> {
        let tee = open(dir)?;
        if kind == SoftwareKind::Snp && tee.snp_signer().is_none() {
            return Err(SoftwareTeeError::NoSnp);
        }
        Ok(Self { tee, kind, gpus, image: image.unwrap_or_else(|| IMAGE.to_owned()) })
    }

    pub(super) fn image(&self) -> &str {
        &self.image
    }

    pub(super) fn gpus(&self) -> GpuPolicy {
        GpuPolicy { gpu_count: self.gpus, cc_on: self.gpus > 0, devtools: false }
    }

    pub(super) fn devices(&self, nonce: [u8; 32], now: Timestamp) -> Vec<Device> {
        (0..self.gpus).map(|index| self.tee.gpu(index, nonce, now)).collect()
    }

    pub(super) fn evidence(
        &self,
        report_data: [u8; 64],
        log: &EventLog,
        now: Timestamp,
    ) -> Evidence {
        match self.kind {
            SoftwareKind::Tdx => self.tee.tdx(report_data, log, &self.image, now),
            SoftwareKind::Snp => {
                let evidence = self.tee.snp(report_data, log, &self.image, now);
                evidence.expect("a guest of this kind is opened with its key only")
            }
        }
    }
}

impl fmt::Debug for SoftwareGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareGuest({:?}, {} GPUs, {:?})", self.kind, self.gpus, self.image)
    }
}
