//! Attestation results as tokens that other relying parties can read: one EAR for each live lease.
//!
//! A JWT (EdDSA) under the key that countersigns receipts. Shaped on draft-ietf-rats-ear-04, with the
//! trustworthiness vector of AR4SI; the draft is not finished, so the profile is our own and names its
//! version. Whoever does not want to trust this gateway reads the evidence itself, which the token
//! names by its digest.

use std::fmt;

use cocoon_attest::appraisal::{Appraised, Platform};
use cocoon_attest::lease::Lease;
use cocoon_primitives::Assurance;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::auth::SecretSeed;

/// What the claims below mean.
const PROFILE: &str = "tag:cocoon,2026:ear/1";
/// AR4SI: as expected of a sound attester.
const AFFIRMING: i8 = 2;
/// AR4SI, hardware: what stands behind the evidence is not recognised as genuine.
const UNRECOGNISED: i8 = 97;

/// Signs attestation results.
pub struct EarSigner {
    key: EncodingKey,
    issuer: String,
}

impl EarSigner {
    pub fn new(seed: &SecretSeed) -> Self {
        let issuer = hex::encode(seed.signing_key().verifying_key().as_bytes());
        Self { key: seed.jwt_key(), issuer }
    }

    /// The result for one lease; it ends with the lease.
    pub fn token(&self, lease: &Lease, appraised: &Appraised) -> String {
        let claims = self.claims(lease, appraised);
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.key)
            .expect("the key is an Ed25519 key in PKCS #8 and the claims are plain JSON")
    }

    fn claims(&self, lease: &Lease, appraised: &Appraised) -> Value {
        let is_hardware = lease.assurance == Assurance::Hardware;
        let (status, hardware) = match is_hardware {
            true => ("affirming", AFFIRMING),
            false => ("contraindicated", UNRECOGNISED),
        };
        let devices: Vec<Value> = appraised
            .devices
            .iter()
            .map(|device| json!({ "arch": device.architecture, "driver": device.driver_version }))
            .collect();
        let models: Vec<Value> = lease
            .models
            .iter()
            .map(|model| json!({ "name": model.name, "manifest": model.manifest_digest }))
            .collect();
        json!({
            "eat_profile": PROFILE,
            "iss": self.issuer,
            "sub": lease.worker_id,
            "jti": lease.lease_id,
            "iat": lease.issued.as_seconds(),
            "exp": lease.expires.as_seconds(),
            "cnf": {
                "tls_spki_sha256": lease.tls_spki_sha256,
                "hpke_key": hex::encode(lease.hpke_key),
                "receipt_key": hex::encode(lease.receipt_key),
            },
            "ear.verifier-id": {
                "build": concat!("cocoon-gateway ", env!("CARGO_PKG_VERSION")),
                "developer": "cocoon",
            },
            "submods": { "worker": {
                "ear.status": status,
                "ear.trustworthiness-vector": {
                    "instance-identity": AFFIRMING,
                    "configuration": AFFIRMING,
                    "executables": AFFIRMING,
                    "hardware": hardware,
                    "runtime-opaque": hardware,
                },
                "ear.appraisal-policy-id": lease.policy_digest,
            } },
            "cocoon": {
                "assurance": lease.assurance,
                "tee": appraised.platform.tee(),
                "hardware_id": hardware_id(&appraised.platform),
                "image": lease.image,
                "models": models,
                "devices": devices,
                "evidence_digest": lease.evidence_digest,
                "collateral_until": appraised.collateral_until.as_seconds(),
            },
        })
    }
}

/// Which machine it is: the processor package's or the chip's id.
fn hardware_id(platform: &Platform) -> String {
    match platform {
        Platform::Tdx(claims) => hex::encode(claims.ppid.0),
        Platform::Snp(claims) => hex::encode(claims.chip_id.0),
    }
}

impl fmt::Debug for EarSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EarSigner({})", self.issuer)
    }
}
