//! Leases, reports and hashes as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_attest::appraisal::{Appraised, MessageParts, Platform};
use cocoon_attest::enrol::Refusal;
use cocoon_attest::evidence::Device;
use cocoon_attest::lease::Lease;
use cocoon_attest::verify::event_log::EventLog;
use cocoon_attest::verify::nvidia;
use serde_json::{Value, json};

use crate::transparency::{NonceProof, Report};

/// How the names of other gateways' reports are to be read here.
const BINDING: &str = "report_data is SHA-512 of 'cocoon/enrol/v1', a zero byte and the message's \
    binding, which names the nonce, the keys, the devices and the workload by their hashes";

/// One register's number in an event log of TDX.
const WORKLOAD_REGISTER: u32 = 3;

pub(super) fn hashes(hashes: &[[u8; 32]]) -> Vec<String> {
    hashes.iter().map(hex::encode).collect()
}

/// One live lease.
pub(super) fn worker(lease: &Lease, appraised: &Appraised, log_index: Option<u64>) -> Value {
    let models: Vec<_> = lease.models.iter().map(|model| &model.name).collect();
    json!({
        "worker_id": lease.worker_id,
        "assurance": lease.assurance,
        "models": models,
        "image": lease.image,
        "tee": appraised.platform.tee(),
        "gpus": appraised.devices.iter().map(gpu).collect::<Vec<_>>(),
        "hpke_key": hex::encode(lease.hpke_key),
        "receipt_key": hex::encode(lease.receipt_key),
        "tls_spki_sha256": lease.tls_spki_sha256,
        "payee": lease.payee,
        "lease_id": lease.lease_id,
        "lease": STANDARD.encode(lease.encode()),
        "evidence_digest": lease.evidence_digest,
        "policy_digest": lease.policy_digest,
        "issued_at": lease.issued.as_seconds(),
        "expires_at": lease.expires.as_seconds(),
        "log_index": log_index,
    })
}

fn gpu(claims: &nvidia::Claims) -> Value {
    json!({
        "architecture": claims.architecture,
        "driver": claims.driver_version,
        "vbios": claims.vbios_version,
    })
}

/// One worker's answer to one nonce, under the names that verifiers of other gateways read.
pub(super) fn attestation(report: &Report, nonce: &str) -> Result<Value, Refusal> {
    let parts = MessageParts::read(&report.evidence)?;
    let appraised = &*report.appraised;
    let key = hex::encode(appraised.receipt_key);
    let quote = hex::encode(&parts.evidence.quote);
    let (intel_quote, snp_report) = match &appraised.platform {
        Platform::Tdx(_) => (Some(quote), None),
        Platform::Snp(_) => (None, Some(quote)),
    };
    Ok(json!({
        "worker_id": appraised.worker_id,
        "assurance": appraised.assurance,
        "signing_address": key,
        "signing_public_key": key,
        "signing_algo": "ed25519",
        "intel_quote": intel_quote,
        "snp_report": snp_report,
        "event_log": event_log(&parts.evidence.event_log)?,
        "nvidia_payload": nvidia_payload(&parts.devices, &appraised.devices),
        "report_data": hex::encode(parts.report_data),
        "request_nonce": nonce,
        "info": info(appraised),
        "hpke_key": hex::encode(appraised.hpke_key),
        "evidence": STANDARD.encode(&report.evidence),
        "nonce_proof": nonce_proof(&report.nonce_proof),
    }))
}

fn info(appraised: &Appraised) -> Value {
    let measurements = match &appraised.platform {
        Platform::Tdx(claims) => json!({
            "mrtd": claims.mr_td,
            "rtmr0": claims.rtmr0,
            "rtmr1": claims.rtmr1,
            "rtmr2": claims.rtmr2,
            "rtmr3": claims.rtmr3,
        }),
        Platform::Snp(_) => Value::Null,
    };
    json!({
        "tee": appraised.platform.tee(),
        "image": appraised.workload.image,
        "tcb_info": measurements,
        "binding": BINDING,
    })
}

fn nonce_proof(proof: &NonceProof) -> Value {
    json!({
        "index": proof.index,
        "size": proof.size,
        "path": hashes(&proof.path),
        "root": hex::encode(proof.root),
    })
}

fn event_log(bytes: &[u8]) -> Result<Vec<Value>, Refusal> {
    let log = EventLog::decode(bytes).map_err(Refusal::EventLog)?;
    let event = |event: &cocoon_attest::verify::event_log::Event| {
        json!({
            "imr": WORKLOAD_REGISTER,
            "event": event.name,
            "event_payload": hex::encode(&event.payload),
            "digest": hex::encode(event.digest()),
        })
    };
    Ok(log.events().iter().map(event).collect())
}

/// The request that NVIDIA's attestation service takes, as text; none without devices.
fn nvidia_payload(devices: &[Device], claims: &[nvidia::Claims]) -> Option<String> {
    let first = claims.first()?;
    let arch = match first.architecture {
        Some(nvidia::Architecture::Hopper) => "HOPPER",
        Some(nvidia::Architecture::Blackwell) => "BLACKWELL",
        Some(nvidia::Architecture::Ls10) => "LS10",
        None => "UNKNOWN",
    };
    let evidence = devices.iter().map(|device| {
        json!({
            "evidence": STANDARD.encode(&device.report),
            "certificate": STANDARD.encode(&device.chain),
            "arch": arch,
        })
    });
    let evidence: Vec<Value> = evidence.collect();
    let payload = json!({ "nonce": first.nonce, "arch": arch, "evidence_list": evidence });
    Some(payload.to_string())
}
