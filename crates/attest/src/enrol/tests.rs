//! One case per reason, each from an honest enrolment of a software guest with one thing changed. The
//! verifiers are those of hardware; what a policy refuses is tested beside the policy.

mod evidence;
mod renewal;

use std::sync::LazyLock;
use std::time::Duration;

use cocoon_primitives::{Assurance, Digest, LeaseId, ModelKind, Timestamp, WalletAddress};
use proptest::prelude::*;

use super::bind::{Bind, Keys, report_data};
use super::message::UnverifiedEvidence;
use super::*;
use crate::appraisal;
use crate::lease::Lease;
use crate::policy::Policy;
use crate::receipt::ReceiptKey;
use crate::sha256;
use crate::softtee::Lab;
use crate::verify::event_log::EventLog;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const EXPORTER: [u8; 32] = [7; 32];
const SPKI: &[u8] = b"a public key in DER";
const MODEL: &str = "tiny-demo";

static LAB: LazyLock<Lab> = LazyLock::new(|| Lab::new([1; 32]));
static POLICY: LazyLock<Policy> = LazyLock::new(|| parse(&policy_text()));

fn policy_text() -> String {
    LAB.policy_toml(&[(MODEL, &hex::encode([9; 32]))])
}

fn parse(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap()
}

fn receipt_key() -> ReceiptKey {
    ReceiptKey::from_seed(&[2; 32])
}

fn workload() -> Workload {
    Workload {
        image: "development".to_owned(),
        models: vec![WorkloadModel {
            name: MODEL.parse().unwrap(),
            manifest_digest: Digest::from_bytes([9; 32]),
            context_length: 2048,
            engine: "scripted".to_owned(),
            is_demo: true,
            kind: ModelKind::Chat,
            owned_by: "cocoon".to_owned(),
        }],
        gpu_count: 0,
        cc_on: false,
        devtools: false,
    }
}

fn claim<'a>(workload: &'a Workload, receipt_key: &'a ReceiptKey) -> Claim<'a> {
    Claim {
        exporter: &EXPORTER,
        tls_spki: SPKI,
        receipt_key,
        hpke_key: [8; 32],
        payee: WalletAddress::new(0, [5; 32]),
        workload,
    }
}

fn open_under(id: u8, policy: &Policy) -> (OpenChallenge, Challenge) {
    let mut random = [id; 48];
    random[47] = 200;
    let open = OpenChallenge::issue(&random, Digest::from_bytes([3; 32]), policy, NOW);
    let challenge = Challenge::decode(&open.message()).unwrap();
    (open, challenge)
}

fn open(id: u8) -> (OpenChallenge, Challenge) {
    open_under(id, &POLICY)
}

fn answer(challenge: &Challenge) -> Vec<u8> {
    LAB.answer(challenge, &claim(&workload(), &receipt_key()), NOW)
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
    verify_at(open, evidence, &POLICY, NOW)
}

fn code(outcome: Result<Attested, Refusal>) -> &'static str {
    outcome.expect_err("the evidence was accepted").code()
}

fn log(workload: &Workload) -> EventLog {
    let digests: Vec<[u8; 32]> =
        workload.models.iter().map(|model| *model.manifest_digest.as_bytes()).collect();
    let gpus = crate::verify::event_log::GpuPolicy {
        gpu_count: workload.gpu_count,
        cc_on: workload.cc_on,
        devtools: workload.devtools,
    };
    EventLog::of_worker(&digests, gpus).unwrap()
}

/// Rebuilds an answer after a change, quote and proof over the changed bind.
fn resigned(evidence: &[u8], change: impl FnOnce(&mut UnverifiedEvidence)) -> Vec<u8> {
    let mut message = UnverifiedEvidence::decode(evidence).unwrap();
    change(&mut message);
    message.receipt_key_proof = proof::sign(&receipt_key(), &message.bind);
    message.evidence = LAB.evidence(report_data(&message.bind), &log(&workload()), NOW);
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
    let (open, challenge) = open(1);
    let evidence = answer(&challenge);
    let attested = verify(open, &evidence).unwrap();
    let lease = attested.lease();
    assert_eq!(lease.assurance, Assurance::Software);
    assert_eq!(lease.worker_id, receipt_key().worker_id());
    assert_eq!(lease.hpke_key, [8; 32]);
    assert_eq!(lease.image, LAB.image());
    assert_eq!(lease.expires, NOW.saturating_add(Duration::from_secs(600)));
    assert_eq!(lease.policy_digest, POLICY.digest());
    assert_eq!(Lease::decode(&lease.encode()).as_ref(), Ok(lease));
    // Whoever was not on the connection finds the same.
    let examined = appraisal::examine(&evidence, &POLICY, NOW).unwrap();
    assert_eq!(&examined, attested.appraised());
    assert_eq!(examined.evidence_digest, lease.evidence_digest);
    assert_eq!(examined.exporter, EXPORTER);
}

#[test]
fn a_lease_ends_with_what_it_rests_on() {
    let text = policy_text().replace("2049-12-31T00:00:00Z", "2027-01-15T08:05:00Z");
    let policy = parse(&text);
    let (open, challenge) = open_under(1, &policy);
    let attested = verify_at(open, &answer(&challenge), &policy, NOW).unwrap();
    assert_eq!(attested.lease().expires, policy.not_after());
    assert!(policy.not_after() < NOW.saturating_add(policy.lease_life()));
}

#[test]
fn a_challenge_may_carry_the_nonce_of_others() {
    let open =
        OpenChallenge::issue_for([77; 32], [1; 16], Digest::from_bytes([3; 32]), &POLICY, NOW);
    let challenge = Challenge::decode(&open.message()).unwrap();
    let attested = verify(open, &answer(&challenge)).unwrap();
    assert_eq!(attested.appraised().nonce, [77; 32]);
}

#[test]
fn evidence_for_another_challenge_is_refused() {
    let (_, first) = open(1);
    let (second, _) = open(2);
    assert_eq!(code(verify(second, &answer(&first))), "unknown_challenge");
}

#[test]
fn a_replayed_answer_under_a_new_id_has_the_wrong_nonce() {
    let (_, first) = open(1);
    let (second, challenge) = open(2);
    let replay = resigned(&answer(&first), |message| message.challenge_id = challenge.challenge_id);
    assert_eq!(code(verify(second, &replay)), "wrong_nonce");
}

#[test]
fn an_answer_after_the_challenge_expired_is_refused() {
    let (open, challenge) = open(1);
    let late = NOW.saturating_add(Duration::from_secs(60));
    assert_eq!(code(verify_at(open, &answer(&challenge), &POLICY, late)), "challenge_expired");
}

#[test]
fn each_bound_value_is_compared() {
    type Change = fn(&mut Bind);
    let cases: [(Change, &str); 7] = [
        (|bind| bind.nonce = [0; 32], "wrong_nonce"),
        (|bind| bind.exporter = [0; 32], "wrong_exporter"),
        (|bind| bind.gw_spki_sha256 = Digest::from_bytes([0; 32]), "wrong_gateway_key"),
        (|bind| bind.policy_digest = Digest::from_bytes([0; 32]), "wrong_policy"),
        (|bind| bind.h_keys = [0; 32], "keys_changed"),
        (|bind| bind.h_dev = [0; 32], "devices_changed"),
        (|bind| bind.h_wl = [0; 32], "workload_changed"),
    ];
    for (change, expected) in cases {
        let (open, challenge) = open(1);
        let evidence = rebound(&answer(&challenge), change);
        assert_eq!(code(verify(open, &evidence)), expected);
    }
}

#[test]
fn evidence_of_another_connection_is_refused() {
    for (exporter, peer_spki, expected) in
        [([8; 32], SPKI, "wrong_exporter"), (EXPORTER, b"another key".as_slice(), "wrong_tls_key")]
    {
        let (open, challenge) = open(1);
        let evidence = answer(&challenge);
        let presented = Presented {
            evidence: &evidence,
            exporter: &exporter,
            peer_spki,
            lease_id: LeaseId::from_bytes([4; 16]),
        };
        assert_eq!(code(open.verify(&presented, &POLICY, NOW)), expected);
    }
}

#[test]
fn a_receipt_key_that_another_worker_holds_is_refused() {
    let (open, challenge) = open(1);
    // Everything is attested and bound, and the named key is real: only its holder is another.
    let evidence = resigned(&answer(&challenge), |message| {
        let mut keys = Keys::decode(&message.keys).unwrap();
        keys.receipt_key = ReceiptKey::from_seed(&[77; 32]).public();
        message.keys = keys.encode();
        let mut bind = Bind::decode(&message.bind).unwrap();
        bind.h_keys = sha256(&[&message.keys]);
        message.bind = bind.encode();
    });
    assert_eq!(code(verify(open, &evidence)), "receipt_key_unproven");
}

#[test]
fn a_proof_of_the_receipt_key_for_another_challenge_or_purpose_is_refused() {
    let (_, first) = open(1);
    let earlier = UnverifiedEvidence::decode(&answer(&first)).unwrap().receipt_key_proof;
    let (_, challenge) = open(2);
    let bind = UnverifiedEvidence::decode(&answer(&challenge)).unwrap().bind;
    let undivided = receipt_key().sign(&sha256(&[&bind]));
    for proof in [earlier, undivided, [0; 64]] {
        let (open, challenge) = open(2);
        let mut message = UnverifiedEvidence::decode(&answer(&challenge)).unwrap();
        message.receipt_key_proof = proof;
        assert_eq!(code(verify(open, &message.encode())), "receipt_key_unproven");
    }
}

#[test]
fn swapped_keys_are_refused() {
    type Change = fn(&mut Keys);
    let changes: [Change; 3] = [
        |keys| keys.receipt_key = [6; 32],
        |keys| keys.hpke_key = [6; 32],
        |keys| keys.payee = WalletAddress::new(0, [6; 32]),
    ];
    for change in changes {
        let (open, challenge) = open(1);
        let evidence = resigned(&answer(&challenge), |message| {
            let mut keys = Keys::decode(&message.keys).unwrap();
            change(&mut keys);
            message.keys = keys.encode();
        });
        assert_eq!(code(verify(open, &evidence)), "keys_changed");
    }
}

#[test]
fn a_policy_that_changed_meanwhile_is_refused() {
    let (open, challenge) = open(1);
    let changed = parse(&policy_text().replace("version = 1", "version = 2"));
    assert_eq!(code(verify_at(open, &answer(&challenge), &changed, NOW)), "policy_changed");
}

#[test]
fn the_workload_reads_back() {
    let workload = Workload { gpu_count: 8, cc_on: true, ..workload() };
    assert_eq!(Workload::decode(&workload.encode()).as_ref(), Ok(&workload));
}

/// A byte of the message in every place that is not stapled: what the vendor publishes is held to its
/// own signatures, and may have bytes that nobody reads.
#[test]
fn a_flipped_byte_is_refused_or_changes_nothing() {
    let (_, challenge) = open(1);
    let evidence = answer(&challenge);
    let honest = appraisal::examine(&evidence, &POLICY, NOW).unwrap();
    for at in (0..evidence.len()).step_by(41) {
        let mut flipped = evidence.clone();
        flipped[at] ^= 1 << (at % 8);
        let (open, _) = open(1);
        if let Ok(attested) = verify(open, &flipped) {
            let (_, mut found) = attested.into_parts();
            found.evidence_digest = honest.evidence_digest;
            assert_eq!(found, honest, "byte {at} changes what was proved");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_evidence_is_refused(evidence in prop::collection::vec(any::<u8>(), 0..600)) {
        let (open, _) = open(1);
        prop_assert!(verify(open, &evidence).is_err());
        prop_assert!(appraisal::examine(&evidence, &POLICY, NOW).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic_in_any_decoder(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Challenge::decode(&bytes);
        let _ = Lease::decode(&bytes);
        let _ = Workload::decode(&bytes);
        let _ = Bind::decode(&bytes);
        let _ = Keys::decode(&bytes);
        let _ = UnverifiedEvidence::decode(&bytes);
    }

    #[test]
    fn parts_read_back(
        digests: ([u8; 32], [u8; 32], [u8; 32], [u8; 32]),
        spki in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (a, b, c, d) = digests;
        let bind = Bind {
            nonce: a,
            exporter: b,
            gw_spki_sha256: Digest::from_bytes(c),
            policy_digest: Digest::from_bytes(d),
            h_keys: a,
            h_dev: b,
            h_wl: c,
        };
        prop_assert_eq!(Bind::decode(&bind.encode()), Ok(bind));
        let keys = Keys {
            tls_spki: spki,
            receipt_key: a,
            payee: WalletAddress::new(0, b),
            hpke_key: c,
        };
        prop_assert_eq!(Keys::decode(&keys.encode()), Ok(keys));
    }
}
