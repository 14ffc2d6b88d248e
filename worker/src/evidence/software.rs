//! The software root on disk: `root.key` (secret) and `root.pub` (what a policy names), as hex.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use cocoon_attest::evidence::software::SoftwareRoot;

use super::RootKeyError;

/// Reads a root's secret seed.
pub fn read_root(path: &Path) -> Result<SoftwareRoot, RootKeyError> {
    let text = std::fs::read_to_string(path).map_err(RootKeyError::File)?;
    let mut seed = [0; 32];
    hex::decode_to_slice(text.trim(), &mut seed).map_err(|_| RootKeyError::Form)?;
    Ok(SoftwareRoot::from_seed(&seed))
}

/// Makes a root in `dir` and returns its public key. One that exists is kept: the gateway's
/// policy names it.
pub fn init_root(dir: &Path) -> Result<[u8; 32], RootKeyError> {
    std::fs::create_dir_all(dir).map_err(RootKeyError::File)?;
    let key_path = dir.join("root.key");
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system gives random bytes");
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(&key_path) {
        Ok(mut file) => {
            writeln!(file, "{}", hex::encode(seed)).map_err(RootKeyError::File)?;
            file.sync_all().map_err(RootKeyError::File)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(RootKeyError::File(error)),
    }
    let public = read_root(&key_path)?.public();
    let text = format!("{}\n", hex::encode(public));
    std::fs::write(dir.join("root.pub"), text).map_err(RootKeyError::File)?;
    Ok(public)
}
