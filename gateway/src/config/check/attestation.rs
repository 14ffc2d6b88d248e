//! `[attestation]`: which policy, and whose word it is. The policy itself is read and judged here
//! too, so that its mistakes are told with all others.

use cocoon_attest::policy;
use cocoon_primitives::Digest;

use super::{Findings, Mode, raw};
use crate::policy::{PolicySource, PolicyTrust};

/// Keys that one file may name.
const KEYS_MAX: usize = 16;

pub(super) fn attestation(
    findings: &mut Findings,
    mode: Mode,
    raw: raw::Attestation,
) -> PolicySource {
    let before = findings.0.len();
    let trust = trust(findings, mode, &raw);
    let mode = match mode {
        Mode::Development => policy::Mode::Development,
        Mode::Production => policy::Mode::Production,
    };
    let source = PolicySource { path: raw.policy, trust, mode };
    // A policy cannot be judged by keys that are not usable.
    if findings.0.len() == before {
        for fault in source.check() {
            findings.add("attestation.policy", fault.to_string());
        }
    }
    source
}

fn trust(findings: &mut Findings, mode: Mode, raw: &raw::Attestation) -> PolicyTrust {
    if raw.unsigned_policy {
        if mode == Mode::Production {
            findings.add("attestation.unsigned_policy", "is refused in production");
        }
        if !raw.policy_keys.is_empty() || raw.policy_threshold.is_some() {
            findings
                .add("attestation.unsigned_policy", "excludes policy_keys and policy_threshold");
        }
        return PolicyTrust::Unsigned;
    }
    if raw.policy_keys.is_empty() || raw.policy_keys.len() > KEYS_MAX {
        findings.add("attestation.policy_keys", format!("must name 1 to {KEYS_MAX} keys"));
    }
    let mut keys: Vec<[u8; 32]> = Vec::new();
    for (index, text) in raw.policy_keys.iter().enumerate() {
        match text.parse::<Digest>() {
            Ok(key) if keys.contains(key.as_bytes()) => {
                findings.add(format!("attestation.policy_keys[{index}]"), "is named twice");
            }
            Ok(key) => keys.push(*key.as_bytes()),
            Err(_) => {
                let message = "must be 64 hex digits";
                findings.add(format!("attestation.policy_keys[{index}]"), message);
            }
        }
    }
    if raw.policy_threshold.is_none() && raw.policy_keys.len() > 1 {
        let message = "must say how many of the policy_keys have to sign";
        findings.add("attestation.policy_threshold", message);
    }
    let threshold = raw.policy_threshold.unwrap_or(1);
    if threshold == 0 || threshold > raw.policy_keys.len().max(1) {
        findings.add("attestation.policy_threshold", "must be 1 to the number of policy_keys");
    }
    PolicyTrust::Signed { keys, threshold }
}
