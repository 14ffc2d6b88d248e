//! What a model is: its files, and every setting of its engine that shapes answers.
//!
//! A [`Manifest`] is one JSON document with one form:
//!
//! ```json
//! {"schema":"cocoon/model/v1","engine":"mistral.rs 0.8.1","settings":{"context_length":4096},
//!  "files":[{"name":"config.json","size":612,"sha256":"<64 hex digits>"}]}
//! ```
//!
//! without a space or a line's end; fields in this order, settings and files sorted by name. Its
//! digest is SHA-256 of these bytes and nothing else, so `sha256sum` checks it. Names of files are
//! relative to the folder with `/` between parts; every file counts (weights, tokenizer, template,
//! settings of generation), hidden files and folders (a leading dot) do not; links are followed.
//! Settings that change how fast an answer comes, and not which, are left out.
//!
//! Nothing is remembered between two runs: a digest that was kept on a disk would vouch for what
//! that disk's owner has put there since.
//!
//! For the same reason the files are read again, and compared, before an engine's child is started
//! anew. The first child loads its model right after the files were hashed. Between hash and load
//! there is a moment in both cases, so on a confidential guest the folder belongs where nobody
//! outside can write: on memory (tmpfs) or under dm-verity.

mod files;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

pub use files::ManifestError;
use files::ManifestFile;
pub(super) use files::sha256;

const SCHEMA: &str = "cocoon/model/v1";

/// The document and its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    document: String,
}

/// An engine and those of its settings that shape answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    engine: String,
    settings: BTreeMap<&'static str, Setting>,
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Setting {
    Number(u64),
    Text(String),
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    engine: &'a str,
    settings: &'a BTreeMap<&'static str, Setting>,
    files: &'a [ManifestFile],
}

impl Manifest {
    /// The manifest of the model in `folder`. Reads every file: run it off the async threads.
    pub fn of_folder(folder: &Path, settings: &EngineSettings) -> Result<Self, ManifestError> {
        Ok(Self::new(settings, &files::read(folder)?))
    }

    /// The manifest where the worker holds no files: of an engine by URL, of scripted text.
    pub(super) fn without_files(settings: &EngineSettings) -> Self {
        Self::new(settings, &[])
    }

    fn new(EngineSettings { engine, settings }: &EngineSettings, files: &[ManifestFile]) -> Self {
        let document = Document { schema: SCHEMA, engine, settings, files };
        let document = serde_json::to_string(&document).expect("strings and numbers have a form");
        Self { document }
    }

    /// The exact text that the digest is over.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// SHA-256 of the document: what a policy names.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.document.as_bytes()).into()
    }
}

impl EngineSettings {
    /// An engine, version included where it is known.
    pub fn of(engine: impl Into<String>) -> Self {
        Self { engine: engine.into(), settings: BTreeMap::new() }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Setting>) -> Self {
        self.settings.insert(name, value.into());
        self
    }

    /// A setting that the configuration may leave to the model.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<impl Into<Setting>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl From<u32> for Setting {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
