//! One case per reason, each from an honest enrolment with one thing changed.

use std::time::Duration;

use cocoon_primitives::{Assurance, Digest, LeaseId, ModelKind, Timestamp, WalletAddress};
use proptest::prelude::*;

use super::bind::{Bind, Keys, report_data};
use super::message::UnverifiedEvidence;
use super::*;
use crate::evidence::software::SoftwareRoot;
use crate::evidence::{Evidence, EvidenceFault};
use crate::lease::Lease;
use crate::policy::{Mode, ModelPin, ModelRule, Policy, PolicyError, PolicyFile};
use crate::receipt::ReceiptKey;
use crate::renewal::{self, LightChallenge, RenewalFault};
use crate::sha256;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const EXPORTER: [u8; 32] = [7; 32];
const SPKI: &[u8] = b"a public key in DER";

fn root() -> SoftwareRoot {
    SoftwareRoot::from_seed(&[1; 32])
}

fn policy_file() -> PolicyFile {
    PolicyFile {
        mode: Mode::Development,
        insecure_allow_software_tee: true,
        software_roots: vec![Digest::from_bytes(root().public())],
        models: ModelRule::ANY,
        lease_seconds: 600,
    }
}

fn policy() -> Policy {
    policy_file().validate().unwrap()
}

fn receipt_key() -> ReceiptKey {
    ReceiptKey::from_seed(&[2; 32])
}

fn workload() -> Workload {
    Workload {
        image: "development".to_owned(),
        models: vec![WorkloadModel {
            name: "tiny-demo".parse().unwrap(),
            manifest_digest: Digest::from_bytes([9; 32]),
            context_length: 2048,
            engine: "scripted".to_owned(),
            is_demo: true,
            kind: ModelKind::Chat,
            owned_by: "cocoon".to_owned(),
        }],
    }
}

fn claim<'a>(workload: &'a Workload, receipt_key: &'a ReceiptKey) -> Claim<'a> {
    Claim {
        exporter: &EXPORTER,
        tls_spki: SPKI,
        receipt_key,
        payee: WalletAddress::new(0, [5; 32]),
        workload,
    }
}

fn open(id: u8, policy: &Policy) -> (OpenChallenge, Challenge) {
    let mut random = [id; 48];
    random[47] = 200;
    let open = OpenChallenge::issue(&random, Digest::from_bytes([3; 32]), policy, NOW);
    let challenge = Challenge::decode(&open.message()).unwrap();
    (open, challenge)
}

fn answer(challenge: &Challenge) -> Vec<u8> {
    let prepared = challenge.prepare(&claim(&workload(), &receipt_key()));
    let quote = root().quote(prepared.report_data(), NOW);
    prepared.finish(Evidence::Software(quote))
}

fn verify_at(
    open: OpenChallenge,
    evidence: &[u8],
    policy: &Policy,
    now: Timestamp,
) -> Result<Attested, Refusal> {
    let lease_id = LeaseId::from_bytes([4; 16]);
    let presented = Presented { evidence, exporter: &EXPORTER, peer_spki: SPKI, lease_id };
    open.verify(&presented, policy, now)
}

fn verify(open: OpenChallenge, evidence: &[u8]) -> Result<Attested, Refusal> {
    verify_at(open, evidence, &policy(), NOW)
}

fn refusal(outcome: Result<Attested, Refusal>) -> Refusal {
    outcome.map(|attested| attested.into_lease()).expect_err("the evidence was accepted")
}

/// Rebuilds an answer after a change, quote and proof over the changed bind.
fn resigned(evidence: &[u8], change: impl FnOnce(&mut UnverifiedEvidence)) -> Vec<u8> {
    let mut message = UnverifiedEvidence::decode(evidence).unwrap();
    change(&mut message);
    message.receipt_key_proof = proof::sign(&receipt_key(), &message.bind);
    message.evidence = Evidence::Software(root().quote(report_data(&message.bind), NOW));
    message.encode()
}

fn rebound(evidence: &[u8], change: impl FnOnce(&mut Bind)) -> Vec<u8> {
    resigned(evidence, |message| {
        let mut bind = Bind::decode(&message.bind).unwrap();
        change(&mut bind);
        message.bind = bind.encode();
    })
}

#[test]
fn honest_evidence_is_granted_a_labelled_lease() {
    let (open, challenge) = open(1, &policy());
    let evidence = answer(&challenge);
    let attested = verify(open, &evidence).unwrap();
    let lease = attested.lease();
    assert_eq!(lease.assurance, Assurance::Software);
    assert_eq!(lease.worker_id, receipt_key().worker_id());
    assert_eq!(lease.expires, NOW.saturating_add(Duration::from_secs(600)));
    assert_eq!(lease.policy_digest, policy().digest());
    assert_eq!(Lease::decode(&lease.encode()).as_ref(), Ok(lease));
}

#[test]
fn evidence_for_another_challenge_is_refused() {
    let (_, first) = open(1, &policy());
    let (second, _) = open(2, &policy());
    assert_eq!(refusal(verify(second, &answer(&first))), Refusal::UnknownChallenge);
}

#[test]
fn a_replayed_answer_under_a_new_id_has_the_wrong_nonce() {
    let (_, first) = open(1, &policy());
    let (second, challenge) = open(2, &policy());
    let replay = resigned(&answer(&first), |message| message.challenge_id = challenge.challenge_id);
    assert_eq!(refusal(verify(second, &replay)), Refusal::Binding(BindingFault::Nonce));
}

#[test]
fn an_answer_after_the_challenge_expired_is_refused() {
    let (open, challenge) = open(1, &policy());
    let late = NOW.saturating_add(Duration::from_secs(60));
    assert_eq!(refusal(verify_at(open, &answer(&challenge), &policy(), late)), Refusal::Expired);
}

#[test]
fn each_bound_value_is_compared() {
    type Change = fn(&mut Bind);
    let cases: [(Change, BindingFault); 7] = [
        (|bind| bind.nonce = [0; 32], BindingFault::Nonce),
        (|bind| bind.exporter = [0; 32], BindingFault::Exporter),
        (|bind| bind.gw_spki_sha256 = Digest::from_bytes([0; 32]), BindingFault::GatewayKey),
        (|bind| bind.policy_digest = Digest::from_bytes([0; 32]), BindingFault::Policy),
        (|bind| bind.h_keys = [0; 32], BindingFault::Keys),
        (|bind| bind.h_dev = [0; 32], BindingFault::Devices),
        (|bind| bind.h_wl = [0; 32], BindingFault::Workload),
    ];
    for (change, fault) in cases {
        let (open, challenge) = open(1, &policy());
        let evidence = rebound(&answer(&challenge), change);
        assert_eq!(refusal(verify(open, &evidence)), Refusal::Binding(fault));
    }
}

#[test]
fn evidence_of_another_connection_is_refused() {
    let (open, challenge) = open(1, &policy());
    let evidence = answer(&challenge);
    let presented = Presented {
        evidence: &evidence,
        exporter: &[8; 32],
        peer_spki: SPKI,
        lease_id: LeaseId::from_bytes([4; 16]),
    };
    let verdict = open.verify(&presented, &policy(), NOW);
    assert_eq!(refusal(verdict), Refusal::Binding(BindingFault::Exporter));
}

#[test]
fn another_tls_key_on_the_connection_is_refused() {
    let (open, challenge) = open(1, &policy());
    let evidence = answer(&challenge);
    let presented = Presented {
        evidence: &evidence,
        exporter: &EXPORTER,
        peer_spki: b"another key",
        lease_id: LeaseId::from_bytes([4; 16]),
    };
    assert_eq!(refusal(open.verify(&presented, &policy(), NOW)), Refusal::TlsKey);
}

#[test]
fn a_receipt_key_that_another_worker_holds_is_refused() {
    let (open, challenge) = open(1, &policy());
    let honest = answer(&challenge);
    // Everything is attested and bound, and the named key is real: only its holder is another.
    let mut stolen = UnverifiedEvidence::decode(&honest).unwrap();
    let mut keys = Keys::decode(&stolen.keys).unwrap();
    keys.receipt_key = ReceiptKey::from_seed(&[77; 32]).public();
    stolen.keys = keys.encode();
    let mut bind = Bind::decode(&stolen.bind).unwrap();
    bind.h_keys = sha256(&[&stolen.keys]);
    stolen.bind = bind.encode();
    let evidence = resigned(&stolen.encode(), |_| {});
    assert_eq!(refusal(verify(open, &evidence)), Refusal::ReceiptKey);
}

#[test]
fn a_proof_of_the_receipt_key_for_another_challenge_or_purpose_is_refused() {
    let (_, first) = open(1, &policy());
    let earlier = UnverifiedEvidence::decode(&answer(&first)).unwrap().receipt_key_proof;
    let (_, challenge) = open(2, &policy());
    let bind = UnverifiedEvidence::decode(&answer(&challenge)).unwrap().bind;
    let undivided = receipt_key().sign(&sha256(&[&bind]));
    for proof in [earlier, undivided, [0; 64]] {
        let (open, challenge) = open(2, &policy());
        let mut message = UnverifiedEvidence::decode(&answer(&challenge)).unwrap();
        message.receipt_key_proof = proof;
        assert_eq!(refusal(verify(open, &message.encode())), Refusal::ReceiptKey);
    }
    assert_eq!(Refusal::ReceiptKey.code(), "receipt_key_unproven");
}

#[test]
fn changed_keys_are_refused() {
    let (open, challenge) = open(1, &policy());
    let evidence = resigned(&answer(&challenge), |message| {
        let mut keys = Keys::decode(&message.keys).unwrap();
        keys.receipt_key = [6; 32];
        message.keys = keys.encode();
    });
    assert_eq!(refusal(verify(open, &evidence)), Refusal::Binding(BindingFault::Keys));
}

#[test]
fn devices_with_software_evidence_are_refused() {
    let (open, challenge) = open(1, &policy());
    let evidence = resigned(&answer(&challenge), |message| {
        message.dev = vec![0x81, 0x00];
        let mut bind = Bind::decode(&message.bind).unwrap();
        bind.h_dev = sha256(&[&message.dev]);
        message.bind = bind.encode();
    });
    assert_eq!(refusal(verify(open, &evidence)), Refusal::Devices);
}

#[test]
fn a_policy_that_changed_meanwhile_is_refused() {
    let (open, challenge) = open(1, &policy());
    let changed = PolicyFile { lease_seconds: 60, ..policy_file() }.validate().unwrap();
    let verdict = verify_at(open, &answer(&challenge), &changed, NOW);
    assert_eq!(refusal(verdict), Refusal::PolicyChanged);
}

#[test]
fn a_model_outside_the_policy_is_refused() {
    let pin = ModelPin {
        name: "tiny-demo".parse().unwrap(),
        manifest_digest: Digest::from_bytes([8; 32]),
    };
    let strict =
        PolicyFile { models: ModelRule::Listed(vec![pin]), ..policy_file() }.validate().unwrap();
    let (open, challenge) = open(1, &strict);
    assert_eq!(refusal(verify_at(open, &answer(&challenge), &strict, NOW)), Refusal::Model);
}

#[test]
fn a_quote_of_another_root_is_refused() {
    let (open, challenge) = open(1, &policy());
    let prepared = challenge.prepare(&claim(&workload(), &receipt_key()));
    let quote = SoftwareRoot::from_seed(&[99; 32]).quote(prepared.report_data(), NOW);
    let evidence = prepared.finish(Evidence::Software(quote));
    assert_eq!(refusal(verify(open, &evidence)), Refusal::Evidence(EvidenceFault::UnknownRoot));
}

#[test]
fn a_quote_over_other_data_is_refused() {
    let (open, challenge) = open(1, &policy());
    let prepared = challenge.prepare(&claim(&workload(), &receipt_key()));
    let evidence = prepared.finish(Evidence::Software(root().quote([0; 64], NOW)));
    assert_eq!(refusal(verify(open, &evidence)), Refusal::Evidence(EvidenceFault::ReportData));
}

#[test]
fn a_flipped_signature_is_refused() {
    let (open, challenge) = open(1, &policy());
    let prepared = challenge.prepare(&claim(&workload(), &receipt_key()));
    let mut quote = root().quote(prepared.report_data(), NOW);
    *quote.last_mut().unwrap() ^= 1;
    let evidence = prepared.finish(Evidence::Software(quote));
    assert_eq!(refusal(verify(open, &evidence)), Refusal::Evidence(EvidenceFault::Signature));
}

#[test]
fn a_quote_from_another_time_is_refused() {
    let (open, challenge) = open(1, &policy());
    let prepared = challenge.prepare(&claim(&workload(), &receipt_key()));
    let old = NOW.saturating_sub(Duration::from_secs(301));
    let quote = root().quote(prepared.report_data(), old);
    let evidence = prepared.finish(Evidence::Software(quote));
    assert_eq!(refusal(verify(open, &evidence)), Refusal::Evidence(EvidenceFault::Time));
}

#[test]
fn production_refuses_software_at_enrolment() {
    let production = PolicyFile {
        mode: Mode::Production,
        insecure_allow_software_tee: false,
        software_roots: Vec::new(),
        ..policy_file()
    };
    let production = production.validate().unwrap();
    let (open, challenge) = open(1, &production);
    let verdict = verify_at(open, &answer(&challenge), &production, NOW);
    assert_eq!(refusal(verdict), Refusal::Evidence(EvidenceFault::SoftwareInProduction));
}

#[test]
fn development_without_permission_refuses_software() {
    let plain = PolicyFile {
        insecure_allow_software_tee: false,
        software_roots: Vec::new(),
        ..policy_file()
    };
    let plain = plain.validate().unwrap();
    let (open, challenge) = open(1, &plain);
    let verdict = verify_at(open, &answer(&challenge), &plain, NOW);
    assert_eq!(refusal(verdict), Refusal::Evidence(EvidenceFault::SoftwareNotAllowed));
}

#[test]
fn every_bad_rule_of_a_policy_is_reported() {
    let bad = PolicyFile {
        mode: Mode::Production,
        models: ModelRule::Listed(Vec::new()),
        lease_seconds: 601,
        ..policy_file()
    };
    let errors = bad.validate().unwrap_err();
    let expected =
        vec![PolicyError::SoftwareInProduction, PolicyError::Models, PolicyError::LeaseSeconds];
    assert_eq!(errors, expected);
}

#[test]
fn a_policy_reads_from_text_and_refuses_unknown_fields() {
    let text = r#"{"mode":"development","models":"*","lease_seconds":600}"#;
    let file: PolicyFile = serde_json::from_str(text).unwrap();
    assert_eq!(file.models, ModelRule::ANY);
    let more = r#"{"mode":"development","models":"*","lease_seconds":600,"debug":true}"#;
    assert!(serde_json::from_str::<PolicyFile>(more).is_err());
}

fn leased() -> Lease {
    let (open, challenge) = open(1, &policy());
    verify(open, &answer(&challenge)).unwrap().into_lease()
}

#[test]
fn a_light_renewal_moves_only_the_end() {
    let lease = leased();
    let later = NOW.saturating_add(Duration::from_secs(400));
    let challenge = LightChallenge::issue([1; 32]);
    let signature = renewal::answer(&receipt_key(), challenge.nonce(), &EXPORTER, lease.lease_id);
    let renewed = challenge.verify(&lease, &EXPORTER, &signature, &policy(), later).unwrap();
    let expires = later.saturating_add(Duration::from_secs(600));
    assert_eq!(renewed.into_lease(), Lease { expires, ..lease });
}

#[test]
fn a_light_renewal_is_refused_for_its_own_reason() {
    let lease = leased();
    let signed =
        |exporter, nonce: [u8; 32], id| renewal::answer(&receipt_key(), &nonce, exporter, id);
    let other = LeaseId::from_bytes([0; 16]);
    for signature in [
        signed(&[0; 32], [1; 32], lease.lease_id),
        signed(&EXPORTER, [2; 32], lease.lease_id),
        signed(&EXPORTER, [1; 32], other),
    ] {
        let verdict =
            LightChallenge::issue([1; 32]).verify(&lease, &EXPORTER, &signature, &policy(), NOW);
        assert_eq!(verdict.map(renewal::Renewed::into_lease), Err(RenewalFault::Signature));
    }
    let good = signed(&EXPORTER, [1; 32], lease.lease_id);
    let late = lease.expires;
    let challenge = || LightChallenge::issue([1; 32]);
    let verdict = challenge().verify(&lease, &EXPORTER, &good, &policy(), late);
    assert_eq!(verdict.map(renewal::Renewed::into_lease), Err(RenewalFault::Expired));
    let changed = PolicyFile { lease_seconds: 60, ..policy_file() }.validate().unwrap();
    let verdict = challenge().verify(&lease, &EXPORTER, &good, &changed, NOW);
    assert_eq!(verdict.map(renewal::Renewed::into_lease), Err(RenewalFault::Policy));
}

#[test]
fn a_full_renewal_must_be_of_the_same_worker() {
    let (first, challenge) = open(1, &policy());
    let lease = verify(first, &answer(&challenge)).unwrap().into_lease();
    let (second, challenge) = open(2, &policy());
    let again = verify(second, &answer(&challenge)).unwrap();
    assert!(renewal::full(&lease, again, &policy(), NOW).is_ok());
    let (third, challenge) = open(3, &policy());
    let again = verify(third, &answer(&challenge)).unwrap();
    let other = Lease { payee: WalletAddress::new(0, [6; 32]), ..lease };
    let verdict = renewal::full(&other, again, &policy(), NOW);
    assert_eq!(verdict.map(renewal::Renewed::into_lease), Err(RenewalFault::Changed));
}

#[test]
fn every_flipped_bit_is_refused() {
    let (_, challenge) = open(1, &policy());
    let evidence = answer(&challenge);
    for at in 0..evidence.len() {
        for bit in 0..8 {
            let mut flipped = evidence.clone();
            flipped[at] ^= 1 << bit;
            let (open, _) = open(1, &policy());
            assert!(verify(open, &flipped).is_err(), "byte {at} bit {bit} may change");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_evidence_is_refused(evidence in prop::collection::vec(any::<u8>(), 0..600)) {
        let (open, _) = open(1, &policy());
        prop_assert!(verify(open, &evidence).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic_in_any_decoder(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Challenge::decode(&bytes);
        let _ = Lease::decode(&bytes);
        let _ = Workload::decode(&bytes);
        let _ = Bind::decode(&bytes);
        let _ = Keys::decode(&bytes);
    }
}
