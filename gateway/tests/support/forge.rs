//! Policies and evidence of a software TEE, honest or forged: for tests whose worker is none.

use cocoon_attest::enrol::{Challenge, Claim, Workload, WorkloadModel};
use cocoon_attest::evidence::{Device, Evidence};
use cocoon_attest::receipt::ReceiptKey;
use cocoon_attest::softtee::SoftTee;
use cocoon_attest::verify::event_log::{EventLog, GpuPolicy};
use cocoon_primitives::{Digest, ModelKind, Timestamp, WalletAddress};

pub(crate) const IMAGE: &str = "scripted-worker";
/// After anything that a test does.
pub(crate) const NEVER: &str = "2999-01-01T00:00:00Z";

/// A policy file in development mode, as a test writes it.
#[derive(Debug, Clone)]
pub(crate) struct PolicyText {
    pub(crate) version: u64,
    pub(crate) not_after: String,
    pub(crate) lease_seconds: u64,
    pub(crate) on_revocation: &'static str,
    /// Names and manifests; `None`: any model.
    pub(crate) models: Option<Vec<(String, Digest)>>,
    pub(crate) gpus: u32,
    /// Further sections.
    pub(crate) more: String,
}

impl Default for PolicyText {
    fn default() -> Self {
        Self {
            version: 1,
            not_after: NEVER.to_owned(),
            lease_seconds: 600,
            on_revocation: "finish",
            models: None,
            gpus: 0,
            more: String::new(),
        }
    }
}

impl PolicyText {
    /// Admits this software TEE's guests with the usual image.
    pub(crate) fn write(&self, tee: &SoftTee) -> String {
        let Self { version, not_after, lease_seconds, on_revocation, models, gpus, more } = self;
        let head = format!(
            "schema = 1\nversion = {version}\nnot_after = \"{not_after}\"\n\
             mode = \"development\"\nlease_seconds = {lease_seconds}\n\
             on_revocation = \"{on_revocation}\"\ninsecure_any_model = {}\n",
            models.is_none()
        );
        let row = |(name, manifest): &(String, Digest)| {
            format!("[[model]]\nname = \"{name}\"\nmanifest = \"{manifest}\"\n")
        };
        let models: String = models.iter().flatten().map(row).collect();
        format!("{head}{}\n{models}{more}\n", tee.policy_rows(IMAGE, *gpus))
    }
}

/// What a worker says about itself, and the machine that vouches for it.
pub(crate) struct Forge {
    pub(crate) tee: SoftTee,
    pub(crate) receipt_key: ReceiptKey,
    pub(crate) workload: Workload,
}

impl Forge {
    /// One model, no GPU.
    pub(crate) fn new(seed: [u8; 32], model: &str) -> Self {
        let model = WorkloadModel {
            name: model.parse().expect("a name"),
            kind: ModelKind::Chat,
            manifest_digest: Digest::from_bytes([7; 32]),
            context_length: 10_000,
            engine: "none".to_owned(),
            is_demo: true,
            owned_by: "nobody".to_owned(),
        };
        let workload = Workload {
            image: IMAGE.to_owned(),
            models: vec![model],
            gpu_count: 0,
            cc_on: true,
            devtools: false,
        };
        let receipt_key = ReceiptKey::from_seed(&[1; 32]);
        Self { tee: SoftTee::from_seed(&seed), receipt_key, workload }
    }

    pub(crate) fn claim<'a>(&'a self, exporter: &'a [u8; 32], tls_spki: &'a [u8]) -> Claim<'a> {
        Claim {
            exporter,
            tls_spki,
            receipt_key: &self.receipt_key,
            hpke_key: [9; 32],
            payee: WalletAddress::new(0, [5; 32]),
            workload: &self.workload,
        }
    }

    /// The GPUs that the workload names, each answering this nonce.
    pub(crate) fn devices(&self, nonce: [u8; 32], now: Timestamp) -> Vec<Device> {
        (0..self.workload.gpu_count).map(|index| self.tee.gpu(index, nonce, now)).collect()
    }

    /// The guest's part.
    pub(crate) fn evidence(&self, report_data: [u8; 64], now: Timestamp) -> Evidence {
        let manifests: Vec<[u8; 32]> =
            self.workload.models.iter().map(|model| *model.manifest_digest.as_bytes()).collect();
        let gpus = GpuPolicy {
            gpu_count: self.workload.gpu_count,
            cc_on: self.workload.cc_on,
            devtools: self.workload.devtools,
        };
        let log = EventLog::of_worker(&manifests, gpus).expect("a short log");
        self.tee.tdx(report_data, &log, IMAGE, now)
    }

    /// The whole answer to a challenge, as an honest worker gives it.
    pub(crate) fn answer(
        &self,
        challenge: &Challenge,
        exporter: &[u8; 32],
        tls_spki: &[u8],
        now: Timestamp,
    ) -> Vec<u8> {
        let claim = self.claim(exporter, tls_spki);
        let devices = self.devices(challenge.gpu_nonce(&claim), now);
        let prepared = challenge.prepare(&claim, &devices);
        let evidence = self.evidence(prepared.report_data(), now);
        prepared.finish(evidence)
    }
}
