//! The demo model travels inside the worker's program and is unpacked where the child can read it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::EngineStartError;

/// The demo model's public name and its folder's.
pub(super) const NAME: &str = "tiny-demo";

const FILES: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../../../models/tiny-demo/config.json")),
    ("generation_config.json", include_bytes!("../../../models/tiny-demo/generation_config.json")),
    ("model.safetensors", include_bytes!("../../../models/tiny-demo/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../../models/tiny-demo/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../../models/tiny-demo/tokenizer_config.json")),
];

/// Makes `models_dir/tiny-demo` hold exactly the shipped files and returns it. A file that is
/// there with other bytes is replaced, one that is not ours is removed: the digest of the folder
/// says which model answers.
pub(super) fn unpack(models_dir: &Path) -> Result<PathBuf, EngineStartError> {
    let folder = models_dir.join(NAME);
    match write_all(&folder) {
        Ok(()) => Ok(folder),
        Err(source) => Err(EngineStartError::Demo { path: folder, source }),
    }
}

fn write_all(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let ours = FILES.iter().any(|(name, _)| entry.file_name() == *name);
        if !ours && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    for (name, bytes) in FILES {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|present| present == bytes) {
            continue;
        }
        // Another worker may unpack into the same folder: each file appears whole or not at all.
        let mut file = tempfile_in(folder, name)?;
        file.1.write_all(bytes)?;
        file.1.sync_all()?;
        fs::rename(&file.0, &path)?;
    }
    Ok(())
}

fn tempfile_in(folder: &Path, name: &str) -> io::Result<(PathBuf, fs::File)> {
    let path = folder.join(format!(".{name}.{}", std::process::id()));
    let file = fs::File::create(&path)?;
    Ok((path, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_put_right_again() {
        let models = tempfile::tempdir().unwrap();
        let folder = unpack(models.path()).unwrap();
        fs::write(folder.join("config.json"), "{}").unwrap();
        fs::write(folder.join("extra.safetensors"), "x").unwrap();
        unpack(models.path()).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, FILES.map(|(name, _)| name));
        for (name, bytes) in FILES {
            assert_eq!(fs::read(folder.join(name)).unwrap(), bytes);
        }
    }
}
