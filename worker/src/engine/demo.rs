//! The models that travel inside the worker's program, and are unpacked where the child can read
//! them.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::EngineStartError;

/// A shipped model. Its folder has the public name.
#[derive(Debug)]
pub(super) struct Shipped {
    pub(super) name: &'static str,
    /// Paths in the folder, one folder deep at most, and what stands there.
    files: &'static [(&'static str, &'static [u8])],
}

macro_rules! files {
    ($folder:literal: $($path:literal),+ $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../models/", $folder, "/", $path)))),+]
    };
}

const CHAT: Shipped = Shipped {
    name: "tiny-demo",
    files: files!("tiny-demo":
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ),
};

const EMBEDDING: Shipped = Shipped {
    name: "tiny-embed",
    files: files!("tiny-embed":
        "1_Pooling/config.json",
        "config.json",
        "model.safetensors",
        "modules.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ),
};

/// The shipped model that the configuration's `model` names, if it does.
pub(super) fn shipped(model: &str) -> Option<&'static Shipped> {
    match model {
        "demo" => Some(&CHAT),
        "demo-embed" => Some(&EMBEDDING),
        _ => None,
    }
}

impl Shipped {
    /// Makes `models_dir/<name>` hold exactly the shipped files and returns it. A file that is
    /// there with other bytes is replaced, one that is not ours is removed: the digest of the
    /// folder says which model answers.
    pub(super) fn unpack(&self, models_dir: &Path) -> Result<PathBuf, EngineStartError> {
        let folder = models_dir.join(self.name);
        match self.write_all(&folder) {
            Ok(()) => Ok(folder),
            Err(source) => Err(EngineStartError::Demo { path: folder, source }),
        }
    }

    fn write_all(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        self.remove_others(folder, "")?;
        for (name, bytes) in self.files {
            let path = folder.join(name);
            if fs::read(&path).is_ok_and(|present| present == *bytes) {
                continue;
            }
            let parent = path.parent().expect("a file of a folder has a parent");
            fs::create_dir_all(parent)?;
            // Another worker may unpack into the same folder: each file appears whole or not at all.
            let part = parent.join(format!(".{}.part", std::process::id()));
            let mut file = fs::File::create(&part)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
        }
        Ok(())
    }

    fn remove_others(&self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let below = format!("{name}/");
            // A hidden file is another worker's, on its way; it counts for no digest.
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            if is_hidden || self.files.iter().any(|(ours, _)| *ours == name) {
                continue;
            }
            if !entry.file_type()?.is_dir() {
                fs::remove_file(path)?;
            } else if self.files.iter().any(|(ours, _)| ours.starts_with(&below)) {
                self.remove_others(&path, &below)?;
            } else {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let mut names: Vec<_> = entries
            .flat_map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                if !entry.path().is_dir() {
                    return vec![name];
                }
                names(&entry.path()).into_iter().map(|below| format!("{name}/{below}")).collect()
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_changed_is_put_right_again() {
        for model in ["demo", "demo-embed"] {
            let models = tempfile::tempdir().unwrap();
            let shipped = shipped(model).unwrap();
            let folder = shipped.unpack(models.path()).unwrap();
            assert_eq!(folder, models.path().join(shipped.name));
            fs::write(folder.join("config.json"), "{}").unwrap();
            fs::write(folder.join("extra.safetensors"), "x").unwrap();
            fs::create_dir_all(folder.join("1_Pooling")).unwrap();
            fs::write(folder.join("1_Pooling/model.safetensors"), "x").unwrap();
            fs::create_dir_all(folder.join("2_Dense")).unwrap();
            fs::write(folder.join("2_Dense/config.json"), "x").unwrap();
            shipped.unpack(models.path()).unwrap();
            let ours: Vec<_> = shipped.files.iter().map(|(name, _)| *name).collect();
            assert_eq!(names(&folder), ours);
            for (name, bytes) in shipped.files {
                assert_eq!(fs::read(folder.join(name)).unwrap(), *bytes);
            }
        }
        assert!(shipped("demo-other").is_none());
    }
}
