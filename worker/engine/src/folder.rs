//! The model's folder: what its configuration files say, its tokenizer, its chat template.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::template::Template;

/// The longest configuration or tokenizer file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) context_length: u32,
    pub(crate) vocab: u32,
    /// Any of these tokens ends an answer.
    pub(crate) ends: BTreeSet<u32>,
    /// Where a text begins that nothing comes before.
    pub(crate) begin: Option<u32>,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: Template,
}

impl Folder {
    pub(crate) fn open(path: &Path, context_max: Option<u32>) -> anyhow::Result<Self> {
        ensure!(path.is_dir(), "{} is not a folder", path.display());
        let config = read_json(&path.join("config.json"))?;
        let context_length = number(&config, "max_position_embeddings")?;
        let tokenizer = read_tokenizer(path)?;
        let tokenizer_config = read_json(&path.join("tokenizer_config.json"))?;
        let template_file = path.join("chat_template.jinja");
        let template_file = if template_file.is_file() {
            Some(String::from_utf8(read(&template_file)?).context("chat_template.jinja")?)
        } else {
            None
        };
        let template = Template::new(template_file, &tokenizer_config)?;
        let ends = ends(path, &config, &tokenizer_config, &tokenizer)?;
        let begin = token_text(&tokenizer_config, "bos_token")
            .and_then(|text| tokenizer.token_to_id(&text))
            .or_else(|| config.get("bos_token_id")?.as_u64()?.try_into().ok());
        Ok(Self {
            path: path.to_owned(),
            context_length: context_max.unwrap_or(context_length).min(context_length),
            vocab: number(&config, "vocab_size")?,
            ends,
            begin,
            tokenizer,
            template,
        })
    }
}

/// Every token that some file calls an end. mistral.rs panics on an id that the tokenizer does not
/// know, so such a folder is refused here.
fn ends(
    path: &Path,
    config: &Value,
    tokenizer_config: &Value,
    tokenizer: &Tokenizer,
) -> anyhow::Result<BTreeSet<u32>> {
    let mut ends = BTreeSet::new();
    let generation = path.join("generation_config.json");
    let generation = if generation.is_file() { read_json(&generation)? } else { Value::Null };
    for file in [config, &generation] {
        let ids = match file.get("eos_token_id") {
            Some(Value::Array(ids)) => ids.clone(),
            Some(id @ Value::Number(_)) => vec![id.clone()],
            _ => Vec::new(),
        };
        for id in ids {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let known = id.filter(|id| tokenizer.id_to_token(*id).is_some());
            ends.insert(known.context("eos_token_id is not a token of this model")?);
        }
    }
    if let Some(text) = token_text(tokenizer_config, "eos_token") {
        let id = tokenizer.token_to_id(&text);
        ends.insert(id.with_context(|| format!("eos_token {text} is not in the vocabulary"))?);
    }
    ensure!(!ends.is_empty(), "no file says which token ends an answer");
    Ok(ends)
}

/// A special token of tokenizer_config.json: a string, or an object with `content`.
pub(crate) fn token_text(tokenizer_config: &Value, name: &str) -> Option<String> {
    let value = tokenizer_config.get(name)?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(ToOwned::to_owned)
}

/// A number of config.json that is at least 1.
pub(crate) fn number(config: &Value, name: &str) -> anyhow::Result<u32> {
    // Models with several parts keep the language model's numbers one level down.
    let value = config.get(name).or_else(|| config.get("text_config")?.get(name));
    value
        .and_then(Value::as_u64)
        .and_then(|value| u32::try_from(value).ok())
        .filter(|value| *value > 0)
        .with_context(|| format!("config.json has no {name}"))
}

pub(crate) fn read_tokenizer(folder: &Path) -> anyhow::Result<Tokenizer> {
    let path = folder.join("tokenizer.json");
    Tokenizer::from_bytes(read(&path)?)
        .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

pub(crate) fn read_json(path: &Path) -> anyhow::Result<Value> {
    serde_json::from_slice(&read(path)?).with_context(|| format!("{} is broken", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let size = fs::metadata(path).with_context(|| format!("{}", path.display()))?.len();
    if size > FILE_BYTES_MAX {
        bail!("{} is too long for a configuration file", path.display());
    }
    fs::read(path).with_context(|| format!("{}", path.display()))
}
