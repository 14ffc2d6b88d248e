//! The revocation list of SEV-SNP's certificates, made up under a root of our own: what it revokes, when it
//! counts, and whose it is.

use cocoon_attest::cbor::Decoder;
use cocoon_attest::softtee::{SoftTee, snp_key};
use cocoon_attest::verify::event_log::{EventLog, GpuPolicy};
use cocoon_attest::verify::revocations::{LIST_BYTES_MAX, Malformed};
use cocoon_attest::verify::snp::{Claims, Reason, Unusable, appraise_under};
use cocoon_attest::verify::{Outcome, Refusal as _, SnpRoot, Verdict};
use cocoon_primitives::Timestamp;
use proptest::prelude::*;
use ring::signature::{RSA_PSS_SHA384, RsaKeyPair};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::evidence::{Mutations, day, sample};

const NOW: &str = "2026-11-22";

struct Chip {
    signer: Vec<u8>,
    report: Vec<u8>,
    vcek: Vec<u8>,
    key: RsaKeyPair,
}

impl Chip {
    fn new() -> Self {
        let pkcs8 = snp_key(&[7; 32]);
        let tee = SoftTee::from_seed(&[7; 32]).with_snp_key(&pkcs8).expect("a key for SEV-SNP");
        let gpus = GpuPolicy { gpu_count: 0, cc_on: false, devtools: false };
        let log = EventLog::of_worker(&[[1; 32]], gpus).expect("a log");
        let evidence = tee.snp([9; 64], &log, "image", day(NOW)).expect("there is a key for it");
        let mut endorsements = Decoder::new(&evidence.endorsements);
        endorsements.map(2).expect("the certificate and the list");
        let vcek = endorsements.key(1).and_then(|value| value.bytes(8192)).expect("a certificate");
        Self {
            signer: tee.snp_signer().expect("there is a key for it"),
            report: evidence.quote.clone(),
            vcek: vcek.to_vec(),
            key: RsaKeyPair::from_pkcs8(&pkcs8).expect("a key"),
        }
    }

    fn judge(&self, list: Option<&[u8]>) -> Result<Verdict<Claims, Reason>, Unusable> {
        self.judge_at(list, day(NOW))
    }

    fn judge_at(
        &self,
        list: Option<&[u8]>,
        at: Timestamp,
    ) -> Result<Verdict<Claims, Reason>, Unusable> {
        let root = SnpRoot::Software(&self.signer);
        appraise_under(root, &self.report, &self.vcek, list, None, at)
    }

    fn refusal(&self, list: &[u8]) -> Option<&'static str> {
        self.judge(Some(list)).expect("a list").refusal().map(|reason| reason.code())
    }

    fn sign(&self, list: &List) -> Vec<u8> {
        list.signed_by(&self.key)
    }
}

/// What of a list varies.
#[derive(Clone)]
struct List {
    issuer: &'static str,
    from: &'static str,
    until: Option<&'static str>,
    revoked: Vec<Vec<u8>>,
    extension_is_critical: bool,
}

impl List {
    fn new() -> Self {
        Self {
            issuer: "SEV-Genoa",
            from: "261101000000Z",
            until: Some("261201000000Z"),
            revoked: Vec::new(),
            extension_is_critical: false,
        }
    }

    fn of(serials: &[&[u8]]) -> Self {
        Self { revoked: serials.iter().map(|serial| serial.to_vec()).collect(), ..Self::new() }
    }

    fn signed_by(&self, key: &RsaKeyPair) -> Vec<u8> {
        // RSASSA-PSS with SHA-384, MGF1 with SHA-384, 48 bytes of salt.
        let algorithm = hex::decode(concat!(
            "304106092a864886f70d01010a3034a00f300d06096086480165030402020500",
            "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130",
        ))
        .expect("the constant is hexadecimal");
        let common_name =
            element(0x30, &[&[6, 3, 0x55, 4, 3], &element(12, &[self.issuer.as_bytes()])]);
        let issuer = element(0x30, &[&element(0x31, &[&common_name])]);
        let time = |text: &str| element(0x17, &[text.as_bytes()]);
        let entry = |serial: &Vec<u8>| element(0x30, &[&element(2, &[serial]), &time(self.from)]);
        let revoked: Vec<u8> = self.revoked.iter().flat_map(entry).collect();
        let revoked = if revoked.is_empty() { revoked } else { element(0x30, &[&revoked]) };
        let critical: &[u8] = if self.extension_is_critical { &[1, 1, 0xff] } else { &[] };
        let number = [&[6, 3, 0x55, 0x1d, 20], critical, &[4, 3, 2, 1, 1]];
        let extensions = element(0xa0, &[&element(0x30, &[&element(0x30, &number)])]);
        let until = self.until.map(time).unwrap_or_default();
        let parts: [&[u8]; 7] =
            [&[2, 1, 1], &algorithm, &issuer, &time(self.from), &until, &revoked, &extensions];
        let body = element(0x30, &parts);
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PSS_SHA384, &ring::rand::SystemRandom::new(), &body, &mut signature)
            .expect("the key is long enough");
        element(0x30, &[&body, &algorithm, &element(3, &[&[0], &signature])])
    }
}

/// DER, with a length in its one form.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [.., high, low] = content.len().to_be_bytes();
    let head = match (high, low) {
        (0, low @ 0..=0x7f) => vec![tag, low],
        (0, low) => vec![tag, 0x81, low],
        (high, low) => vec![tag, 0x82, high, low],
    };
    [head, content].concat()
}

fn serial(certificate: &[u8]) -> Vec<u8> {
    X509Certificate::from_der(certificate).expect("a certificate").1.raw_serial().to_vec()
}

#[test]
fn a_list_that_does_not_name_the_chip_is_in_the_claims() {
    let chip = Chip::new();
    let without = chip.judge(None).unwrap();
    let claims = without.accepted().unwrap();
    assert_eq!((claims.crl_checked, claims.crl_until), (false, None));
    let open = without.checks().iter().find(|check| check.name == "revocation").unwrap();
    assert!(matches!(open.outcome, Outcome::NotChecked(_)));
    for list in [List::new(), List::of(&[&[0x70, 1, 2], &[0x7f]])] {
        let verdict = chip.judge(Some(&chip.sign(&list))).unwrap();
        assert_eq!(verdict.refusal(), None);
        let claims = verdict.accepted().unwrap();
        let until = i64::try_from(day("2026-12-01").as_seconds()).unwrap();
        assert_eq!((claims.crl_checked, claims.crl_until), (true, Some(until)));
    }
}

#[test]
fn a_listed_serial_is_revoked_the_chip_s_or_its_issuer_s() {
    let chip = Chip::new();
    for certificate in [&chip.vcek, &chip.signer] {
        let serial = serial(certificate);
        let list = chip.sign(&List::of(&[&[0x70, 1], &serial]));
        assert_eq!(chip.refusal(&list), Some("revoked"));
        let verdict = chip.judge(Some(&list)).unwrap();
        assert_eq!(verdict.accepted(), None);
        assert!(!verdict.claims().unwrap().crl_checked);
    }
}

#[test]
fn a_list_holds_from_its_first_second_to_its_last() {
    let chip = Chip::new();
    let list = chip.sign(&List::new());
    let at = |date: &str, later: i64| {
        let seconds = day(date).as_seconds().checked_add_signed(later).unwrap();
        let verdict = chip.judge_at(Some(&list), Timestamp::from_seconds(seconds)).unwrap();
        verdict.refusal().map(|reason| reason.code())
    };
    assert_eq!(at("2026-11-01", -1), Some("crl_not_yet_valid"));
    assert_eq!(at("2026-11-01", 0), None);
    assert_eq!(at("2026-12-01", 0), None);
    assert_eq!(at("2026-12-01", 1), Some("crl_expired"));
}

#[test]
fn a_list_of_somebody_else_is_refused() {
    let chip = Chip::new();
    let other = RsaKeyPair::from_pkcs8(&snp_key(&[8; 32])).unwrap();
    assert_eq!(chip.refusal(&List::new().signed_by(&other)), Some("crl_signature"));
    let named = List { issuer: "ARK-Genoa", ..List::new() };
    assert_eq!(chip.refusal(&chip.sign(&named)), Some("crl_signature"));
}

#[test]
fn what_is_no_list_is_named() {
    let chip = Chip::new();
    let unusable = |list: &[u8]| match chip.judge(Some(list)) {
        Err(Unusable::Revocations(malformed)) => malformed,
        other => panic!("{other:?}"),
    };
    let list = chip.sign(&List::new());
    assert_eq!(unusable(&[]), Malformed::NotAList);
    assert_eq!(unusable(&list[..list.len() - 1]), Malformed::NotAList);
    assert_eq!(unusable(&[&list[..], &[0]].concat()), Malformed::NotAList);
    assert_eq!(unusable(&vec![0; LIST_BYTES_MAX + 1]), Malformed::TooLarge);
    assert_eq!(unusable(&chip.vcek), Malformed::NotAList);
    let endless = List { until: None, ..List::new() };
    assert_eq!(unusable(&chip.sign(&endless)), Malformed::Undated);
    let partial = List { extension_is_critical: true, ..List::new() };
    assert_eq!(unusable(&chip.sign(&partial)), Malformed::Critical);
}

/// Every byte, with a bit turned: nothing of a list is unsigned and has two forms.
#[test]
fn no_changed_byte_of_a_list_is_accepted() {
    let chip = Chip::new();
    let list = chip.sign(&List::of(&[&[0x70, 1]]));
    assert_eq!(chip.refusal(&list), None);
    for offset in 0..list.len() {
        let mut list = list.clone();
        list[offset] ^= 1 << (offset % 8);
        let verdict = chip.judge(Some(&list));
        assert!(!verdict.is_ok_and(|verdict| verdict.accepted().is_some()), "byte {offset}");
    }
}

#[test]
fn amd_s_lists_are_amd_s() {
    let (Some(report), Some(vcek)) =
        (sample("snp", "ar_live-report-v5-genoa.bin"), sample("snp", "ar_live-vcek-genoa.der"))
    else {
        return;
    };
    let chip = Chip::new();
    for issuer in ["ARK-Genoa", "SEV-Genoa"] {
        let list = chip.sign(&List { issuer, ..List::new() });
        let verdict =
            appraise_under(SnpRoot::Amd, &report, &vcek, Some(&list), None, day(NOW)).unwrap();
        assert_eq!(verdict.refusal(), Some(&Reason::ListSignature));
    }
}

#[test]
fn one_root_s_evidence_is_nothing_under_the_other() {
    let chip = Chip::new();
    let verdict =
        appraise_under(SnpRoot::Amd, &chip.report, &chip.vcek, None, None, day(NOW)).unwrap();
    assert_eq!(verdict.refusal(), Some(&Reason::Chain));
    let (Some(report), Some(vcek)) =
        (sample("snp", "ar_live-report-v5-genoa.bin"), sample("snp", "ar_live-vcek-genoa.der"))
    else {
        return;
    };
    let root = SnpRoot::Software(&chip.signer);
    let verdict = appraise_under(root, &report, &vcek, None, None, day(NOW)).unwrap();
    assert_eq!(verdict.refusal(), Some(&Reason::Chain));
    let root = SnpRoot::Software(&[1, 2, 3]);
    let verdict = appraise_under(root, &chip.report, &chip.vcek, None, None, day(NOW)).unwrap();
    assert_eq!(verdict.refusal(), Some(&Reason::Chain));
}

#[test]
fn bytes_never_panic() {
    let chip = Chip::new();
    let list = chip.sign(&List::of(&[&[0x70, 1]]));
    let mut mutations = Mutations::seeded(3);
    for _ in 0..500 {
        let mut damaged = list.clone();
        for _ in 0..1 + mutations.below(6) {
            let offset = mutations.below(damaged.len().min(200));
            damaged = mutations.at(&damaged, offset);
        }
        damaged.truncate(1 + mutations.below(list.len()));
        assert!(chip.judge(Some(&damaged)).is_err());
    }
    proptest!(ProptestConfig::with_cases(64), |(bytes in prop::collection::vec(any::<u8>(), 0..400))| {
        prop_assert!(chip.judge(Some(&bytes)).is_err());
    });
}
