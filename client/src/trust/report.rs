//! Evidence over a nonce of our own: the worker lives now, with the keys that were attested.

use cocoon_attest::appraisal::Appraised;
use cocoon_attest::policy::Policy;
use cocoon_attest::receipt::batch;
use cocoon_primitives::{ModelName, Timestamp, WorkerId};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::worker::{appraise, decode};
use super::{Doubt, TrustError};
use crate::api::Api;

const REPORTS_MAX: usize = 256;
const PATH_MAX: usize = 64;

/// `GET /v1/attestation/report`, as far as it is used here.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) model_attestations: Vec<Attestation>,
}

/// One worker's part.
#[derive(Debug, Deserialize)]
pub(crate) struct Attestation {
    pub(crate) worker_id: WorkerId,
    /// The evidence message, base64.
    pub(crate) evidence: String,
    nonce_proof: NonceProof,
}

/// Where our nonce stands among those that one challenge answers.
#[derive(Debug, Deserialize)]
struct NonceProof {
    index: u64,
    size: u64,
    path: Vec<String>,
}

/// Who is asked for evidence.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose<'a> {
    /// Some of a model's workers: the gateway bounds how many.
    Model(&'a ModelName),
    Worker(WorkerId),
}

/// A nonce that nobody has seen.
pub(crate) fn nonce() -> Result<[u8; 32], Doubt> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)
        .map_err(|_| Doubt::new("randomness", "there are no random bytes"))?;
    Ok(nonce)
}

/// Asks for evidence over `nonce`.
pub(crate) async fn fetch(
    api: &Api,
    whose: Whose<'_>,
    nonce: &[u8; 32],
) -> Result<Report, TrustError> {
    let whose = match whose {
        Whose::Model(model) => ("model", model.to_string()),
        Whose::Worker(worker) => ("worker", worker.to_string()),
    };
    let query = [whose, ("nonce", hex::encode(nonce)), ("signing_algo", "ed25519".to_owned())];
    let mut report: Report = api.get_with("/attestation/report", &query).await?;
    report.model_attestations.truncate(REPORTS_MAX);
    Ok(report)
}

/// What one worker proves, after its evidence turned out to be over our nonce.
pub(crate) fn verify(
    attestation: &Attestation,
    nonce: &[u8; 32],
    policy: &Policy,
    now: Timestamp,
) -> Result<Appraised, Doubt> {
    let appraised = appraise(&decode(&attestation.evidence)?, policy, now)?;
    if appraised.worker_id != attestation.worker_id {
        return Err(Doubt::new("worker_mismatch", "the evidence is another worker's"));
    }
    if !covers(&attestation.nonce_proof, nonce, &appraised.nonce) {
        return Err(Doubt::new("nonce", "the evidence does not answer our nonce"));
    }
    Ok(appraised)
}

/// Whether the path leads from our nonce to the one that was challenged with.
fn covers(proof: &NonceProof, nonce: &[u8; 32], challenged: &[u8; 32]) -> bool {
    if proof.path.len() > PATH_MAX {
        return false;
    }
    let mut hasher = Sha256::new();
    hasher.update(b"cocoon/report-nonce/v1");
    hasher.update(nonce);
    let leaf: [u8; 32] = hasher.finalize().into();
    let step = |text: &String| {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).ok().map(|()| hash)
    };
    let Some(path) = proof.path.iter().map(step).collect() else { return false };
    let proof = batch::Proof { index: proof.index, size: proof.size, path };
    batch::verify(&leaf, &proof, challenged)
}
