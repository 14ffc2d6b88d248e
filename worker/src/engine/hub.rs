//! A model from the hub: downloaded once, then a folder like any other.
//!
//! Files come from `{endpoint}/{org}/{name}/resolve/{revision}/{file}` into
//! `models_dir/{org}--{name}` (and `@{revision}` behind it for another revision than `main`).
//!
//! Invariants: each file appears whole or not at all (temporary name, then renamed), so that a
//! download that broke off goes on with the files that are missing; where the hub says which
//! commit it answers from, all files are of that one; a folder that is marked complete is used
//! without any network. All files together keep to `hub_bytes_max`. Names of files come from a
//! list of our own or from the model's index, and there only plain ones are taken.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::Deserialize;
use thiserror::Error;
use tokio::fs;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::config::MistralrsConfig;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of a file, and until its head.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: usize = 5;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Of each file that is no weights; a tokenizer takes some ten of them.
const TEXT_BYTES_MAX: u64 = 64 * 1024 * 1024;
const SHARDS_MAX: usize = 1024;
/// Of an organisation, of a model's name, of a file's.
const NAME_BYTES_MAX: usize = 96;

/// What a model has beside its weights, and whether it can do without.
const TEXTS: [(&str, Need); 6] = [
    ("config.json", Need::Required),
    ("generation_config.json", Need::Optional),
    ("tokenizer.json", Need::Required),
    ("tokenizer_config.json", Need::Required),
    ("chat_template.jinja", Need::Optional),
    (MODULES, Need::Optional),
];
/// An embedding model says here which folders its parts lie in.
const MODULES: &str = "modules.json";
const MODULES_MAX: usize = 16;
const INDEX: &str = "model.safetensors.index.json";
const WHOLE: &str = "model.safetensors";

/// The hub names the commit that it answers from here.
const COMMIT_HEADER: &str = "x-repo-commit";
/// Hidden, so that neither counts for the model's digest.
const COMMIT_FILE: &str = ".commit";
const COMPLETE_FILE: &str = ".complete";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
}

/// Why a model of the hub is not there.
#[derive(Debug, Error)]
pub enum HubError {
    #[error(
        "the hub {endpoint} cannot be reached; without a network, bring the model's files into \
         a folder and name that folder as `model`"
    )]
    Unreachable { endpoint: String, source: reqwest::Error },
    #[error(
        "there is no folder {id}, and the hub has no such model or hides it (status {status}); \
         for a private or gated one set hub_token_file"
    )]
    NotFound { id: String, status: u16 },
    #[error("{id} has no {file} at the hub, so it cannot be served")]
    Missing { id: String, file: String },
    #[error("the hub answered with status {status} for {file}")]
    Status { file: String, status: u16 },
    #[error("the download of {file} broke off; the next start goes on with what is missing")]
    Broken { file: String, source: reqwest::Error },
    #[error("the model has more bytes than hub_bytes_max, or {file} more than such a file may")]
    TooLarge { file: String },
    #[error("{file} does not list the model's files by plain names")]
    Index { file: String },
    #[error("hub_token_file {path} cannot be used")]
    Token { path: PathBuf, source: io::Error },
    #[error("failed to write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("failed to set up the client for the hub")]
    Client(#[source] reqwest::Error),
}

/// Whether `model` can be the hub's name of a model: `org/name`.
pub(super) fn is_id(model: &str) -> bool {
    model.split_once('/').is_some_and(|(org, name)| is_plain(org) && is_plain(name))
}

/// Whether `text` can stand in a URL's path and name a visible file in a folder.
pub(super) fn is_plain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with(['.', '-'])
}

/// The folder of the model `config.model`, downloaded where it is not there yet.
pub(super) async fn fetch(
    config: &MistralrsConfig,
    models_dir: &Path,
) -> Result<PathBuf, HubError> {
    let mut name = config.model.replace('/', "--");
    if config.hub_revision != "main" {
        name = format!("{name}@{}", config.hub_revision);
    }
    let folder = models_dir.join(name);
    if fs::try_exists(folder.join(COMPLETE_FILE)).await.unwrap_or(false) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).await.map_err(|source| failed(&folder, source))?;
    let mut download = Download::new(config, folder).await?;
    download.all().await?;
    Ok(download.folder)
}

/// One model on its way.
struct Download {
    client: Client,
    endpoint: String,
    id: String,
    revision: String,
    authorization: Option<HeaderValue>,
    folder: PathBuf,
    /// Of `hub_bytes_max`.
    bytes_left: u64,
    bytes_done: u64,
    reported: Instant,
}

impl Download {
    async fn new(config: &MistralrsConfig, folder: PathBuf) -> Result<Self, HubError> {
        // Another part of the process may have chosen the provider already; it is the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let endpoint = config.hub_endpoint();
        let mut client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(redirect::Policy::limited(REDIRECTS_MAX));
        client = if endpoint.starts_with("https://") {
            client.https_only(true)
        } else {
            // A mirror inside one's own network: no proxy knows it.
            client.no_proxy()
        };
        let commit = fs::read_to_string(folder.join(COMMIT_FILE)).await.ok();
        let revision = commit.filter(|commit| is_plain(commit));
        Ok(Self {
            client: client.build().map_err(HubError::Client)?,
            endpoint,
            id: config.model.clone(),
            revision: revision.unwrap_or_else(|| config.hub_revision.clone()),
            authorization: authorization(config).await?,
            folder,
            bytes_left: config.hub_bytes_max,
            bytes_done: 0,
            reported: Instant::now(),
        })
    }

    async fn all(&mut self) -> Result<(), HubError> {
        tracing::info!("downloading {} from {}", self.id, self.endpoint);
        for (file, need) in TEXTS {
            self.file(file, need, TEXT_BYTES_MAX).await?;
        }
        for (file, bytes_max) in self.parts().await? {
            self.file(&file, Need::Required, bytes_max).await?;
        }
        let shards = if self.file(INDEX, Need::Optional, TEXT_BYTES_MAX).await? {
            self.shards().await?
        } else {
            BTreeSet::from([WHOLE.to_owned()])
        };
        for shard in shards {
            self.file(&shard, Need::Required, u64::MAX).await?;
        }
        let complete = self.folder.join(COMPLETE_FILE);
        fs::write(&complete, "").await.map_err(|source| failed(&complete, source))?;
        tracing::info!("downloaded {}: {} MiB", self.id, self.bytes_done >> 20);
        Ok(())
    }

    /// The files below folders that an embedding model has.
    async fn parts(&self) -> Result<Vec<(String, u64)>, HubError> {
        #[derive(Deserialize)]
        struct Module {
            path: String,
            #[serde(rename = "type")]
            kind: String,
        }
        let path = self.folder.join(MODULES);
        let text = match fs::read(&path).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed(&path, source)),
        };
        let malformed = || HubError::Index { file: MODULES.to_owned() };
        let modules: Vec<Module> = serde_json::from_slice(&text).map_err(|_| malformed())?;
        if modules.len() > MODULES_MAX {
            return Err(malformed());
        }
        let mut parts = Vec::new();
        for Module { path, kind } in modules {
            let (has_config, has_weights) = match kind.rsplit('.').next() {
                Some("Pooling") => (true, false),
                Some("Dense") => (true, true),
                _ => (false, false),
            };
            if has_config && !is_plain(&path) {
                return Err(malformed());
            }
            if has_config {
                parts.push((format!("{path}/config.json"), TEXT_BYTES_MAX));
            }
            if has_weights {
                parts.push((format!("{path}/{WHOLE}"), u64::MAX));
            }
        }
        Ok(parts)
    }

    /// The files that the index names.
    async fn shards(&self) -> Result<BTreeSet<String>, HubError> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: std::collections::BTreeMap<String, String>,
        }
        let path = self.folder.join(INDEX);
        let text = fs::read(&path).await.map_err(|source| failed(&path, source))?;
        let malformed = || HubError::Index { file: INDEX.to_owned() };
        let index: Index = serde_json::from_slice(&text).map_err(|_| malformed())?;
        let shards: BTreeSet<String> = index.weight_map.into_values().collect();
        let usable = |file: &String| is_plain(file) && file.ends_with(".safetensors");
        if shards.is_empty() || shards.len() > SHARDS_MAX || !shards.iter().all(usable) {
            return Err(malformed());
        }
        Ok(shards)
    }

    /// Makes a file be there; whether the hub has it.
    async fn file(&mut self, file: &str, need: Need, bytes_max: u64) -> Result<bool, HubError> {
        let path = self.folder.join(file);
        if let Ok(there) = fs::metadata(&path).await {
            return self.take(file, there.len()).map(|()| true);
        }
        let mut request = self
            .client
            .get(format!("{}/{}/resolve/{}/{file}", self.endpoint, self.id, self.revision));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(|error| HubError::Unreachable {
            endpoint: self.endpoint.clone(),
            source: error.without_url(),
        })?;
        if !self.accept(file, need, response.status())? {
            return Ok(false);
        }
        if file == TEXTS[0].0 {
            self.pin(&response).await?;
        }
        if response.content_length().is_some_and(|bytes| bytes > bytes_max.min(self.bytes_left)) {
            return Err(HubError::TooLarge { file: file.to_owned() });
        }
        self.receive(file, response, bytes_max).await?;
        Ok(true)
    }

    /// Whether the status means that the file comes.
    fn accept(&self, file: &str, need: Need, status: StatusCode) -> Result<bool, HubError> {
        let (id, is_first) = (self.id.clone(), file == TEXTS[0].0);
        match status {
            StatusCode::OK => Ok(true),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(HubError::NotFound { id, status: status.as_u16() })
            }
            StatusCode::NOT_FOUND if is_first => {
                Err(HubError::NotFound { id, status: status.as_u16() })
            }
            StatusCode::NOT_FOUND if need == Need::Optional => Ok(false),
            StatusCode::NOT_FOUND => Err(HubError::Missing { id, file: file.to_owned() }),
            status => Err(HubError::Status { file: file.to_owned(), status: status.as_u16() }),
        }
    }

    /// The other files are of the same commit as the first, also when a branch moves meanwhile.
    async fn pin(&mut self, response: &Response) -> Result<(), HubError> {
        let commit = response.headers().get(COMMIT_HEADER).and_then(|value| value.to_str().ok());
        let Some(commit) = commit.filter(|commit| is_plain(commit)) else { return Ok(()) };
        commit.clone_into(&mut self.revision);
        let path = self.folder.join(COMMIT_FILE);
        fs::write(&path, commit).await.map_err(|source| failed(&path, source))
    }

    /// Writes a file under a temporary name and renames it once it is whole and on disk.
    async fn receive(
        &mut self,
        file: &str,
        mut response: Response,
        bytes_max: u64,
    ) -> Result<(), HubError> {
        let path = self.folder.join(file);
        let parent = path.parent().expect("a file of a folder has a parent");
        fs::create_dir_all(parent).await.map_err(|source| failed(parent, source))?;
        let part = Part(parent.join(format!(".{}.part", std::process::id())));
        let write_failed = |source| failed(&part.0, source);
        let mut out = fs::File::create(&part.0).await.map_err(write_failed)?;
        let total = response.content_length();
        let mut bytes = 0_u64;
        loop {
            let piece = response.chunk().await.map_err(|error| HubError::Broken {
                file: file.to_owned(),
                source: error.without_url(),
            })?;
            let Some(piece) = piece else { break };
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            bytes = bytes.saturating_add(length);
            if bytes > bytes_max {
                return Err(HubError::TooLarge { file: file.to_owned() });
            }
            self.take(file, length)?;
            out.write_all(&piece).await.map_err(write_failed)?;
            self.report(file, bytes, total);
        }
        out.sync_all().await.map_err(write_failed)?;
        fs::rename(&part.0, &path).await.map_err(|source| failed(&path, source))
    }

    /// Counts bytes against what the model may have.
    fn take(&mut self, file: &str, bytes: u64) -> Result<(), HubError> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or_else(|| HubError::TooLarge { file: file.to_owned() })?;
        self.bytes_done = self.bytes_done.saturating_add(bytes);
        Ok(())
    }

    fn report(&mut self, file: &str, bytes: u64, total: Option<u64>) {
        if self.reported.elapsed() < PROGRESS_INTERVAL {
            return;
        }
        self.reported = Instant::now();
        let of = total.map(|total| format!(" of {}", total >> 20)).unwrap_or_default();
        tracing::info!("downloading {}: {file}, {}{of} MiB", self.id, bytes >> 20);
    }
}

/// A file that is being written; what is left under its name goes with it.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // Renamed already, or not to be kept; one that stays is hidden and harms nobody.
        drop(std::fs::remove_file(&self.0));
    }
}

async fn authorization(config: &MistralrsConfig) -> Result<Option<HeaderValue>, HubError> {
    let Some(path) = &config.hub_token_file else { return Ok(None) };
    let unusable = |source| HubError::Token { path: path.clone(), source };
    let text = fs::read_to_string(path).await.map_err(unusable)?;
    let token = text.lines().next().unwrap_or_default().trim();
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|error| unusable(io::Error::other(error)))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn failed(path: &Path, source: io::Error) -> HubError {
    HubError::Write { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_the_hubs() {
        for id in ["Qwen/Qwen3-0.6B", "a/b", "meta-llama/Llama-3.2_1B.v2"] {
            assert!(is_id(id), "{id}");
        }
        let long = format!("a/{}", "b".repeat(97));
        for id in ["demo", "/a", "a/", "a/b/c", "./model", "../b", "a/..", "a/b?c", "a /b", &long] {
            assert!(!is_id(id), "{id}");
        }
    }
}
