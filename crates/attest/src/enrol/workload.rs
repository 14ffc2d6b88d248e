//! What a worker runs.

use cocoon_primitives::{Digest, ModelKind, ModelName};

use crate::cbor::{CborError, Decoder, Encoder};

pub(crate) const MODELS_MAX: usize = 64;
pub(crate) const TEXT_BYTES_MAX: usize = 128;

/// Image and models, as the evidence covers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Name of what was booted, at most 128 bytes: what the worker says; registers decide.
    pub image: String,
    /// At least one, at most 64, each name once.
    pub models: Vec<WorkloadModel>,
    /// GPUs that it uses, switches not counted.
    pub gpu_count: u32,
    /// Confidential computing is on, on each of them.
    pub cc_on: bool,
    /// Developers' tools are on, on any of them.
    pub devtools: bool,
}

/// One model that a worker serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadModel {
    pub name: ModelName,
    pub kind: ModelKind,
    /// Digest over the model's files.
    pub manifest_digest: Digest,
    pub context_length: u64,
    /// Which engine runs it, at most 128 bytes.
    pub engine: String,
    /// A demonstration model: too small to be useful, and called so wherever it shows.
    pub is_demo: bool,
    /// Shown as the model's owner, at most 128 bytes.
    pub owned_by: String,
}

impl Workload {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.map(5);
        out.unsigned(1).text(&self.image);
        out.unsigned(2);
        Self::write_models(&self.models, &mut out);
        out.unsigned(3).unsigned(u64::from(self.gpu_count));
        out.unsigned(4).unsigned(u64::from(self.cc_on));
        out.unsigned(5).unsigned(u64::from(self.devtools));
        out.into_bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Decoder::new(bytes);
        reader.map(5)?;
        let workload = Self {
            image: reader.key(1)?.text(TEXT_BYTES_MAX)?.to_owned(),
            models: Self::read_models(reader.key(2)?)?,
            gpu_count: reader.key(3)?.unsigned_32()?,
            cc_on: read_flag(reader.key(4)?)?,
            devtools: read_flag(reader.key(5)?)?,
        };
        reader.finish()?;
        Ok(workload)
    }

    pub(crate) fn write_models(models: &[WorkloadModel], out: &mut Encoder) {
        out.array(models.len());
        for model in models {
            out.array(7).text(model.name.as_str()).bytes(model.manifest_digest.as_bytes());
            out.unsigned(model.context_length).text(&model.engine);
            out.unsigned(u64::from(model.is_demo)).text(&model.owned_by);
            out.text(model.kind.as_str());
        }
    }

    pub(crate) fn read_models(reader: &mut Decoder<'_>) -> Result<Vec<WorkloadModel>, CborError> {
        let count = reader.array(MODELS_MAX)?;
        let models = (0..count).map(|_| read_model(reader)).collect::<Result<Vec<_>, _>>()?;
        let repeated = |at: usize| models[..at].iter().any(|other| other.name == models[at].name);
        if models.is_empty() || (1..models.len()).any(repeated) {
            return Err(CborError::Range);
        }
        Ok(models)
    }
}

fn read_flag(reader: &mut Decoder<'_>) -> Result<bool, CborError> {
    match reader.unsigned()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(CborError::Range),
    }
}

fn read_model(reader: &mut Decoder<'_>) -> Result<WorkloadModel, CborError> {
    if reader.array(7)? != 7 {
        return Err(CborError::Range);
    }
    let name = reader.text(ModelName::BYTES_MAX)?.parse().map_err(|_| CborError::Text)?;
    // Fields in the order in which they stand.
    Ok(WorkloadModel {
        name,
        manifest_digest: Digest::from_bytes(reader.bytes_exact()?),
        context_length: reader.unsigned()?,
        engine: reader.text(TEXT_BYTES_MAX)?.to_owned(),
        is_demo: read_flag(reader)?,
        owned_by: reader.text(TEXT_BYTES_MAX)?.to_owned(),
        kind: match reader.text(TEXT_BYTES_MAX)? {
            "chat" => ModelKind::Chat,
            "embedding" => ModelKind::Embedding,
            _ => return Err(CborError::Text),
        },
    })
}
