//! Members that proved something: by a software TEE, through the whole of enrolment.

use std::sync::{Arc, LazyLock};

use cocoon_attest::appraisal::Appraised;
use cocoon_attest::enrol::{
    Attested, Challenge, Claim, OpenChallenge, Presented, Workload, WorkloadModel,
};
use cocoon_attest::policy::Policy;
use cocoon_attest::receipt::ReceiptKey;
use cocoon_attest::softtee::SoftTee;
use cocoon_attest::verify::event_log::{EventLog, GpuPolicy};
use cocoon_attest::verify::{NvidiaRoot, nvidia};
use cocoon_primitives::{Digest, LeaseId, ModelKind, WalletAddress};

use super::NOW;

const IMAGE: &str = "image";
const EXPORTER: [u8; 32] = [3; 32];
const SPKI: &[u8] = b"the key that holds the connection";
/// Five minutes after `NOW`.
pub(crate) const LATER: &str = "2027-01-15T08:05:00Z";

static TEE: LazyLock<SoftTee> = LazyLock::new(|| SoftTee::from_seed(&[42; 32]));
static APPRAISED: LazyLock<Arc<Appraised>> =
    LazyLock::new(|| Arc::new(attested(&[0; 32], &Text::default()).appraised().clone()));

/// What a test changes about the policy.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    pub(crate) version: u64,
    pub(crate) not_after: &'static str,
    /// `[[model]]` rows.
    pub(crate) models: &'static str,
}

impl Default for Text {
    fn default() -> Self {
        let models = "[[model]]\nname = \"m\"\nmanifest = \
            \"0000000000000000000000000000000000000000000000000000000000000000\"\n";
        Self { version: 1, not_after: "2999-01-01T00:00:00Z", models }
    }
}

impl Text {
    pub(crate) fn policy(&self) -> Policy {
        let Self { version, not_after, models } = self;
        let head = format!(
            "schema = 1\nversion = {version}\nnot_after = \"{not_after}\"\n\
             mode = \"development\"\n"
        );
        let text = format!("{head}{}\n{models}", TEE.policy_rows(IMAGE, 0));
        Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors:?} in {text}"))
    }
}

/// What some worker proved.
pub(crate) fn appraised() -> Arc<Appraised> {
    Arc::clone(&APPRAISED)
}

/// The same, as if it had these GPUs and hardware's maker stood behind them.
pub(crate) fn with_gpus(indices: &[u32]) -> Arc<Appraised> {
    let root = TEE.nvidia_root();
    let claims = indices.iter().map(|index| {
        let device = TEE.gpu(*index, [0; 32], NOW);
        let root = NvidiaRoot::Software(&root);
        let verdict = nvidia::appraise_under(root, &device.report, &device.chain, None, NOW);
        verdict.unwrap().accepted().unwrap().clone()
    });
    Arc::new(Appraised { devices: claims.collect(), ..(*appraised()).clone() })
}

/// The worker with this receipt key.
pub(crate) fn attested(seed: &[u8; 32], text: &Text) -> Attested {
    let (policy, gateway) = (text.policy(), Digest::from_bytes([8; 32]));
    let open = OpenChallenge::issue(&[6; 48], gateway, &policy, NOW);
    let challenge = Challenge::decode(&open.message()).unwrap();
    let evidence = message(seed, &challenge);
    let lease_id = LeaseId::from_bytes([seed[0]; 16]);
    let presented =
        Presented { evidence: &evidence, exporter: &EXPORTER, peer_spki: SPKI, lease_id };
    open.verify(&presented, &policy, NOW).unwrap()
}

/// By what receipts would name its evidence.
pub(crate) fn evidence_of(seed: &[u8; 32], text: &Text) -> Digest {
    attested(seed, text).lease().evidence_digest
}

fn message(seed: &[u8; 32], challenge: &Challenge) -> Vec<u8> {
    let model = WorkloadModel {
        name: "m".parse().unwrap(),
        kind: ModelKind::Chat,
        manifest_digest: Digest::from_bytes([0; 32]),
        context_length: 1000,
        engine: "scripted".to_owned(),
        is_demo: true,
        owned_by: "cocoon".to_owned(),
    };
    let workload = Workload {
        image: IMAGE.to_owned(),
        models: vec![model],
        gpu_count: 0,
        cc_on: true,
        devtools: false,
    };
    let claim = Claim {
        exporter: &EXPORTER,
        tls_spki: SPKI,
        receipt_key: &ReceiptKey::from_seed(seed),
        hpke_key: *seed,
        payee: WalletAddress::new(0, [5; 32]),
        workload: &workload,
    };
    let gpus = GpuPolicy { gpu_count: 0, cc_on: true, devtools: false };
    let log = EventLog::of_worker(&[[0; 32]], gpus).unwrap();
    let prepared = challenge.prepare(&claim, &[]);
    let evidence = TEE.tdx(prepared.report_data(), &log, IMAGE, NOW);
    prepared.finish(evidence)
}
