//! `gateway.toml`: read, checked whole, then trusted.
//!
//! `raw` is the file as its author wrote it; [`Config`] is what the program runs on. Between
//! them stands one check that reports every problem at once, before any socket is bound. What
//! may be left out has its value here, so that no other module knows a default.

mod check;
mod limits;
mod raw;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cocoon_ton::Network;

use crate::dispatch::PriceList;
use crate::idempotency::IdempotencyLimits;
use crate::policy::PolicySource;
use crate::recount::RecountConfig;

pub use limits::Limits;
pub use tls::Tls;

/// A checked configuration. It comes from a file only: tests write one too.
#[derive(Debug, Clone)]
pub struct Config {
    pub mode: Mode,
    /// Store, keys and `endpoints.json`; made at start where it is missing.
    pub data_dir: PathBuf,
    pub api: ApiConfig,
    /// Where workers dial in.
    pub uplink_listen: SocketAddr,
    /// `/metrics` and `/health`, for machines of the operator only.
    pub admin_listen: SocketAddr,
    pub auth: AuthConfig,
    /// Where it is written what a worker has to prove to be admitted.
    pub policy: PolicySource,
    pub prices: PriceList,
    /// The gateway's part of each charge, in basis points.
    pub commission_bp: u16,
    pub recount: RecountConfig,
    pub limits: Limits,
    /// What is kept for requests that are repeated.
    pub idempotency: IdempotencyLimits,
    pub telemetry: TelemetryConfig,
}

/// What the gateway may be trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Software evidence, development credit and plain HTTP are possible.
    Development,
    /// None of them is.
    Production,
}

#[derive(Debug, Clone)]
pub struct ApiConfig {
    pub listen: SocketAddr,
    /// `None`: plain HTTP.
    pub tls: Option<Tls>,
}

#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Domains that a wallet's proof may be for, as `host` or `host:port`.
    pub domains: Vec<String>,
    pub network: Network,
    /// Requests to the sign-in routes per minute and peer address.
    pub sign_ins_per_minute: u32,
}

#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    pub otlp_endpoint: Option<String>,
    /// Logs as JSON lines.
    pub json: bool,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("not a configuration:\n{0}")]
    Syntax(String),
    #[error("{0}")]
    Problems(Problems),
}

/// Everything that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(Vec<FieldProblem>);

#[derive(Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// As in `api.listen` or `model[1].name`.
    pub field: String,
    pub message: String,
}

impl Config {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::from_toml(&text)
    }

    /// Paths in `text` are relative to the working directory.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let raw: raw::Config =
            toml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        check::check(raw).map_err(ConfigError::Problems)
    }

    pub fn store_path(&self) -> PathBuf {
        self.data_dir.join("store.sqlite")
    }
}

impl Problems {
    pub fn list(&self) -> &[FieldProblem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not valid:")?;
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {}: {}", problem.field, problem.message))
    }
}

#[cfg(test)]
mod tests;
