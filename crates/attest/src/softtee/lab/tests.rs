//! A lab's guests are admitted by the lab's policy, and by no other.

use cocoon_primitives::{Assurance, Digest, LeaseId, ModelKind, WalletAddress};

use super::*;
use crate::enrol::{Attested, OpenChallenge, Presented, Refusal, Workload, WorkloadModel};
use crate::receipt::ReceiptKey;

const SEED: [u8; 32] = [7; 32];
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const EXPORTER: [u8; 32] = [2; 32];
const SPKI: &[u8] = b"tls key";

fn workload(gpus: u32) -> Workload {
    Workload {
        image: IMAGE.to_owned(),
        models: vec![WorkloadModel {
            name: "demo".parse().unwrap(),
            kind: ModelKind::Chat,
            manifest_digest: Digest::from_bytes([0xab; 32]),
            context_length: 4096,
            engine: "scripted".to_owned(),
            is_demo: true,
            owned_by: "cocoon".to_owned(),
        }],
        gpu_count: gpus,
        cc_on: gpus > 0,
        devtools: false,
    }
}

/// A guest of `lab` enrols where `policy` holds.
fn enrol(lab: &Lab, policy: &Policy, gpus: u32) -> Result<Attested, Refusal> {
    let open = OpenChallenge::issue(&[3; 48], Digest::from_bytes([4; 32]), policy, NOW);
    let challenge = Challenge::decode(&open.message()).unwrap();
    let workload = workload(gpus);
    let claim = Claim {
        exporter: &EXPORTER,
        tls_spki: SPKI,
        receipt_key: &ReceiptKey::from_seed(&[5; 32]),
        hpke_key: [6; 32],
        payee: WalletAddress::from_bytes(&[0; 33]),
        workload: &workload,
    };
    let evidence = lab.answer(&challenge, &claim, NOW);
    let lease_id = LeaseId::from_bytes([7; 16]);
    let presented =
        Presented { evidence: &evidence, exporter: &EXPORTER, peer_spki: SPKI, lease_id };
    open.verify(&presented, policy, NOW)
}

fn models() -> (String, &'static str) {
    ("ab".repeat(32), "demo")
}

#[test]
fn a_lab_admits_its_guests() {
    let (manifest, name) = models();
    let labs = [
        (Lab::new(SEED), 0, "lab"),
        (Lab::new(SEED).with_gpus(2), 2, "lab"),
        (Lab::new(SEED).with_snp(SEED), 0, "lab-snp"),
        (Lab::new(SEED).with_snp(SEED).with_gpus(1), 1, "lab-snp"),
    ];
    for (lab, gpus, image) in labs {
        let attested = enrol(&lab, &lab.policy(&[(name, &manifest)]), gpus).unwrap();
        assert_eq!(attested.lease().image, image);
        assert_eq!(attested.lease().assurance, Assurance::Software);
        assert_eq!(attested.appraised().devices.len(), usize::try_from(gpus).unwrap());
        enrol(&lab, &lab.policy_for_any_model(), gpus).unwrap();
    }
}

#[test]
fn and_no_others() {
    let (manifest, name) = models();
    let lab = Lab::new(SEED).with_gpus(1);
    let listed = [(name, manifest.as_str())];
    let code = |lab: &Lab, policy: &Policy, gpus| {
        enrol(lab, policy, gpus).err().map(|refusal| refusal.code())
    };
    assert_eq!(code(&lab, &lab.policy(&listed), 1), None);
    // Another maker's guest, another policy's models, fewer GPUs than the image has.
    assert_eq!(code(&Lab::new([8; 32]).with_gpus(1), &lab.policy(&listed), 1), Some("unverified"));
    assert!(code(&lab, &lab.policy(&[]), 1).is_some());
    assert!(code(&lab, &lab.policy(&[(name, &"cd".repeat(32))]), 1).is_some());
    assert!(code(&Lab::new(SEED), &lab.policy(&listed), 0).is_some());
    let golden = lab.policy_toml(&listed);
    // Each line of its own that is changed refuses.
    for key in ["mrtd", "rtmr0", "rtmr1", "rtmr2", "mr_seam", "xfam", "drivers", "vbios", "63"] {
        let changed = turned(&golden, key);
        let policy = Policy::parse(changed.as_bytes()).unwrap();
        assert!(code(&lab, &policy, 1).is_some(), "{key}");
    }
}

/// The policy with another digit at the end of this key's value.
fn turned(policy: &str, key: &str) -> String {
    let start = policy.find(&format!("\n{key} = ")).unwrap();
    let end = start + 1 + policy[start + 1..].find('\n').unwrap();
    let at = policy[..end].rfind(|c: char| c.is_ascii_alphanumeric()).unwrap();
    let other = if policy[at..].starts_with('0') { "1" } else { "0" };
    format!("{}{other}{}", &policy[..at], &policy[at + 1..])
}

#[test]
fn production_knows_no_software() {
    let lab = Lab::new(SEED);
    let toml = lab.policy_toml(&[]).replace("development", "production");
    assert!(Policy::parse(toml.as_bytes()).is_err());
}
