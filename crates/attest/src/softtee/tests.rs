//! The verifiers judge what software made as they judge a vendor's; only the root says which.

use std::sync::LazyLock;

use cocoon_primitives::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::verify::event_log::GpuPolicy;
use crate::verify::{NvidiaRoot, Refusal as _, SnpRoot, TdxRoot, nvidia, snp, tdx};

const SEED: [u8; 32] = [7; 32];
const OTHER_SEED: [u8; 32] = [8; 32];
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const IMAGE: &str = "worker-dev";
const DATA: [u8; 64] = [0x5a; 64];
const NONCE: [u8; 32] = [0x3c; 32];
const DAY: u64 = 24 * 3600;

fn log() -> EventLog {
    let gpus = GpuPolicy { gpu_count: 2, cc_on: true, devtools: false };
    EventLog::of_worker(&[[1; 32], [2; 32]], gpus).unwrap()
}

fn tee() -> SoftTee {
    SoftTee::from_seed(&SEED)
}

fn with_snp() -> SoftTee {
    tee().with_snp_key(&snp_key(&SEED)).unwrap()
}

fn judge_tdx(
    root: TdxRoot<'_>,
    evidence: &Evidence,
    at: Timestamp,
) -> Result<tdx::Claims, &'static str> {
    let collateral = tdx::Collateral::parse(&evidence.endorsements).unwrap();
    let verdict = tdx::appraise_under(root, &evidence.quote, &collateral, Some(&DATA), at).unwrap();
    verdict.accepted().cloned().ok_or_else(|| verdict.refusal().unwrap().code())
}

fn judge_snp(
    root: SnpRoot<'_>,
    evidence: &Evidence,
    at: Timestamp,
) -> Result<snp::Claims, &'static str> {
    let SnpEndorsements { vcek, crl } = SnpEndorsements::decode(&evidence.endorsements).unwrap();
    let crl = Some(crl.as_slice());
    let verdict = snp::appraise_under(root, &evidence.quote, &vcek, crl, Some(&DATA), at).unwrap();
    verdict.accepted().cloned().ok_or_else(|| verdict.refusal().unwrap().code())
}

fn judge_gpu(root: NvidiaRoot<'_>, device: &Device) -> Result<nvidia::Claims, &'static str> {
    let verdict =
        nvidia::appraise_under(root, &device.report, &device.chain, Some(&NONCE), NOW).unwrap();
    verdict.accepted().cloned().ok_or_else(|| verdict.refusal().unwrap().code())
}

/// Real evidence lies outside the repository; a test says aloud that it did without.
fn vendors(name: &str) -> Option<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence");
    let bytes = std::fs::read(format!("{folder}/{name}")).ok();
    if bytes.is_none() {
        eprintln!("SKIPPED: there is no evidence at {folder}/{name}");
    }
    bytes
}

#[test]
fn a_software_quote_is_up_to_date_under_its_own_root() {
    let tee = tee();
    let evidence = tee.tdx(DATA, &log(), IMAGE, NOW);
    assert_eq!(evidence.kind, Kind::SoftTdx);
    let root = tee.tdx_root();
    let claims = judge_tdx(TdxRoot::Software(&root), &evidence, NOW).unwrap();
    assert_eq!(format!("{:?}", claims.tcb_status), "UpToDate");
    assert!(claims.advisories.is_empty());
    assert_eq!(claims.quote_version, 4);
    assert_eq!((claims.fmspc.0, claims.ppid.0), (FMSPC, PPID));
    assert_eq!(claims.report_data.0, DATA);
    assert_eq!(claims.rtmr3.0, log().rtmr3());
    assert_eq!(claims.mr_td.0, register(IMAGE, "MRTD"));
    assert_eq!(claims.rtmr2.0, register(IMAGE, "RTMR2"));
    assert_ne!(claims.rtmr0, claims.rtmr1);
    assert_eq!(claims.tcb_eval_data_number, 1);
    assert_eq!(claims.collateral_expires, NOW.as_seconds() + 30 * DAY);
    assert_eq!(EventLog::decode(&evidence.event_log).unwrap(), log());
}

#[test]
fn a_software_report_is_accepted_under_its_own_signer() {
    let tee = with_snp();
    let evidence = tee.snp(DATA, &log(), IMAGE, NOW).unwrap();
    assert_eq!(evidence.kind, Kind::SoftSnp);
    let signer = tee.snp_signer().unwrap();
    let claims = judge_snp(SnpRoot::Software(&signer), &evidence, NOW).unwrap();
    assert_eq!(claims.product, Some(snp::Product::Genoa));
    assert_eq!(claims.chip_id.0, CHIP_ID);
    assert_eq!(claims.report_data.0, DATA);
    assert_eq!(claims.host_data.0, log().host_data());
    assert_eq!(claims.measurement.0, register(IMAGE, "MEASUREMENT"));
    assert_eq!(claims.version, 5);
    assert!(claims.crl_checked && claims.platform.alias_check_complete);
    assert_eq!(claims.reported.map(|tcb| (tcb.bl, tcb.snp, tcb.ucode)), Some((10, 23, 84)));
    assert_eq!(claims.crl_until, i64::try_from(NOW.as_seconds() + 30 * DAY).ok());
}

#[test]
fn software_gpus_are_accepted_under_their_own_root_and_told_apart() {
    let tee = tee();
    let root = tee.nvidia_root();
    let gpus: Vec<_> = (0..8)
        .map(|index| judge_gpu(NvidiaRoot::Software(&root), &tee.gpu(index, NONCE, NOW)).unwrap())
        .collect();
    let serials: std::collections::BTreeSet<_> =
        gpus.iter().map(|claims| claims.device_serial.clone()).collect();
    assert_eq!(serials.len(), 8);
    // Another report of one device is of the same device.
    let later = tee.gpu(3, [1; 32], NOW);
    let root = NvidiaRoot::Software(&root);
    let again = nvidia::appraise_under(root, &later.report, &later.chain, None, NOW).unwrap();
    let again = again.accepted().unwrap();
    assert_ne!(again.nonce, gpus[3].nonce);
    assert_eq!(again.device_serial, gpus[3].device_serial);
    for claims in gpus {
        assert_eq!(claims.architecture, Some(nvidia::Architecture::Hopper));
        assert_eq!(claims.nonce, hex::encode(NONCE));
        assert_eq!(claims.driver_version.as_deref(), Some("0.0.0-software"));
        assert_eq!(claims.vbios_version.as_deref(), Some("00.00.00.00.00"));
        assert_eq!(claims.feature_flag, Some(1));
        assert_eq!(claims.firmware_id, claims.certified_firmware_id);
        assert_eq!(claims.measurements.len(), 64);
        assert_eq!(claims.measurement_counts, [1; 64]);
        assert_eq!(claims.nvdec0, Some(nvidia::Status::Enabled));
        assert_eq!(claims.protected_pcie, Some(nvidia::Status::Disabled));
    }
}

#[test]
fn vendors_roots_refuse_software() {
    let tee = with_snp();
    let quote = tee.tdx(DATA, &log(), IMAGE, NOW);
    assert_eq!(judge_tdx(TdxRoot::Intel, &quote, NOW), Err("unverified"));
    let report = tee.snp(DATA, &log(), IMAGE, NOW).unwrap();
    assert_eq!(judge_snp(SnpRoot::Amd, &report, NOW), Err("chain"));
    let gpu = tee.gpu(0, NONCE, NOW);
    assert_eq!(judge_gpu(NvidiaRoot::Nvidia, &gpu), Err("chain"));
}

#[test]
fn another_seeds_roots_refuse_it_too() {
    let (tee, other) = (with_snp(), SoftTee::from_seed(&OTHER_SEED));
    let other = other.with_snp_key(&snp_key(&OTHER_SEED)).unwrap();
    let quote = tee.tdx(DATA, &log(), IMAGE, NOW);
    assert_eq!(judge_tdx(TdxRoot::Software(&other.tdx_root()), &quote, NOW), Err("unverified"));
    let report = tee.snp(DATA, &log(), IMAGE, NOW).unwrap();
    let signer = other.snp_signer().unwrap();
    assert_eq!(judge_snp(SnpRoot::Software(&signer), &report, NOW), Err("chain"));
    let gpu = tee.gpu(0, NONCE, NOW);
    assert_eq!(judge_gpu(NvidiaRoot::Software(&other.nvidia_root()), &gpu), Err("chain"));
}

#[test]
fn software_roots_refuse_vendors_evidence() {
    let tee = with_snp();
    if let (Some(quote), Some(collateral)) =
        (vendors("tdx/tdx_quote"), vendors("tdx/tdx_quote_collateral.json"))
    {
        let collateral = tdx::Collateral::parse(&collateral).unwrap();
        // 2025-06-20, when Intel's root accepts it.
        let at = Timestamp::from_seconds(1_750_377_600);
        assert!(tdx::appraise(&quote, &collateral, None, at).unwrap().accepted().is_some());
        let root = tee.tdx_root();
        let verdict =
            tdx::appraise_under(TdxRoot::Software(&root), &quote, &collateral, None, at).unwrap();
        assert_eq!(verdict.refusal().unwrap().code(), "unverified");
    }
    if let (Some(report), Some(vcek)) =
        (vendors("snp/ar_live-report-v5-genoa.bin"), vendors("snp/ar_live-vcek-genoa.der"))
    {
        let signer = tee.snp_signer().unwrap();
        let at = Timestamp::from_seconds(1_791_590_400);
        let root = SnpRoot::Software(&signer);
        let verdict = snp::appraise_under(root, &report, &vcek, None, None, at).unwrap();
        assert_eq!(verdict.refusal().unwrap().code(), "chain");
    }
    if let (Some(report), Some(chain)) =
        (vendors("nvidia/hopperAttestationReport.txt"), vendors("nvidia/hopperCertChain.txt"))
    {
        let report = hex::decode(report.trim_ascii()).unwrap();
        let root = tee.nvidia_root();
        let root = NvidiaRoot::Software(&root);
        let verdict = nvidia::appraise_under(root, &report, &chain, None, NOW).unwrap();
        assert_eq!(verdict.refusal().unwrap().code(), "chain");
    }
}

#[test]
fn what_is_published_has_a_beginning_and_an_end() {
    let tee = with_snp();
    let (root, signer) = (tee.tdx_root(), tee.snp_signer().unwrap());
    let quote = tee.tdx(DATA, &log(), IMAGE, NOW);
    let report = tee.snp(DATA, &log(), IMAGE, NOW).unwrap();
    let at = |seconds: u64| {
        let at = Timestamp::from_seconds(seconds);
        let tdx = judge_tdx(TdxRoot::Software(&root), &quote, at).err();
        (tdx, judge_snp(SnpRoot::Software(&signer), &report, at).err())
    };
    let now = NOW.as_seconds();
    assert_eq!(at(now - DAY - 1), (Some("collateral_not_yet_valid"), Some("crl_not_yet_valid")));
    assert_eq!(at(now - DAY), (None, None));
    assert_eq!(at(now + 30 * DAY - 1), (None, None));
    assert_eq!(at(now + 30 * DAY + 1), (Some("collateral_expired"), Some("crl_expired")));
}

#[test]
fn what_is_published_against_a_platform_shows() {
    let late = Published {
        tcb_status: "OutOfDate".to_owned(),
        advisories: vec!["INTEL-SA-00000".to_owned()],
        ..Published::best()
    };
    let tee = tee().with_published(late);
    let (root, evidence) = (tee.tdx_root(), tee.tdx(DATA, &log(), IMAGE, NOW));
    assert_eq!(judge_tdx(TdxRoot::Software(&root), &evidence, NOW).err(), Some("tcb_status"));
    let collateral = tdx::Collateral::parse(&evidence.endorsements).unwrap();
    let software = TdxRoot::Software(&root);
    let verdict =
        tdx::appraise_for_policy(software, &evidence.quote, &collateral, None, NOW).unwrap();
    let claims = verdict.accepted().unwrap();
    assert_eq!(claims.tcb_status.to_string(), "OutOfDate");
    assert_eq!(claims.advisories, ["INTEL-SA-00000"]);

    let revoked = Published { is_revoked: true, ..Published::best() };
    let tee = with_snp().with_published(revoked);
    let (root, signer) = (tee.tdx_root(), tee.snp_signer().unwrap());
    let quote = tee.tdx(DATA, &log(), IMAGE, NOW);
    let collateral = tdx::Collateral::parse(&quote.endorsements).unwrap();
    let software = TdxRoot::Software(&root);
    let verdict = tdx::appraise_under(software, &quote.quote, &collateral, None, NOW).unwrap();
    let refusal = verdict.refusal().unwrap().to_string();
    assert!(refusal.contains("CertRevoked"), "{refusal}");
    let report = tee.snp(DATA, &log(), IMAGE, NOW).unwrap();
    assert_eq!(judge_snp(SnpRoot::Software(&signer), &report, NOW).err(), Some("revoked"));
}

/// Clocks of tests stand anywhere between the beginning of Unix time and 2049.
#[test]
fn evidence_is_good_at_any_time_of_a_test() {
    let tee = tee();
    let root = tee.tdx_root();
    for seconds in [0, 1, 1000, 1_000_000, 1_700_000_000, 2_500_000_000] {
        let now = Timestamp::from_seconds(seconds);
        let evidence = tee.tdx(DATA, &log(), IMAGE, now);
        assert_eq!(judge_tdx(TdxRoot::Software(&root), &evidence, now).err(), None, "{seconds}");
    }
    // And making it fails at none.
    tee.tdx(DATA, &log(), IMAGE, Timestamp::from_millis(u64::MAX));
}

#[test]
fn the_same_seed_makes_the_same_evidence() {
    let (one, two) = (with_snp(), with_snp());
    assert_eq!(one.tdx(DATA, &log(), IMAGE, NOW), two.tdx(DATA, &log(), IMAGE, NOW));
    assert_eq!(one.snp(DATA, &log(), IMAGE, NOW), two.snp(DATA, &log(), IMAGE, NOW));
    assert_eq!(one.gpu(3, NONCE, NOW), two.gpu(3, NONCE, NOW));
    assert_eq!((one.tdx_root(), one.snp_signer()), (two.tdx_root(), two.snp_signer()));
    assert_ne!(one.tdx_root(), SoftTee::from_seed(&OTHER_SEED).tdx_root());
    assert_eq!(SoftTee::from_seed(&SEED).snp(DATA, &log(), IMAGE, NOW), None);
}

/// Every certificate, wherever it stands, says in a name that there is no hardware.
#[test]
fn every_certificate_says_what_it_is() {
    let tee = with_snp();
    let collateral = tee.tdx(DATA, &log(), IMAGE, NOW).endorsements;
    let collateral: serde_json::Value = serde_json::from_slice(&collateral).unwrap();
    let quote = tee.tdx(DATA, &log(), IMAGE, NOW).quote;
    let start = quote.windows(5).position(|window| window == b"-----").unwrap();
    let mut pems = vec![quote[start..].to_vec(), tee.gpu(0, NONCE, NOW).chain];
    for chain in ["pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"] {
        pems.push(collateral[chain].as_str().unwrap().as_bytes().to_vec());
    }
    let mut certificates = vec![tee.tdx_root(), tee.snp_signer().unwrap(), tee.nvidia_root()];
    let endorsements = tee.snp(DATA, &log(), IMAGE, NOW).unwrap().endorsements;
    certificates.push(SnpEndorsements::decode(&endorsements).unwrap().vcek);
    for pem in pems {
        let found = x509_parser::pem::Pem::iter_from_buffer(&pem).map(|pem| pem.unwrap().contents);
        certificates.extend(found);
    }
    assert_eq!(certificates.len(), 4 + 3 + 5 + 2 + 2 + 2);
    for der in certificates {
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        let subject = certificate.subject().to_string();
        assert!(subject.contains(LABEL), "{subject}");
        assert!(certificate.issuer().to_string().contains(LABEL));
        assert!(is_labelled(&der));
    }
    assert!(!is_labelled(b"-----BEGIN CERTIFICATE-----"));
    assert!(collateral["tcb_info"].as_str().unwrap().contains("50F700000000"));
}

#[test]
fn keys_for_snp_are_rsa_and_long_enough() {
    let refused = |pkcs8: &[u8]| tee().with_snp_key(pkcs8).err();
    assert_eq!(refused(&[]), Some(SnpKeyError::NotRsa));
    assert_eq!(refused(&[0x30; 64]), Some(SnpKeyError::NotRsa));
    assert_eq!(refused(&[0x30; 10_000]), Some(SnpKeyError::NotRsa));
    let key = snp_key(&SEED);
    assert_eq!(refused(&key), None);
    assert_eq!(refused(&key[..key.len() - 1]), Some(SnpKeyError::NotRsa));
    assert_eq!(key, snp_key(&SEED));
}

/// A root and what leads to it.
static QUOTE: LazyLock<(Vec<u8>, Evidence)> =
    LazyLock::new(|| (tee().tdx_root(), tee().tdx(DATA, &log(), IMAGE, NOW)));
static GPU: LazyLock<(Vec<u8>, Device)> =
    LazyLock::new(|| (tee().nvidia_root(), tee().gpu(0, NONCE, NOW)));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A turned bit is refused, or shows in no claim (bytes that nothing signs).
    #[test]
    fn no_changed_quote_is_accepted(place: prop::sample::Index, bit in 0_u32..8) {
        let (root, evidence) = &*QUOTE;
        let mut quote = evidence.quote.clone();
        let offset = place.index(quote.len());
        quote[offset] ^= 1 << bit;
        let collateral = tdx::Collateral::parse(&evidence.endorsements).unwrap();
        let judge = |quote: &[u8]| {
            let root = TdxRoot::Software(root);
            let verdict = tdx::appraise_under(root, quote, &collateral, Some(&DATA), NOW).ok()?;
            verdict.accepted().cloned()
        };
        let changed = judge(&quote);
        prop_assert!(changed.is_none() || changed == judge(&evidence.quote), "byte {offset}");
    }

    #[test]
    fn no_bytes_are_a_key(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(key::Key::rsa(&bytes).err(), Some(SnpKeyError::NotRsa));
    }

    #[test]
    fn no_changed_gpu_report_is_accepted(place: prop::sample::Index, bit in 0_u32..8) {
        let (root, Device { report, chain, .. }) = &*GPU;
        let mut report = report.clone();
        let offset = place.index(report.len());
        report[offset] ^= 1 << bit;
        let root = NvidiaRoot::Software(root);
        let verdict = nvidia::appraise_under(root, &report, chain, Some(&NONCE), NOW);
        prop_assert!(!verdict.is_ok_and(|verdict| verdict.accepted().is_some()), "byte {offset}");
    }
}
