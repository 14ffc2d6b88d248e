//! From the file to what the program runs on, with every problem collected.

mod attestation;
mod idempotency;

use std::net::SocketAddr;
use std::time::Duration;

use cocoon_metering::PriceRow;
use cocoon_primitives::{ModelName, Nano, TokenPrice};
use cocoon_ton::Network;

use super::{
    ApiConfig, AuthConfig, Config, FieldProblem, Limits, Mode, Problems, TelemetryConfig, Tls, raw,
};
use crate::dispatch::{ModelPrice, PriceList};
use crate::rates::RateLimits;
use crate::recount::RecountConfig;

const SIGN_INS_PER_MINUTE: u32 = 120;
const COMMISSION_BP: u16 = 500;
/// Of the answers that can be counted again.
const RECOUNT_ONE_IN: u32 = 100;
/// Domains and models that one file may name.
const ENTRIES_MAX: usize = 1000;
/// The longest domain that a proof may carry.
const DOMAIN_BYTES_MAX: usize = 126;
/// Any free port of this machine.
const LOOPBACK: &str = "127.0.0.1:0";

/// The problems found so far.
#[derive(Default)]
struct Findings(Vec<FieldProblem>);

impl Findings {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldProblem { field: field.into(), message: message.into() });
    }

    /// The value, or a stand-in that is never used because the problem ends the check.
    fn value<T>(&mut self, field: &str, result: Result<T, String>, stand_in: T) -> T {
        result.unwrap_or_else(|message| {
            self.add(field, message);
            stand_in
        })
    }
}

pub(super) fn check(raw: raw::Config) -> Result<Config, Problems> {
    let mut findings = Findings::default();
    let mode = findings.value("mode", mode(&raw.mode), Mode::Development);
    if raw.data_dir.as_os_str().is_empty() {
        findings.add("data_dir", "must name a directory");
    }
    let config = Config {
        mode,
        data_dir: raw.data_dir,
        api: api(&mut findings, mode, &raw.api),
        uplink_listen: listener(&mut findings, "uplink.listen", raw.uplink.listen.as_deref()),
        admin_listen: listener(&mut findings, "admin.listen", raw.admin.listen.as_deref()),
        auth: auth(&mut findings, mode, raw.auth),
        policy: attestation::attestation(&mut findings, mode, raw.attestation),
        prices: prices(&mut findings, &raw.model),
        commission_bp: commission(&mut findings, raw.billing.commission_bp),
        recount: recount(&mut findings, &raw.model, raw.billing.recount_one_in),
        limits: limits(&mut findings, &raw.limits),
        idempotency: idempotency::idempotency(&mut findings, &raw.idempotency),
        telemetry: telemetry(&mut findings, raw.telemetry),
    };
    if findings.0.is_empty() { Ok(config) } else { Err(Problems(findings.0)) }
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "development" => Ok(Mode::Development),
        "production" => Ok(Mode::Production),
        _ => Err("must be \"development\" or \"production\"".to_owned()),
    }
}

fn listener(findings: &mut Findings, field: &str, text: Option<&str>) -> SocketAddr {
    let parsed = text.unwrap_or(LOOPBACK).parse();
    let stand_in = SocketAddr::from(([127, 0, 0, 1], 0));
    findings.value(
        field,
        parsed.map_err(|_| "must be an address and a port, as in 127.0.0.1:8080".to_owned()),
        stand_in,
    )
}

fn api(findings: &mut Findings, mode: Mode, raw: &raw::Api) -> ApiConfig {
    let listen = listener(findings, "api.listen", Some(&raw.listen));
    let tls = match (&raw.tls_certificate, &raw.tls_key) {
        (Some(certificate), Some(key)) => match Tls::load(certificate, key) {
            Ok(tls) => Some(tls),
            Err(message) => {
                findings.add("api.tls_certificate", message);
                None
            }
        },
        (None, None) => None,
        _ => {
            findings.add("api.tls_certificate", "tls_certificate and tls_key go together");
            None
        }
    };
    let is_plain = raw.tls_certificate.is_none() && raw.tls_key.is_none();
    if raw.insecure_plaintext && mode == Mode::Production {
        findings.add("api.insecure_plaintext", "is refused in production");
    } else if is_plain && !listen.ip().is_loopback() && !raw.insecure_plaintext {
        findings.add("api.listen", "needs tls_certificate and tls_key off loopback");
    }
    ApiConfig { listen, tls }
}

fn auth(findings: &mut Findings, mode: Mode, raw: raw::Auth) -> AuthConfig {
    if raw.domains.is_empty() || raw.domains.len() > ENTRIES_MAX {
        findings.add("auth.domains", format!("must name 1 to {ENTRIES_MAX} domains"));
    }
    for (index, domain) in raw.domains.iter().enumerate() {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:".contains(&b);
        if domain.is_empty() || domain.len() > DOMAIN_BYTES_MAX || !domain.bytes().all(plain) {
            let message = "must be a lower-case host, with a port where it is not the usual one";
            findings.add(format!("auth.domains[{index}]"), message);
        }
    }
    let network = match (raw.network.as_deref(), mode) {
        (Some(text), _) => text.parse::<Network>().map_err(|error| error.to_string()),
        (None, Mode::Development) => Ok(Network::Testnet),
        (None, Mode::Production) => Err("must be set in production".to_owned()),
    };
    let sign_ins_per_minute = raw.sign_ins_per_minute.unwrap_or(SIGN_INS_PER_MINUTE);
    if sign_ins_per_minute == 0 {
        findings.add("auth.sign_ins_per_minute", "must be at least 1");
    }
    AuthConfig {
        domains: raw.domains,
        network: findings.value("auth.network", network, Network::Testnet),
        sign_ins_per_minute,
    }
}

fn prices(findings: &mut Findings, raw: &[raw::Model]) -> PriceList {
    if raw.is_empty() || raw.len() > ENTRIES_MAX {
        findings.add("model", format!("must price 1 to {ENTRIES_MAX} models; \"*\" is any"));
    }
    let mut named: Vec<(ModelName, ModelPrice)> = Vec::new();
    let mut any = None;
    for (index, model) in raw.iter().enumerate() {
        let price = model_price(findings, index, model);
        if model.name == "*" {
            if any.replace(price).is_some() {
                findings.add(format!("model[{index}].name"), "is priced twice");
            }
            continue;
        }
        match model.name.parse::<ModelName>() {
            Ok(name) if named.iter().any(|(known, _)| *known == name) => {
                findings.add(format!("model[{index}].name"), "is priced twice");
            }
            Ok(name) => named.push((name, price)),
            Err(error) => findings.add(format!("model[{index}].name"), error.to_string()),
        }
    }
    PriceList::new(named, any)
}

fn model_price(findings: &mut Findings, index: usize, raw: &raw::Model) -> ModelPrice {
    let mut price = |field: &str, nano: u64| {
        let checked = Nano::new(nano).ok_or_else(|| "is more than the whole supply".to_owned());
        let field = format!("model[{index}].{field}");
        TokenPrice::per_million(findings.value(&field, checked, Nano::ZERO))
    };
    let row = PriceRow {
        prompt: price("prompt", raw.prompt),
        cached: price("cached", raw.cached.unwrap_or(raw.prompt)),
        completion: price("completion", raw.completion),
    };
    if raw.cached.is_some_and(|cached| cached > raw.prompt) {
        findings.add(format!("model[{index}].cached"), "must not cost more than prompt");
    }
    if raw.max_completion_tokens == Some(0) {
        findings.add(format!("model[{index}].max_completion_tokens"), "must be at least 1");
    }
    ModelPrice { row, completion_tokens_max: raw.max_completion_tokens }
}

/// A tokenizer is one model's: of any model there is none.
fn recount(findings: &mut Findings, models: &[raw::Model], one_in: Option<u32>) -> RecountConfig {
    let mut tokenizers = Vec::new();
    for (index, model) in models.iter().enumerate() {
        let Some(path) = &model.tokenizer else { continue };
        match model.name.parse() {
            Ok(name) if model.name != "*" => tokenizers.push((name, path.clone())),
            _ => findings.add(format!("model[{index}].tokenizer"), "must be of a named model"),
        }
    }
    RecountConfig { one_in: one_in.unwrap_or(RECOUNT_ONE_IN), tokenizers }
}

fn commission(findings: &mut Findings, basis_points: Option<u16>) -> u16 {
    let basis_points = basis_points.unwrap_or(COMMISSION_BP);
    if basis_points > cocoon_metering::BASIS_POINTS {
        findings.add("billing.commission_bp", "must be at most 10000");
    }
    basis_points
}

fn limits(findings: &mut Findings, raw: &raw::Limits) -> Limits {
    zero_limits(findings, raw);
    let standard = Limits::STANDARD;
    for (field, asked, max) in
        [("prompts", raw.prompts, standard.prompts), ("choices", raw.choices, standard.choices)]
    {
        if asked.is_some_and(|asked| asked > max) {
            findings
                .add(format!("limits.{field}"), format!("must be at most {max}: the API's own"));
        }
    }
    if raw.body_bytes.is_some_and(|bytes| bytes > standard.body_bytes) {
        findings.add("limits.body_bytes", "must be at most 33554432: workers take no more");
    }
    let body_bytes = raw.body_bytes.unwrap_or(standard.body_bytes);
    let body_bytes_in_flight = raw.body_bytes_in_flight.unwrap_or(standard.body_bytes_in_flight);
    if body_bytes_in_flight < body_bytes {
        findings.add("limits.body_bytes_in_flight", "must be at least body_bytes");
    }
    let span = |ms: Option<u64>, standard| ms.map_or(standard, Duration::from_millis);
    let (per_minute, rates) = (standard.rates, raw);
    Limits {
        connections: raw.connections.unwrap_or(standard.connections),
        requests_in_flight: raw.requests_in_flight.unwrap_or(standard.requests_in_flight),
        requests_per_wallet: raw.requests_per_wallet.unwrap_or(standard.requests_per_wallet),
        rates: RateLimits {
            requests_per_minute: rates
                .requests_per_minute
                .unwrap_or(per_minute.requests_per_minute),
            tokens_per_minute: rates.tokens_per_minute.unwrap_or(per_minute.tokens_per_minute),
        },
        body_bytes,
        body_bytes_in_flight,
        body_timeout: span(raw.body_timeout_ms, standard.body_timeout),
        header_timeout: span(raw.header_timeout_ms, standard.header_timeout),
        request_timeout: span(raw.request_timeout_ms, standard.request_timeout),
        first_token_timeout: span(raw.first_token_timeout_ms, standard.first_token_timeout),
        idle_stream_timeout: span(raw.idle_stream_timeout_ms, standard.idle_stream_timeout),
        keep_alive: span(raw.keep_alive_ms, standard.keep_alive),
        client_stall_timeout: span(raw.client_stall_timeout_ms, standard.client_stall_timeout),
        messages: raw.messages.unwrap_or(standard.messages),
        tools: raw.tools.unwrap_or(standard.tools),
        prompts: raw.prompts.unwrap_or(standard.prompts),
        choices: raw.choices.unwrap_or(standard.choices),
        completion_tokens: raw.completion_tokens.unwrap_or(standard.completion_tokens),
    }
}

/// Zero is no bound that anyone means; only `tools` may be none.
fn zero_limits(findings: &mut Findings, raw: &raw::Limits) {
    for (field, is_zero) in [
        ("connections", raw.connections == Some(0)),
        ("requests_in_flight", raw.requests_in_flight == Some(0)),
        ("requests_per_wallet", raw.requests_per_wallet == Some(0)),
        ("requests_per_minute", raw.requests_per_minute == Some(0)),
        ("tokens_per_minute", raw.tokens_per_minute == Some(0)),
        ("body_bytes", raw.body_bytes == Some(0)),
        ("body_timeout_ms", raw.body_timeout_ms == Some(0)),
        ("header_timeout_ms", raw.header_timeout_ms == Some(0)),
        ("request_timeout_ms", raw.request_timeout_ms == Some(0)),
        ("first_token_timeout_ms", raw.first_token_timeout_ms == Some(0)),
        ("idle_stream_timeout_ms", raw.idle_stream_timeout_ms == Some(0)),
        ("keep_alive_ms", raw.keep_alive_ms == Some(0)),
        ("client_stall_timeout_ms", raw.client_stall_timeout_ms == Some(0)),
        ("messages", raw.messages == Some(0)),
        ("prompts", raw.prompts == Some(0)),
        ("choices", raw.choices == Some(0)),
        ("completion_tokens", raw.completion_tokens == Some(0)),
    ] {
        if is_zero {
            findings.add(format!("limits.{field}"), "must be at least 1");
        }
    }
}

fn telemetry(findings: &mut Findings, raw: raw::Telemetry) -> TelemetryConfig {
    if raw.otlp_endpoint.as_ref().is_some_and(|url| !url.starts_with("http://")) {
        let message = "must start with http://: put a collector beside the gateway";
        findings.add("telemetry.otlp_endpoint", message);
    }
    TelemetryConfig { otlp_endpoint: raw.otlp_endpoint, json: raw.json }
}
