//! Evidence from a file: bytes, or their hex.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::error::CliError;

/// The bytes of a file, or of standard input for `-`; refused where there are more than `bytes_max`.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::File { action: "read", path: path.into(), source };
    let mut bytes = Vec::new();
    // One byte more tells a file that is too long from one that just fits.
    if path.as_os_str() == "-" {
        std::io::stdin().take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let file = File::open(path).map_err(failed)?;
        file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    let unusable = |reason: String| CliError::Content { path: path.into(), reason };
    match u64::try_from(bytes.len()) {
        Ok(0) => Err(unusable("it is empty".into())),
        Ok(count) if count <= bytes_max => Ok(bytes),
        _ => Err(unusable(format!("it has more than {bytes_max} bytes"))),
    }
}

/// What `bytes` stand for where all of them are hex digits and white space, else `bytes`. No binary
/// evidence looks like hex: each kind starts with a number or a tag that is no digit.
pub(crate) fn decoded(bytes: Vec<u8>) -> Vec<u8> {
    let digits: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    match hex::decode(&digits) {
        Ok(decoded) if !decoded.is_empty() => decoded,
        _ => bytes,
    }
}
