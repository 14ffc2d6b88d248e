//! Real reports, and what becomes of them when a byte is not the one that was signed.

use super::*;
use crate::verify::Outcome;
use proptest::prelude::*;

/// 2026-10-10.
const AT: Timestamp = Timestamp::from_seconds(1_791_590_400);

/// Real evidence lies outside the repository; a test says aloud that it did without.
fn evidence(name: &str) -> Option<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence/snp");
    let bytes = std::fs::read(format!("{folder}/{name}")).ok();
    if bytes.is_none() {
        eprintln!("SKIPPED: there is no evidence at {folder}/{name}");
    }
    let bytes = bytes?;
    if name.ends_with(".hex") {
        return Some(hex::decode(bytes.trim_ascii()).unwrap());
    }
    Some(bytes)
}

fn genoa() -> Option<(Vec<u8>, Vec<u8>)> {
    Some((evidence("ar_live-report-v5-genoa.bin")?, evidence("ar_live-vcek-genoa.der")?))
}

fn outcome(verdict: &Verdict<Claims, Reason>, name: &str) -> Outcome {
    verdict.checks().iter().find(|check| check.name == name).unwrap().outcome
}

fn refused(verdict: &Verdict<Claims, Reason>) -> Vec<&'static str> {
    let refused = verdict.checks().iter().filter(|check| check.outcome == Outcome::Refused);
    refused.map(|check| check.name).collect()
}

#[test]
fn a_report_of_genoa_is_accepted() {
    let Some((report, vcek)) = genoa() else { return };
    let verdict = appraise(&report, &vcek, None, AT).unwrap();
    let claims = verdict.accepted().unwrap();
    assert_eq!(verdict.refusal(), None);
    assert_eq!(claims.product, Some(Product::Genoa));
    assert_eq!(claims.version, 5);
    assert_eq!(claims.processor.0, [0x19, 0xa0, 0x02]);
    assert_eq!(claims.reported_tcb.0, [10, 0, 0, 0, 0, 0, 27, 27]);
    assert_eq!(hex::encode(&claims.chip_id.0[..8]), "b5f9a4c8280e63c9");
    assert_eq!((claims.certificate_from, claims.certificate_until), (1_771_369_296, 1_992_294_096));
    assert!(matches!(outcome(&verdict, "revocation"), Outcome::NotChecked(_)));
    assert!(matches!(outcome(&verdict, "measurement"), Outcome::NotChecked(_)));
    let json = serde_json::to_value(claims).unwrap();
    assert_eq!(json["product"], "genoa");
    assert_eq!(json["reported_tcb"], "0a00000000001b1b");
}

#[test]
fn both_ends_of_the_certificates_dates_belong_to_it() {
    let Some((report, vcek)) = genoa() else { return };
    let at = |seconds| {
        let verdict = appraise(&report, &vcek, None, Timestamp::from_seconds(seconds)).unwrap();
        verdict.refusal().map(Refusal::code)
    };
    assert_eq!(at(1_771_369_295), Some("certificate_not_yet_valid"));
    assert_eq!(at(1_771_369_296), None);
    assert_eq!(at(1_992_294_096), None);
    assert_eq!(at(1_992_294_097), Some("certificate_expired"));
    assert_eq!(at(u64::MAX), Some("certificate_expired"));
}

#[test]
fn the_nonce_is_the_whole_report_data() {
    let Some((report, vcek)) = genoa() else { return };
    let data = report[0x50..0x90].to_vec();
    let refusal = |nonce: &[u8]| {
        let verdict = appraise(&report, &vcek, Some(nonce), AT).unwrap();
        verdict.refusal().copied()
    };
    assert_eq!(refusal(&data), None);
    assert_eq!(refusal(b"hello-attestation"), None);
    assert_eq!(refusal(&[7; 64]), Some(Reason::Nonce));
    assert_eq!(refusal(&[]), Some(Reason::Nonce));
    assert_eq!(refusal(&[&data[..], &[0]].concat()), Some(Reason::Nonce));
}

#[test]
fn milan_is_refused_though_its_signature_is_valid() {
    for (report, vcek) in
        [("report_milan.hex", "vcek_milan.der"), ("test-report.bin", "test-vcek.der")]
    {
        let (Some(report), Some(vcek)) = (evidence(report), evidence(vcek)) else { return };
        let verdict = appraise(&report, &vcek, None, AT).unwrap();
        assert_eq!(verdict.accepted(), None);
        assert_eq!(verdict.refusal(), Some(&Reason::Milan));
        for name in ["chain", "signature", "validity", "tcb", "chip"] {
            assert_eq!(outcome(&verdict, name), Outcome::Passed, "{name}");
        }
        // Both are of version 2, which does not name the processor.
        assert_eq!(refused(&verdict), ["product", "version", "processor"]);
    }
}

#[test]
fn an_operators_key_is_refused_though_its_signature_is_valid() {
    let (Some(report), Some(vlek)) = (evidence("test-vlek-report.bin"), evidence("test-vlek.der"))
    else {
        return;
    };
    let verdict = appraise(&report, &vlek, None, Timestamp::from_seconds(1_748_736_000)).unwrap();
    assert_eq!(verdict.accepted(), None);
    assert_eq!(verdict.refusal(), Some(&Reason::Vlek));
    assert_eq!(outcome(&verdict, "signature"), Outcome::Passed);
    assert!(matches!(outcome(&verdict, "chain"), Outcome::NotChecked(_)));
}

#[test]
fn another_chips_certificate_is_refused() {
    let Some((report, _)) = genoa() else { return };
    let Some(vcek) = evidence("vcek_milan.der") else { return };
    let verdict = appraise(&report, &vcek, None, AT).unwrap();
    assert_eq!(verdict.refusal(), Some(&Reason::Signature));
    let all = ["signature", "product", "tcb", "chip", "processor"];
    assert_eq!(refused(&verdict), all);
}

/// Each byte of the report, with one bit turned and with all of them: none is accepted.
/// Nothing of a report is unsigned but what has to be zero.
#[test]
fn no_changed_byte_of_a_report_is_accepted() {
    let Some((report, vcek)) = genoa() else { return };
    let mut tried = 0;
    for offset in 0..report.len() {
        for change in [1 << (offset % 8), 0xff] {
            let mut report = report.clone();
            report[offset] ^= change;
            let verdict = appraise(&report, &vcek, None, AT);
            let accepted = verdict.is_ok_and(|verdict| verdict.accepted().is_some());
            assert!(!accepted, "byte {offset} changed by {change:#04x}");
            tried += 1;
        }
    }
    assert_eq!(tried, 2 * REPORT_BYTES);
}

#[test]
fn no_changed_byte_of_a_certificate_is_accepted() {
    let Some((report, vcek)) = genoa() else { return };
    let mut accepted = Vec::new();
    for offset in 0..vcek.len() {
        for change in [1 << (offset % 8), 0xff] {
            let mut vcek = vcek.clone();
            vcek[offset] ^= change;
            let verdict = appraise(&report, &vcek, None, AT);
            if verdict.is_ok_and(|verdict| verdict.accepted().is_some()) {
                accepted.push((offset, change));
            }
        }
    }
    assert_eq!(accepted, []);
}

/// A report that says what `change` makes it say. Its signature is broken with it, and the checks
/// behind the signature still say what they find.
fn found(change: impl FnOnce(&mut [u8])) -> Option<Vec<&'static str>> {
    let (mut report, vcek) = genoa()?;
    change(&mut report);
    let verdict = appraise(&report, &vcek, None, AT).unwrap();
    assert_eq!(verdict.refusal(), Some(&Reason::Signature));
    Some(refused(&verdict))
}

#[test]
fn what_a_vendor_does_not_allow_is_found() {
    type Change = fn(&mut [u8]);
    let cases: [(&str, Change); 10] = [
        ("debug", |report| report[0x0a] |= 1 << 3),
        ("migration", |report| report[0x0a] |= 1 << 2),
        ("vmpl", |report| report[0x30] = 1),
        ("vmpl", |report| report[0x33] = 0xff),
        ("version", |report| report[0] = 2),
        ("version", |report| report[0] = 6),
        ("tcb", |report| report[0x187] = 26),
        ("chip", |report| report[0x1a0..0x1e0].fill(0)),
        ("processor", |report| report[0x189] = 0x01),
        ("signing_key", |report| report[0x48] = 7 << 2),
    ];
    for (name, change) in cases {
        let Some(found) = found(change) else { return };
        assert_eq!(found, ["signature", name]);
    }
}

#[test]
fn bytes_that_nothing_signs_are_zero() {
    let Some((report, vcek)) = genoa() else { return };
    for offset in [0x2d0, 0x2e7, 0x318, 0x32f, 0x330, 0x49f] {
        let mut report = report.clone();
        report[offset] = 1;
        let unusable = appraise(&report, &vcek, None, AT).unwrap_err();
        assert_eq!(unusable, Unusable::Report(Malformed::Padding), "{offset:#x}");
    }
}

#[test]
fn lengths_are_exact() {
    let Some((mut report, mut vcek)) = genoa() else { return };
    let length = Unusable::Report(Malformed::Length);
    assert_eq!(appraise(&report[..1183], &vcek, None, AT).unwrap_err(), length);
    let not_one = Unusable::Certificate(certificate::Malformed::NotACertificate);
    assert_eq!(appraise(&report, &vcek[..vcek.len() - 1], None, AT).unwrap_err(), not_one);
    vcek.push(0);
    assert_eq!(appraise(&report, &vcek, None, AT).unwrap_err(), not_one);
    vcek.resize(certificate::DER_BYTES_MAX + 1, 0);
    let large = Unusable::Certificate(certificate::Malformed::TooLarge);
    assert_eq!(appraise(&report, &vcek, None, AT).unwrap_err(), large);
    report.push(0);
    assert_eq!(appraise(&report, &vcek, None, AT).unwrap_err(), length);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        report in proptest::collection::vec(any::<u8>(), REPORT_BYTES),
        certificate in proptest::collection::vec(any::<u8>(), 0..2048),
    ) {
        let mut report = report;
        report[0x2d0..0x2e8].fill(0);
        report[0x318..].fill(0);
        prop_assert!(appraise(&report, &certificate, None, AT).is_err());
        if let Some(vcek) = evidence("ar_live-vcek-genoa.der") {
            let verdict = appraise(&report, &vcek, None, AT).unwrap();
            prop_assert_eq!(verdict.accepted(), None);
        }
    }

    #[test]
    fn no_damaged_certificate_makes_it_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        if let Some((report, mut vcek)) = genoa() {
            let sound = appraise(&report, &vcek, None, AT).unwrap();
            for (index, value) in damage {
                let at = index.index(vcek.len());
                vcek[at] = value;
            }
            if let Ok(verdict) = appraise(&report, &vcek, None, AT)
                && verdict.accepted().is_some()
            {
                prop_assert_eq!(verdict.claims(), sound.claims());
            }
        }
    }
}
