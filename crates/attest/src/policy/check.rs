//! From the file to rules, with every mistake collected.

mod hardware;
mod lists;

use std::time::Duration;

use cocoon_primitives::Timestamp;

use super::rules::{Rules, SoftwareRoots};
use super::{Mode, OnRevocation, POLICY_BYTES_MAX, PolicyError, raw};

const LEASE_SECONDS: u64 = 600;
const LEASE_SECONDS_MAX: u64 = 600;
const FULL_RENEWAL_SECONDS: u64 = 3600;
const FULL_RENEWAL_SECONDS_MIN: u64 = 60;
const FULL_RENEWAL_SECONDS_MAX: u64 = 3600;
/// Rows in one list at most.
const ROWS_MAX: usize = 4096;
/// Characters in a name or another short text at most.
const TEXT_BYTES_MAX: usize = 128;
const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;
/// Of the parser's own words.
const DETAIL_CHARS_MAX: usize = 500;

/// The mistakes found so far.
#[derive(Default)]
struct Findings(Vec<PolicyError>);

impl Findings {
    fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(PolicyError::Field { field: field.into(), problem: problem.into() });
    }

    /// The value, where there is one; the mistake is kept otherwise.
    fn value<T>(&mut self, field: &str, result: Result<T, &'static str>) -> Option<T> {
        result.map_err(|problem| self.add(field, problem)).ok()
    }

    fn hex<const N: usize>(&mut self, field: &str, text: &str) -> Option<crate::verify::Hex<N>> {
        let mut bytes = [0; N];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Some(crate::verify::Hex(bytes)),
            Err(_) => {
                self.add(field, format!("must be {} hex digits", N * 2));
                None
            }
        }
    }

    /// A short text of visible characters.
    fn text(&mut self, field: &str, text: &str) -> String {
        let is_plain = text.chars().all(|c| !c.is_control());
        if text.is_empty() || text.len() > TEXT_BYTES_MAX || !is_plain {
            self.add(
                field,
                format!("must be 1 to {TEXT_BYTES_MAX} bytes without control characters"),
            );
        }
        text.to_owned()
    }

    fn time(&mut self, field: &str, text: &str) -> Option<Timestamp> {
        let parsed: Option<jiff::Timestamp> = text.parse().ok();
        let seconds = parsed.and_then(|time| u64::try_from(time.as_second()).ok());
        self.value(field, seconds.map(Timestamp::from_seconds).ok_or(RFC_3339))
    }

    fn rows<T>(&mut self, field: &str, rows: &[T]) {
        if rows.len() > ROWS_MAX {
            self.add(field, format!("must have at most {ROWS_MAX} rows"));
        }
    }
}

const RFC_3339: &str = "must be a time as in 2026-12-06T00:00:00Z";

pub(super) fn read(file: &[u8]) -> Result<Rules, Vec<PolicyError>> {
    if file.len() > POLICY_BYTES_MAX {
        return Err(vec![PolicyError::TooLarge]);
    }
    let shape =
        |why: String| vec![PolicyError::Shape(why.chars().take(DETAIL_CHARS_MAX).collect())];
    let text = std::str::from_utf8(file).map_err(|_| shape("it is not UTF-8".to_owned()))?;
    let raw: raw::File = toml::from_str(text).map_err(|error| shape(error.to_string()))?;
    check(&raw)
}

fn check(raw: &raw::File) -> Result<Rules, Vec<PolicyError>> {
    let mut findings = Findings::default();
    if raw.schema != 1 {
        findings.add("schema", "must be 1");
    }
    if raw.version == 0 {
        findings.add("version", "must be at least 1");
    }
    let not_after = findings.time("not_after", &raw.not_after);
    let mode = findings.value("mode", mode(&raw.mode));
    let lease_seconds = raw.lease_seconds.unwrap_or(LEASE_SECONDS);
    if !(1..=LEASE_SECONDS_MAX).contains(&lease_seconds) {
        findings.add("lease_seconds", format!("must be 1 to {LEASE_SECONDS_MAX}"));
    }
    let full_seconds = raw.full_renewal_seconds.unwrap_or(FULL_RENEWAL_SECONDS);
    if !(FULL_RENEWAL_SECONDS_MIN..=FULL_RENEWAL_SECONDS_MAX).contains(&full_seconds) {
        let range = format!("{FULL_RENEWAL_SECONDS_MIN} to {FULL_RENEWAL_SECONDS_MAX}");
        findings.add("full_renewal_seconds", format!("must be {range}"));
    }
    let on_revocation = raw.on_revocation.as_deref().unwrap_or("finish");
    let on_revocation = findings.value("on_revocation", on_revocation_of(on_revocation));
    let software = raw.software.as_ref().and_then(|raw| software(&mut findings, raw));
    if mode == Some(Mode::Production) {
        refuse_insecure(&mut findings, raw);
    }
    if raw.software.is_some() && !cfg!(feature = "soft-tee") {
        findings.0.push(PolicyError::SoftwareNotBuilt);
    }
    let rules = Rules {
        version: raw.version,
        // Stand-ins are never used: the mistake ends the check.
        not_after: not_after.unwrap_or(Timestamp::EPOCH),
        mode: mode.unwrap_or(Mode::Production),
        lease_life: Duration::from_secs(lease_seconds),
        full_renewal: Duration::from_secs(full_seconds),
        on_revocation: on_revocation.unwrap_or(OnRevocation::Cut),
        machine_level: raw.machine_level.unwrap_or(1),
        any_model: raw.insecure_any_model,
        any_machine: raw.insecure_any_machine,
        software,
        tdx: raw.tdx.as_ref().and_then(|raw| hardware::tdx(&mut findings, raw)),
        snp: raw.snp.as_ref().map(|raw| hardware::snp(&mut findings, raw)),
        images: lists::images(&mut findings, &raw.image),
        gpus: hardware::gpus(&mut findings, &raw.gpu),
        models: lists::models(&mut findings, &raw.model),
        machines: lists::machines(&mut findings, &raw.machine),
        revoked: lists::revoked(&mut findings, &raw.revoked),
    };
    if findings.0.is_empty() { Ok(rules) } else { Err(findings.0) }
}

fn mode(text: &str) -> Result<Mode, &'static str> {
    match text {
        "development" => Ok(Mode::Development),
        "production" => Ok(Mode::Production),
        _ => Err("must be \"development\" or \"production\""),
    }
}

fn on_revocation_of(text: &str) -> Result<OnRevocation, &'static str> {
    match text {
        "finish" => Ok(OnRevocation::Finish),
        "cut" => Ok(OnRevocation::Cut),
        _ => Err("must be \"finish\" or \"cut\""),
    }
}

fn refuse_insecure(findings: &mut Findings, raw: &raw::File) {
    let switches = [
        (raw.software.is_some(), "[software]"),
        (raw.insecure_any_model, "insecure_any_model"),
        (raw.insecure_any_machine, "insecure_any_machine"),
    ];
    for (_, name) in switches.into_iter().filter(|(is_on, _)| *is_on) {
        findings.0.push(PolicyError::InsecureInProduction(name));
    }
}

/// None where it allows nothing.
fn software(findings: &mut Findings, raw: &raw::Software) -> Option<SoftwareRoots> {
    let mut root = |name: &str, text: &Option<String>| {
        let field = format!("software.{name}");
        let der = findings.value(&field, certificate(text.as_ref()?))?;
        #[cfg(feature = "soft-tee")]
        if !crate::softtee::is_labelled(&der) {
            findings.add(field, "does not say of itself that there is no hardware behind it");
        }
        Some(der)
    };
    let roots = SoftwareRoots {
        tdx_root: root("tdx_root", &raw.tdx_root),
        snp_signer: root("snp_signer", &raw.snp_signer),
        nvidia_root: root("nvidia_root", &raw.nvidia_root),
    };
    raw.insecure_allow.then_some(roots)
}

fn certificate(text: &str) -> Result<Vec<u8>, &'static str> {
    use base64::Engine as _;
    use x509_parser::prelude::FromDer as _;
    let malformed = "must be a certificate: base64 of DER";
    let der = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| malformed)?;
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(malformed);
    }
    match x509_parser::certificate::X509Certificate::from_der(&der) {
        Ok(([], _)) => {}
        _ => return Err(malformed),
    }
    Ok(der)
}
