//! Real reports of Hopper, Blackwell and a switch, and what becomes of them when they are changed.

use super::*;
use crate::verify::Outcome;
use proptest::prelude::*;

/// 2026-10-10.
const AT: Timestamp = Timestamp::from_seconds(1_791_590_400);

const SAMPLES: [(&str, &str); 5] = [
    ("hopperAttestationReport.txt", "hopperCertChain.txt"),
    ("hopperAttestationReportExpired.txt", "hopperCertChainExpired.txt"),
    ("nvt_hopperAttestationReport.txt", "nvt_hopperCertChain.txt"),
    ("blackwellAttestationReport.txt", "blackwellCertChain.txt"),
    ("switchAttestationReport.txt", "switchCertChain.txt"),
];

/// Real evidence lies outside the repository; a test says aloud that it did without.
pub(super) fn file(name: &str) -> Option<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence/nvidia");
    let bytes = std::fs::read(format!("{folder}/{name}")).ok();
    if bytes.is_none() {
        eprintln!("SKIPPED: there is no evidence at {folder}/{name}");
    }
    bytes
}

fn sample(report: &str, chain: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    Some((hex::decode(file(report)?.trim_ascii()).unwrap(), file(chain)?))
}

fn hopper() -> Option<(Vec<u8>, Vec<u8>)> {
    let mut devices = evidence::read(&file("hopper_evidence.json")?).unwrap();
    assert_eq!(devices.len(), 1);
    let device = devices.remove(0);
    Some((device.report, device.chain))
}

/// The claims of a sample that is accepted.
pub(super) fn at_the_samples_time(report: &str, chain: &str) -> Option<Claims> {
    let (report, chain) = sample(report, chain)?;
    appraise(&report, &chain, None, AT).unwrap().accepted().cloned()
}

pub(super) fn of_four_gpus() -> Option<Vec<Claims>> {
    let devices = evidence::read(&file("multi_gpu_hopper.json")?).unwrap();
    let claims = devices.iter().map(|device| {
        let verdict = appraise(&device.report, &device.chain, None, AT).unwrap();
        verdict.accepted().unwrap().clone()
    });
    Some(claims.collect())
}

fn outcome(verdict: &Verdict<Claims, Reason>, name: &str) -> Outcome {
    verdict.checks().iter().find(|check| check.name == name).unwrap().outcome
}

fn is_accepted(report: &[u8], chain: &[u8]) -> bool {
    appraise(report, chain, None, AT).is_ok_and(|verdict| verdict.accepted().is_some())
}

#[test]
fn each_sample_is_accepted_with_its_own_claims() {
    use Architecture::{Blackwell, Hopper, Ls10};
    let expected = [
        (Hopper, Some("535.86.09"), "96.00.5E.00.01", false),
        (Hopper, Some("570.124.03"), "96.00.5E.00.04", true),
        (Hopper, Some("550.90.07"), "96.00.9F.00.01", true),
        (Blackwell, Some("575.32"), "97.00.88.00.0F", true),
        (Ls10, None, "96.10.55.00.01", false),
    ];
    for ((report, chain), (architecture, driver, vbios, names_firmware)) in
        SAMPLES.into_iter().zip(expected)
    {
        let Some((bytes, chain)) = sample(report, chain) else { return };
        let verdict = appraise(&bytes, &chain, None, AT).unwrap();
        assert_eq!(verdict.refusal(), None, "{report}");
        let claims = verdict.accepted().unwrap();
        assert_eq!(claims.architecture, Some(architecture), "{report}");
        assert_eq!(claims.driver_version.as_deref(), driver, "{report}");
        assert_eq!(claims.vbios_version.as_deref(), Some(vbios), "{report}");
        let firmware = outcome(&verdict, "firmware_id");
        assert_eq!(firmware == Outcome::Passed, names_firmware, "{report}");
        assert!(matches!(outcome(&verdict, "measurements"), Outcome::NotChecked(_)));
        assert!(matches!(outcome(&verdict, "nonce"), Outcome::NotChecked(_)));
    }
}

#[test]
fn a_file_of_four_devices_is_four_verdicts() {
    let Some(json) = file("multi_gpu_hopper.json") else { return };
    let devices = evidence::read(&json).unwrap();
    let mut serials = std::collections::BTreeSet::new();
    let nonce = hex::decode("e97b23a1718095a0e9e35edca810768c70a6a5a389b705e753b197912bc11576");
    let nonce: [u8; 32] = nonce.unwrap().try_into().unwrap();
    for device in &devices {
        let verdict = appraise(&device.report, &device.chain, Some(&nonce), AT).unwrap();
        let claims = verdict.accepted().unwrap();
        assert_eq!(claims.driver_version.as_deref(), Some("590.12"));
        assert_eq!(claims.feature_flag, Some(2));
        assert_eq!(claims.measurements.len(), 64);
        assert_eq!(outcome(&verdict, "nonce"), Outcome::Passed);
        serials.insert(claims.signer_serial.clone());
    }
    assert_eq!((devices.len(), serials.len()), (4, 4));
}

/// The first GPU of the file with four is the GPU of the other file.
#[test]
fn a_devices_serial_number_is_that_of_its_chip() {
    let Some(four) = of_four_gpus() else { return };
    let Some((report, chain)) = hopper() else { return };
    let again = appraise(&report, &chain, None, AT).unwrap().accepted().cloned().unwrap();
    assert_eq!(again.device_serial, "412921ce551e4eeda3");
    assert_eq!(again.device_serial, four[0].device_serial);
    let expected = [
        "416a5fafcbd9fa5ca3",
        "41e23d711e1c4fbfac",
        "41431d480fe5e87274",
        "41e6de55c3bdc14277",
        "50203eb31ad9ed0008",
    ];
    let mut serials: std::collections::BTreeSet<_> =
        four.into_iter().map(|claims| claims.device_serial).collect();
    for ((report, chain), expected) in SAMPLES.into_iter().zip(expected) {
        let Some(claims) = at_the_samples_time(report, chain) else { return };
        assert_eq!(claims.device_serial, expected, "{report}");
        assert_eq!(claims.chain_serials.len(), 5);
        assert_eq!(claims.chain_serials[..2], [claims.signer_serial, claims.device_serial.clone()]);
        serials.insert(claims.device_serial);
    }
    assert_eq!(serials.len(), 9);
}

/// DER puts a zero in front of a number whose first bit is set; tools print it without.
#[test]
fn a_serial_number_is_compared_without_zeros_in_front() {
    use crate::verify::certificate::significant;
    assert_eq!(significant(&[0, 0xff, 0]), [0xff, 0]);
    assert_eq!(significant(&[0x7f]), [0x7f]);
    assert!(significant(&[0, 0]).is_empty());
}

#[test]
fn another_nonce_is_refused() {
    let Some((report, chain)) = hopper() else { return };
    let verdict = appraise(&report, &chain, Some(&[7; 32]), AT).unwrap();
    assert_eq!(verdict.refusal(), Some(&Reason::Nonce));
    assert_eq!(outcome(&verdict, "signature"), Outcome::Passed);
}

#[test]
fn another_devices_certificates_are_refused() {
    let (first, second) = (SAMPLES[1], SAMPLES[2]);
    let Some((report, chain)) = sample(first.0, second.1) else { return };
    let verdict = appraise(&report, &chain, None, AT).unwrap();
    assert_eq!(verdict.refusal(), Some(&Reason::Signature));
    assert_eq!(outcome(&verdict, "chain"), Outcome::Passed);
    assert_eq!(outcome(&verdict, "firmware_id"), Outcome::Refused);
}

#[test]
fn the_sample_with_an_invalid_signature_is_refused() {
    let invalid = "hopperAttestationReportInvalidSignature.txt";
    for chain in ["hopperCertChain.txt", "hopperCertChainExpired.txt", "nvt_hopperCertChain.txt"] {
        let Some((report, chain)) = sample(invalid, chain) else { return };
        let verdict = appraise(&report, &chain, None, AT).unwrap();
        assert_eq!(verdict.refusal(), Some(&Reason::Signature));
    }
}

#[test]
fn certificates_have_their_dates() {
    let Some((report, chain)) = hopper() else { return };
    let early = Timestamp::from_seconds(1_577_836_800);
    let verdict = appraise(&report, &chain, None, early).unwrap();
    assert_eq!(verdict.refusal(), Some(&Reason::Validity(NotInForce::NotYet)));
    let late = Timestamp::from_seconds(u64::MAX);
    let verdict = appraise(&report, &chain, None, late).unwrap();
    assert_eq!(verdict.refusal(), Some(&Reason::Validity(NotInForce::Expired)));
}

#[test]
fn a_chain_without_one_of_its_certificates_is_refused() {
    let Some((report, chain)) = hopper() else { return };
    let text = String::from_utf8(chain).unwrap();
    let certificates: Vec<_> = text.split_inclusive("-----END CERTIFICATE-----").collect();
    for missing in 1..5 {
        let rest = certificates[..5].iter().enumerate().filter(|(index, _)| *index != missing);
        let rest: String = rest.map(|(_, certificate)| *certificate).collect();
        let verdict = appraise(&report, rest.as_bytes(), None, AT).unwrap();
        assert_eq!(verdict.refusal(), Some(&Reason::Chain), "without {missing}");
    }
}

/// Every byte of a report is signed or is the signature. Only the check that can tell is run: with the
/// chain's five signatures each time, this takes a minute.
#[test]
fn no_changed_byte_of_a_report_keeps_its_signature() {
    let Some((report, chain)) = hopper() else { return };
    let ders = chain::read(&chain).unwrap();
    let signer = Certificate::read(&ders[0]).unwrap();
    let signed = |bytes: &[u8]| Report::read(bytes).is_ok_and(|read| is_signed(&read, &signer));
    assert!(signed(&report));
    for offset in 0..report.len() {
        let mut report = report.clone();
        report[offset] ^= 1 << (offset % 8);
        assert!(!signed(&report), "byte {offset}");
    }
}

/// Every byte of the certificates' DER is signed, is a signature, or has one form only.
#[test]
fn no_changed_byte_of_the_certificates_leads_to_the_root() {
    let Some((_, chain)) = hopper() else { return };
    let sound = chain::read(&chain).unwrap();
    let trusted = |ders: &[Vec<u8>]| {
        let chain = ders.iter().map(|der| Certificate::read(der)).collect::<Result<Vec<_>, _>>();
        chain.is_ok_and(|chain| chain::is_trusted(&chain, NvidiaRoot::Nvidia))
    };
    assert!(trusted(&sound));
    let mut accepted = Vec::new();
    for certificate in 0..sound.len() {
        for offset in 0..sound[certificate].len() {
            let mut ders = sound.clone();
            ders[certificate][offset] ^= 1 << (offset % 8);
            if trusted(&ders) {
                accepted.push((certificate, offset));
            }
        }
    }
    assert_eq!(accepted, []);
}

/// A few hundred changes through the front door, the report and its certificates in turn.
#[test]
fn no_changed_evidence_is_accepted() {
    let Some((report, chain)) = hopper() else { return };
    let ders = chain::read(&chain).unwrap();
    assert!(is_accepted(&report, &chain));
    assert!(is_accepted(&report, pem(&ders).as_bytes()));
    for offset in (0..report.len()).step_by(31) {
        let mut report = report.clone();
        report[offset] ^= 0xff;
        assert!(!is_accepted(&report, &chain), "byte {offset}");
    }
    for offset in (0..ders[0].len()).step_by(7) {
        let mut ders = ders.clone();
        ders[0][offset] ^= 0xff;
        assert!(!is_accepted(&report, pem(&ders).as_bytes()), "byte {offset}");
    }
}

fn pem(ders: &[Vec<u8>]) -> String {
    use base64::Engine as _;
    let mut text = String::new();
    for der in ders {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in body.as_bytes().chunks(64) {
            text.push_str(std::str::from_utf8(line).unwrap());
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[test]
fn nothing_stands_behind_a_report_or_is_missing() {
    let Some((mut report, chain)) = hopper() else { return };
    let message = Unusable::Report(report::Malformed::Message);
    let short = &report[..report.len() - 1];
    assert_eq!(appraise(short, &chain, None, AT).unwrap_err(), message);
    report.push(0);
    assert_eq!(appraise(&report, &chain, None, AT).unwrap_err(), message);
    report.resize(REPORT_BYTES_MAX + 1, 0);
    let large = Unusable::Report(report::Malformed::TooLarge);
    assert_eq!(appraise(&report, &chain, None, AT).unwrap_err(), large);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Report::read(&bytes).is_err());
        prop_assert!(chain::read(&bytes).is_err());
        prop_assert!(evidence::read(&bytes).is_err());
    }

    #[test]
    fn no_damaged_lengths_make_it_panic(
        damage in proptest::collection::vec((0..600usize, any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
    ) {
        if let Some((mut report, chain)) = hopper() {
            // From both ends: the first blocks, and the opaque fields.
            for (offset, value) in damage {
                let at = if value % 2 == 0 { offset } else { report.len() - 1 - offset };
                report[at] ^= value | 1;
            }
            let cut = end.index(report.len());
            prop_assert!(Report::read(&report[..cut]).is_err());
            if let Ok(verdict) = appraise(&report, &chain, None, AT) {
                prop_assert!(verdict.accepted().is_none() || report == hopper().unwrap().0);
            }
        }
    }
}
