//! A software guest against a policy of its own rows, through the real enrolment.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use cocoon_attest::enrol::{Challenge, Claim, OpenChallenge, Presented, Workload, WorkloadModel};
use cocoon_attest::policy::Policy;
use cocoon_attest::receipt::ReceiptKey;
use cocoon_primitives::{Assurance, Digest, LeaseId, ModelKind, Timestamp, WalletAddress};

use super::super::EvidenceSource;
use super::super::software::{
    InitOptions, ROWS, SoftwareGuest, SoftwareKind, SoftwareTeeError, init, init_from_seed,
};
use super::*;

const MANIFEST: [u8; 32] = [7; 32];

fn now() -> Timestamp {
    Timestamp::from_seconds(1_790_000_000)
}

fn source(folder: &Path, kind: SoftwareKind, gpus: u32) -> EvidenceSource {
    let guest = SoftwareGuest::open(folder, kind, gpus, None).unwrap();
    EvidenceSource::Software(Box::new(guest))
}

fn workload(source: &EvidenceSource) -> (Workload, EventLog) {
    let gpus = source.gpus().unwrap();
    let model = WorkloadModel {
        name: "scripted".parse().unwrap(),
        kind: ModelKind::Chat,
        manifest_digest: Digest::from_bytes(MANIFEST),
        context_length: 1000,
        engine: "scripted".to_owned(),
        is_demo: true,
        owned_by: "cocoon".to_owned(),
    };
    let workload = Workload {
        image: source.image().to_owned(),
        models: vec![model],
        gpu_count: gpus.gpu_count,
        cc_on: gpus.cc_on,
        devtools: gpus.devtools,
    };
    (workload, EventLog::of_worker(&[MANIFEST], gpus).unwrap())
}

fn policy(rows: &str) -> Policy {
    let head = "schema = 1\nversion = 1\nnot_after = \"2049-12-31T00:00:00Z\"\n\
                mode = \"development\"\nlease_seconds = 600\n";
    let model =
        format!("\n[[model]]\nname = \"scripted\"\nmanifest = \"{}\"\n", hex::encode(MANIFEST));
    Policy::parse(format!("{head}{rows}{model}").as_bytes()).unwrap()
}

/// Enrols as a link does; the assurance of the lease.
fn enrol(source: &EvidenceSource, policy: &Policy) -> Result<Assurance, String> {
    let (exporter, spki) = ([3; 32], b"spki".as_slice());
    let gw_spki_sha256 = Digest::from_bytes([4; 32]);
    let open = OpenChallenge::issue(&[5; 48], gw_spki_sha256, policy, now());
    let challenge = Challenge::decode(&open.message()).unwrap();
    let receipt_key = ReceiptKey::from_seed(&[6; 32]);
    let (workload, log) = workload(source);
    let claim = Claim {
        exporter: &exporter,
        tls_spki: spki,
        receipt_key: &receipt_key,
        hpke_key: [8; 32],
        payee: WalletAddress::new(0, [9; 32]),
        workload: &workload,
    };
    source.measure(&log).unwrap();
    let devices = source.devices(challenge.gpu_nonce(&claim), now()).unwrap();
    let prepared = challenge.prepare(&claim, &devices);
    let guest = source.guest(prepared.report_data(), &log, now()).unwrap();
    let message = prepared.finish(guest);
    let presented = Presented {
        evidence: &message,
        exporter: &exporter,
        peer_spki: spki,
        lease_id: LeaseId::from_bytes([2; 16]),
    };
    let attested = open.verify(&presented, policy, now()).map_err(|refusal| refusal.to_string())?;
    Ok(attested.lease().assurance)
}

#[test]
fn every_kind_is_admitted_by_its_own_rows_and_by_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let options = InitOptions { gpus: 2, has_snp: true };
    let rows = init_from_seed(folder.path(), &[1; 32], options).unwrap();
    let policy_of = policy(&rows);
    for kind in [SoftwareKind::Tdx, SoftwareKind::Snp] {
        let good = source(folder.path(), kind, 2);
        assert_eq!(enrol(&good, &policy_of), Ok(Assurance::Software));
        assert!(enrol(&source(folder.path(), kind, 1), &policy_of).is_err(), "too few GPUs");
    }
    let other = tempfile::tempdir().unwrap();
    init(other.path(), InitOptions { gpus: 2, has_snp: false }).unwrap();
    assert!(enrol(&source(other.path(), SoftwareKind::Tdx, 2), &policy_of).is_err());
    let missing = SoftwareGuest::open(other.path(), SoftwareKind::Snp, 0, None);
    assert!(matches!(missing, Err(SoftwareTeeError::NoSnp)));
}

#[test]
fn a_folder_keeps_its_keys_and_shows_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let options = InitOptions { gpus: 0, has_snp: false };
    let rows = init(folder.path(), options).unwrap();
    assert_eq!(init(folder.path(), options).unwrap(), rows);
    assert_eq!(fs::read_to_string(folder.path().join(ROWS)).unwrap(), rows);
    let seed = folder.path().join("seed.key");
    assert_eq!(fs::metadata(&seed).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        enrol(&source(folder.path(), SoftwareKind::Tdx, 0), &policy(&rows)),
        Ok(Assurance::Software)
    );

    fs::write(&seed, "zz").unwrap();
    let bad = SoftwareGuest::open(folder.path(), SoftwareKind::Tdx, 0, None);
    assert!(matches!(bad, Err(SoftwareTeeError::Key { .. })));
    fs::remove_file(&seed).unwrap();
    let missing = SoftwareGuest::open(folder.path(), SoftwareKind::Tdx, 0, None);
    assert!(matches!(missing, Err(SoftwareTeeError::File { .. })));
}
