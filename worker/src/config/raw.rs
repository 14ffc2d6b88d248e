//! The file as written, and its one check.

use std::net::SocketAddr;
use std::path::PathBuf;

use cocoon_attest::policy::Mode;
use serde::Deserialize;

use super::engines::RawEngines;
use super::evidence::RawEvidence;
use super::limits::RawLimits;
use super::{Config, Problem, TelemetrySection};
use crate::engine::EngineConfig;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    mode: Mode,
    data_dir: PathBuf,
    gateway: String,
    gateway_spki_sha256: String,
    payee: String,
    engine: RawEngines,
    evidence: RawEvidence,
    #[serde(default)]
    limits: RawLimits,
    admin: Option<RawAdmin>,
    #[serde(default)]
    telemetry: RawTelemetry,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdmin {
    listen: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTelemetry {
    otlp_endpoint: Option<String>,
    #[serde(default)]
    json: bool,
}

impl RawConfig {
    /// Every problem at once, or a configuration.
    pub(super) fn check(self) -> Result<Config, Vec<Problem>> {
        let mut problems = Vec::new();
        if !is_host_and_port(&self.gateway) {
            problems.push(Problem::Gateway);
        }
        let gateway_key = self.gateway_spki_sha256.parse();
        if gateway_key.is_err() {
            problems.push(Problem::GatewayKey);
        }
        let payee = self.payee.parse();
        if payee.is_err() {
            problems.push(Problem::Payee);
        }
        self.engine.check(self.mode, &mut problems);
        let limits = self.limits.check(&mut problems);
        let evidence = self.evidence.check(self.mode, &mut problems);
        let admin_listen = self.admin.as_ref().map(|admin| admin.listen.parse::<SocketAddr>());
        if matches!(admin_listen, Some(Err(_))) {
            problems.push(Problem::AdminListen);
        }
        let is_http = |url: &String| url.starts_with("http://");
        if !self.telemetry.otlp_endpoint.as_ref().is_none_or(is_http) {
            problems.push(Problem::OtlpEndpoint);
        }
        match (gateway_key, payee, evidence) {
            (Ok(gateway_spki_sha256), Ok(payee), Some(evidence)) if problems.is_empty() => {
                let engines = self.engine.0.into_iter();
                Ok(Config {
                    mode: self.mode,
                    engines: engines.map(|engine| engine.in_data_dir(&self.data_dir)).collect(),
                    limits,
                    data_dir: self.data_dir,
                    gateway: self.gateway,
                    gateway_spki_sha256,
                    payee,
                    evidence,
                    admin_listen: admin_listen.and_then(Result::ok),
                    telemetry: TelemetrySection {
                        otlp_endpoint: self.telemetry.otlp_endpoint,
                        json: self.telemetry.json,
                    },
                })
            }
            _ => Err(problems),
        }
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && host.len() <= 255 && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// The part of the file that says which models are served. What else stands there is for later: a
/// policy names the models before there is a gateway to dial.
#[derive(Debug, Deserialize)]
pub(super) struct RawModels {
    data_dir: PathBuf,
    engine: RawEngines,
}

impl RawModels {
    pub(super) fn check(self) -> Result<Vec<EngineConfig>, Vec<Problem>> {
        let mut problems = Vec::new();
        // Which mode there will be is not known here; what `serve` refuses has no lease anyhow.
        self.engine.check(Mode::Development, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let engines = self.engine.0.into_iter();
        Ok(engines.map(|engine| engine.in_data_dir(&self.data_dir)).collect())
    }
}
