//! The file as it is written. Only its shape is checked here; a key that nobody knows is an
//! error, so that a misspelt one is not silently its default.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) mode: String,
    pub(super) data_dir: PathBuf,
    pub(super) api: Api,
    #[serde(default)]
    pub(super) uplink: Listener,
    #[serde(default)]
    pub(super) admin: Listener,
    pub(super) auth: Auth,
    pub(super) attestation: Attestation,
    #[serde(default)]
    pub(super) model: Vec<Model>,
    #[serde(default)]
    pub(super) billing: Billing,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) idempotency: Idempotency,
    #[serde(default)]
    pub(super) telemetry: Telemetry,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Api {
    pub(super) listen: String,
    pub(super) tls_certificate: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    #[serde(default)]
    pub(super) insecure_plaintext: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) listen: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    pub(super) domains: Vec<String>,
    pub(super) network: Option<String>,
    pub(super) sign_ins_per_minute: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attestation {
    pub(super) policy: PathBuf,
    #[serde(default)]
    pub(super) policy_keys: Vec<String>,
    pub(super) policy_threshold: Option<usize>,
    #[serde(default)]
    pub(super) unsigned_policy: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) prompt: u64,
    pub(super) cached: Option<u64>,
    pub(super) completion: u64,
    pub(super) max_completion_tokens: Option<u64>,
    /// The model's `tokenizer.json`: some answers are counted again with it.
    pub(super) tokenizer: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Billing {
    pub(super) commission_bp: Option<u16>,
    pub(super) recount_one_in: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) connections: Option<usize>,
    pub(super) requests_in_flight: Option<usize>,
    pub(super) requests_per_wallet: Option<usize>,
    pub(super) requests_per_minute: Option<u64>,
    pub(super) tokens_per_minute: Option<u64>,
    pub(super) body_bytes: Option<usize>,
    pub(super) body_bytes_in_flight: Option<usize>,
    pub(super) body_timeout_ms: Option<u64>,
    pub(super) header_timeout_ms: Option<u64>,
    pub(super) request_timeout_ms: Option<u64>,
    pub(super) first_token_timeout_ms: Option<u64>,
    pub(super) idle_stream_timeout_ms: Option<u64>,
    pub(super) keep_alive_ms: Option<u64>,
    pub(super) client_stall_timeout_ms: Option<u64>,
    pub(super) messages: Option<u32>,
    pub(super) tools: Option<u32>,
    pub(super) prompts: Option<u32>,
    pub(super) choices: Option<u32>,
    pub(super) completion_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Idempotency {
    pub(super) keep_hours: Option<u32>,
    pub(super) bytes_per_account: Option<u64>,
    pub(super) bytes_total: Option<u64>,
    pub(super) rows_per_account: Option<u32>,
    pub(super) answer_bytes_max: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Telemetry {
    pub(super) otlp_endpoint: Option<String>,
    #[serde(default)]
    pub(super) json: bool,
}
