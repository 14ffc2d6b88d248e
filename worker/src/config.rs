//! `worker.toml`: read, checked whole, then trusted.
//!
//! The file itself is in no measurement, and it decides what runs: in production it belongs into the
//! measured image, beside the programs. What could put another program, or another source of
//! evidence, into the image's place is refused there all the same.
//!
//! `raw` is the file as its author wrote it; [`Config`] is what the program runs on. Between
//! them stands one check that reports every problem at once, before anything is started.

mod engines;
mod evidence;
mod limits;
mod raw;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cocoon_attest::policy::Mode;
use cocoon_primitives::{Digest, WalletAddress};

use crate::engine::EngineConfig;
use crate::evidence::EvidenceSource;
#[cfg(feature = "soft-tee")]
use crate::evidence::software::SoftwareTeeError;
use crate::serve::Limits;

/// Bytes in a configuration file at most.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A checked configuration. It comes from a file only.
#[derive(Debug)]
pub struct Config {
    pub mode: Mode,
    pub data_dir: PathBuf,
    /// `host:port` of the gateway's uplink.
    pub gateway: String,
    /// The gateway's uplink key, pinned.
    pub gateway_spki_sha256: Digest,
    /// Who earns this worker's share.
    pub payee: WalletAddress,
    /// At least one; no two are known to serve the same model.
    pub engines: Vec<EngineConfig>,
    /// What one request may hold.
    pub limits: Limits,
    /// The secret that makes evidence is read with the file.
    pub evidence: EvidenceSource,
    /// Where metrics and liveness are shown; `None` shows them nowhere.
    pub admin_listen: Option<SocketAddr>,
    pub telemetry: TelemetrySection,
}

/// Where traces go.
#[derive(Debug, Clone)]
pub struct TelemetrySection {
    pub otlp_endpoint: Option<String>,
    pub json: bool,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read the file")]
    Read(#[source] io::Error),
    #[error("the file is over {FILE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the file is no valid TOML of this form")]
    Form(#[source] Box<toml::de::Error>),
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("gateway is not host:port")]
    Gateway,
    #[error("gateway_spki_sha256 is not 64 hex digits")]
    GatewayKey,
    #[error("payee is not a raw wallet address such as 0:<64 hex digits>")]
    Payee,
    #[error("engine: {0}")]
    Engine(String),
    #[error("limits.{0}")]
    Limit(String),
    #[error("evidence.kind \"{0}\" is not one that this build has")]
    EvidenceKind(String),
    #[error("mode = \"production\" refuses software evidence")]
    SoftwareInProduction,
    #[error("evidence.{field} is not for kind = \"{kind}\"")]
    EvidenceField { field: &'static str, kind: String },
    #[error("mode = \"production\" takes no evidence.{field} but {usual}")]
    EvidencePlace { field: &'static str, usual: &'static str },
    #[error("evidence.gpus must be at most 32")]
    Gpus,
    #[error("evidence.tdx_collateral is missing")]
    CollateralMissing,
    #[cfg(feature = "soft-tee")]
    #[error("evidence.software_tee is missing")]
    SoftwareTeeMissing,
    #[cfg(feature = "soft-tee")]
    #[error("evidence.software_tee is not usable: {0}")]
    SoftwareTee(SoftwareTeeError),
    #[cfg(feature = "soft-tee")]
    #[error("evidence.tee is neither \"tdx\" nor \"snp\"")]
    SoftwareKind,
    #[error("admin.listen is not an address and a port, as in 127.0.0.1:9090")]
    AdminListen,
    #[error("telemetry.otlp_endpoint is not an http:// URL")]
    OtlpEndpoint,
}

impl Config {
    /// Reads and checks a file, and the secrets that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?)
    }

    /// Checks a file's text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let raw: raw::RawConfig =
            toml::from_str(text).map_err(|error| ConfigError::Form(Box::new(error)))?;
        raw.check().map_err(ConfigError::Invalid)
    }
}

/// The engines of a file, whatever else it says or leaves out.
pub fn load_engines(path: &Path) -> Result<Vec<EngineConfig>, ConfigError> {
    parse_engines(&read(path)?)
}

fn parse_engines(text: &str) -> Result<Vec<EngineConfig>, ConfigError> {
    let raw: raw::RawModels =
        toml::from_str(text).map_err(|error| ConfigError::Form(Box::new(error)))?;
    raw.check().map_err(ConfigError::Invalid)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let length = std::fs::metadata(path).map_err(ConfigError::Read)?.len();
    if length > FILE_BYTES_MAX {
        return Err(ConfigError::TooLong);
    }
    std::fs::read_to_string(path).map_err(ConfigError::Read)
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
