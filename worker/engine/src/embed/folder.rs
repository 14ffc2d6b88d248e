//! The folder of an embedding model, as sentence-transformers lays it out.
//!
//! What mistral.rs 0.8 would only panic about later, such as a pooling that it does not have, is
//! refused here, with the reason.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::folder::{number, read_json, read_tokenizer};

/// What makes a folder that of an embedding model.
const MODULES: &str = "modules.json";

/// Tokens of one input, whatever the model allows: mistral.rs 0.8 writes the attention mask out,
/// four bytes for each pair of tokens, several times over. 8,192 is what OpenAI's models take.
const CONTEXT_MAX: u32 = 8192;

/// Modules of one model.
const MODULES_MAX: usize = 16;

pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) context_length: u32,
    pub(crate) vocab: u32,
    pub(super) dimensions: u32,
    pub(super) reader: Reader,
}

/// Text to token ids, with what the model wants before and behind them.
pub(super) struct Reader {
    tokenizer: Tokenizer,
    before: Vec<u32>,
    behind: Vec<u32>,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Every way of pooling that sentence-transformers has; mistral.rs has two of them.
#[derive(Deserialize)]
struct Pooling {
    word_embedding_dimension: u32,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
    #[serde(default = "yes")]
    include_prompt: bool,
}

#[derive(Deserialize)]
struct Dense {
    in_features: u32,
    out_features: u32,
}

impl Folder {
    /// Whether this is the folder of an embedding model at all.
    pub(crate) fn is_one(path: &Path) -> bool {
        path.join(MODULES).is_file()
    }

    pub(crate) fn open(path: &Path, context_max: Option<u32>) -> anyhow::Result<Self> {
        let config = read_json(&path.join("config.json"))?;
        let context_length = number(&config, "max_position_embeddings")?;
        let hidden = number(&config, "hidden_size")?;
        let context_max = context_max.unwrap_or(CONTEXT_MAX).min(CONTEXT_MAX);
        let folder = Self {
            path: path.to_owned(),
            context_length: context_length.min(context_max),
            vocab: number(&config, "vocab_size")?,
            dimensions: dimensions(path, hidden)?,
            reader: Reader::new(read_tokenizer(path)?)?,
        };
        let added = folder.reader.before.iter().chain(&folder.reader.behind);
        ensure!(
            added.max() < Some(&folder.vocab),
            "the tokenizer adds a token that is not the model's"
        );
        Ok(folder)
    }
}

/// Follows a vector's length through the modules.
fn dimensions(path: &Path, hidden: u32) -> anyhow::Result<u32> {
    let modules: Vec<Module> = serde_json::from_value(read_json(&path.join(MODULES))?)
        .with_context(|| format!("{MODULES} is not a list of modules"))?;
    ensure!(modules.len() <= MODULES_MAX, "{MODULES} has too many modules");
    let (mut length, mut pooled) = (hidden, false);
    for (index, module) in modules.iter().enumerate() {
        let kind = module.kind.rsplit('.').next().unwrap_or_default();
        ensure!((kind == "Transformer") == (index == 0), "{MODULES}: one Transformer, and first");
        let config = || read_json(&path.join(&module.path).join("config.json"));
        match kind {
            "Transformer" | "Normalize" => {}
            "Pooling" => {
                let pooling: Pooling = serde_json::from_value(config()?).context("Pooling")?;
                pooling.check()?;
                ensure!(!pooled, "{MODULES} pools twice");
                ensure!(
                    pooling.word_embedding_dimension == length,
                    "Pooling has another dimension"
                );
                pooled = true;
            }
            "Dense" => {
                let dense: Dense = serde_json::from_value(config()?).context("Dense")?;
                ensure!(dense.in_features == length, "Dense has another dimension");
                length = dense.out_features;
            }
            other => bail!("{MODULES}: mistral.rs has no module {other}"),
        }
    }
    ensure!(pooled && length > 0, "{MODULES} does not say how tokens become one vector");
    Ok(length)
}

impl Pooling {
    fn check(&self) -> anyhow::Result<()> {
        let others = [
            self.pooling_mode_cls_token,
            self.pooling_mode_max_tokens,
            self.pooling_mode_mean_sqrt_len_tokens,
            self.pooling_mode_weightedmean_tokens,
        ];
        ensure!(!others.contains(&true), "mistral.rs pools by the mean or the last token only");
        let one = self.pooling_mode_mean_tokens != self.pooling_mode_lasttoken;
        ensure!(one, "exactly one way of pooling is needed");
        ensure!(self.include_prompt, "mistral.rs pools over the prompt always");
        Ok(())
    }
}

impl Reader {
    fn new(mut tokenizer: Tokenizer) -> anyhow::Result<Self> {
        // Neither a silent cut nor tokens that mean nothing: lengths are for us to check.
        let failed = |error| anyhow::anyhow!("tokenizer.json: {error}");
        tokenizer.with_padding(None).with_truncation(None).map_err(failed)?;
        let ids = |special| -> anyhow::Result<Vec<u32>> {
            let encoding = tokenizer.encode_fast("a", special).map_err(failed)?;
            Ok(encoding.get_ids().to_vec())
        };
        let (bare, whole) = (ids(false)?, ids(true)?);
        let at = whole.windows(bare.len().max(1)).position(|window| window == bare);
        let at = at.context("tokenizer.json changes a text where it should only add to it")?;
        let (before, rest) = whole.split_at(at);
        let behind = rest[bare.len()..].to_vec();
        Ok(Self { before: before.to_vec(), behind, tokenizer })
    }

    /// The tokens of a text alone.
    pub(super) fn encode(&self, text: &str) -> Option<Vec<u32>> {
        Some(self.tokenizer.encode_fast(text, false).ok()?.get_ids().to_vec())
    }

    /// With what the model wants around a text, unless a client that tokenises by itself has
    /// added that already: a text and its tokens have one vector.
    pub(super) fn complete(&self, ids: &[u32]) -> Vec<u32> {
        let before = if ids.starts_with(&self.before) { &[] } else { &self.before[..] };
        let behind = if ids.ends_with(&self.behind) { &[] } else { &self.behind[..] };
        [before, ids, behind].concat()
    }
}

const fn yes() -> bool {
    true
}
