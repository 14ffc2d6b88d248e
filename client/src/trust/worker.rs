//! Workers as a gateway lists them, and what their evidence proves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_attest::appraisal::{Appraised, examine};
use cocoon_attest::enrol::WorkloadModel;
use cocoon_attest::policy::{Admission, Policy};
use cocoon_primitives::{Assurance, Digest, ModelName, Timestamp, WorkerId};
use serde::Deserialize;

use super::{Doubt, TrustError};
use crate::api::Api;
use crate::error::CliError;
use crate::output;

/// Workers of one gateway that are looked at.
const WORKERS_MAX: usize = 256;
/// An evidence message has at most so many bytes.
const EVIDENCE_BYTES_MAX: usize = 1 << 20;

/// One row of `GET /v1/attestation/workers`: what the gateway says, nothing of it believed yet.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Listed {
    pub(crate) worker_id: WorkerId,
    pub(crate) evidence_digest: Digest,
    pub(crate) hpke_key: String,
    pub(crate) receipt_key: String,
    /// Unix seconds.
    pub(crate) expires_at: u64,
    /// Where the log has its evidence.
    pub(crate) log_index: Option<u64>,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Listed>,
}

#[derive(Deserialize)]
struct EvidenceAnswer {
    evidence: String,
}

/// A worker whose evidence the user's policy admits.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    pub(crate) worker_id: WorkerId,
    pub(crate) hpke_key: [u8; 32],
    pub(crate) receipt_key: [u8; 32],
    pub(crate) evidence_digest: Digest,
    pub(crate) assurance: Assurance,
    pub(crate) image: String,
    pub(crate) models: Vec<WorkloadModel>,
    /// Before this moment it need not be judged again.
    pub(crate) until: Timestamp,
}

impl Admitted {
    pub(crate) fn model(&self, name: &ModelName) -> Option<&WorkloadModel> {
        self.models.iter().find(|model| model.name == *name)
    }
}

/// The workers that live now, those of `model` where one is named.
pub(crate) async fn list(api: &Api, model: Option<&str>) -> Result<Vec<Listed>, CliError> {
    let query: Vec<_> = model.map(|model| ("model", model.to_owned())).into_iter().collect();
    let mut list: List = api.get_with("/attestation/workers", &query).await?;
    list.data.truncate(WORKERS_MAX);
    Ok(list.data)
}

/// The evidence message with this digest.
pub(crate) async fn evidence(api: &Api, digest: Digest) -> Result<Vec<u8>, TrustError> {
    let answer: EvidenceAnswer = api.get(&format!("/attestation/evidence/{digest}")).await?;
    Ok(decode(&answer.evidence)?)
}

pub(crate) fn decode(text: &str) -> Result<Vec<u8>, Doubt> {
    let decoded = Some(text).filter(|text| text.len() <= EVIDENCE_BYTES_MAX * 2);
    let decoded = decoded.and_then(|text| STANDARD.decode(text).ok());
    decoded.ok_or_else(|| Doubt::new("evidence_malformed", "the evidence is not base64"))
}

/// What the message proves under the user's policy.
pub(crate) fn appraise(
    message: &[u8],
    policy: &Policy,
    now: Timestamp,
) -> Result<Appraised, Doubt> {
    examine(message, policy, now)
        .map_err(|refusal| Doubt::new(refusal.code(), output::plain(&told(&refusal))))
}

/// What the user's policy says of what was proven.
pub(crate) fn admission(
    appraised: &Appraised,
    policy: &Policy,
    now: Timestamp,
) -> Result<Admission, Doubt> {
    policy
        .admit(appraised, now)
        .map_err(|refusal| Doubt::new(refusal.code(), output::plain(&told(&refusal))))
}

/// Judges what was proven by the user's policy, and holds the gateway's row to it.
pub(crate) fn admit(
    listed: &Listed,
    appraised: &Appraised,
    policy: &Policy,
    now: Timestamp,
) -> Result<Admitted, Doubt> {
    let differs = |what: &str| {
        let reason = format!("the gateway lists another {what} than the evidence proves");
        Err(Doubt::new("worker_mismatch", reason))
    };
    if appraised.worker_id != listed.worker_id {
        return differs("worker");
    }
    if appraised.evidence_digest != listed.evidence_digest {
        return differs("evidence digest");
    }
    if hex::encode(appraised.hpke_key) != listed.hpke_key {
        return differs("key for requests");
    }
    if hex::encode(appraised.receipt_key) != listed.receipt_key {
        return differs("key for receipts");
    }
    let admission = admission(appraised, policy, now)?;
    let until = admission.until.min(Timestamp::from_seconds(listed.expires_at));
    if until <= now {
        return Err(Doubt::new("lease_expired", "the worker's lease has ended"));
    }
    Ok(Admitted {
        worker_id: appraised.worker_id,
        hpke_key: appraised.hpke_key,
        receipt_key: appraised.receipt_key,
        evidence_digest: appraised.evidence_digest,
        assurance: appraised.assurance,
        image: admission.image,
        models: appraised.workload.models.clone(),
        until,
    })
}

/// A refusal with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
