//! Evidence that proves nothing here: each kind refused on a real connection, with its own code.

use std::time::Duration;

use cocoon_attest::enrol::Challenge;
use cocoon_primitives::Timestamp;

use super::fake::{Dialled, dial, honest};
use super::forge::{Forge, IMAGE};
use super::*;

/// Where the nonce stands in a challenge's one encoding.
const NONCE: std::ops::Range<usize> = 24..56;

fn two_gpus() -> (PolicyText, Forge) {
    let mut forge = honest();
    forge.workload.gpu_count = 2;
    (PolicyText { gpus: 2, ..PolicyText::default() }, forge)
}

fn now() -> Timestamp {
    SystemClock.now()
}

/// What `forge` answers on this connection.
fn answer(worker: &Dialled, forge: &Forge, challenge: &Challenge) -> Vec<u8> {
    forge.answer(challenge, &worker.exporter(), &worker.spki(), now())
}

#[tokio::test]
async fn evidence_that_was_made_on_another_connection_is_a_relay() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    // The honest worker is on a connection of its own; somebody between relays the challenge.
    let (mut relay, victim) = (dial(&gateway).await, dial(&gateway).await);
    let challenge = relay.challenge().await;
    let evidence = honest().answer(&challenge, &victim.exporter(), &victim.spki(), now());
    assert_eq!(relay.refused(evidence).await, "wrong_exporter");
    assert!(lock(&gateway.fleet).is_empty());
}

#[tokio::test]
async fn an_old_evidence_message_is_a_replay() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let mut first = dial(&gateway).await;
    let challenge = first.challenge().await;
    let evidence = answer(&first, &honest(), &challenge);
    first.accepted(evidence.clone()).await;
    let mut again = dial(&gateway).await;
    again.challenge().await;
    assert_eq!(again.refused(evidence).await, "unknown_challenge");
}

#[tokio::test]
async fn an_old_nonce_under_a_new_challenge_is_stale() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let old = dial(&gateway).await.challenge_bytes().await;
    let mut worker = dial(&gateway).await;
    let mut mixed = worker.challenge_bytes().await;
    assert_ne!(mixed[NONCE], old[NONCE]);
    mixed[NONCE].copy_from_slice(&old[NONCE]);
    let mixed = Challenge::decode(&mixed).expect("still a challenge");
    let evidence = answer(&worker, &honest(), &mixed);
    assert_eq!(worker.refused(evidence).await, "wrong_nonce");
}

#[tokio::test]
async fn an_attested_key_that_does_not_hold_the_connection_is_refused() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let (mut worker, other) = (dial(&gateway).await, dial(&gateway).await);
    let challenge = worker.challenge().await;
    let evidence = honest().answer(&challenge, &worker.exporter(), &other.spki(), now());
    assert_eq!(worker.refused(evidence).await, "wrong_tls_key");
}

#[tokio::test]
async fn keys_that_were_swapped_after_the_quote_are_refused() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let mut worker = dial(&gateway).await;
    let challenge = worker.challenge().await;
    let mut evidence = answer(&worker, &honest(), &challenge);
    // The key that requests are sealed to, replaced by one of somebody else.
    let at = evidence.windows(32).position(|window| window == [9; 32]).expect("it is in the keys");
    evidence[at..at + 32].copy_from_slice(&[8; 32]);
    assert_eq!(worker.refused(evidence).await, "keys_changed");
}

#[tokio::test]
async fn gpu_evidence_that_was_swapped_after_the_quote_is_refused() {
    let (policy, forge) = two_gpus();
    let gateway = Gateway::start(&policy).await;
    let mut worker = dial(&gateway).await;
    let challenge = worker.challenge().await;
    let evidence = answer(&worker, &forge, &challenge);
    let exporter = worker.exporter();
    let spki = worker.spki();
    let claim = forge.claim(&exporter, &spki);
    let nonce = challenge.gpu_nonce(&claim);
    let (mine, other) = (forge.tee.gpu(1, nonce, now()), forge.tee.gpu(2, nonce, now()));
    let swapped = replace(&evidence, &mine.report, &other.report);
    assert_eq!(worker.refused(swapped).await, "devices_changed");
}

#[tokio::test]
async fn gpu_evidence_for_other_keys_is_refused() {
    let (policy, forge) = two_gpus();
    let gateway = Gateway::start(&policy).await;
    let mut worker = dial(&gateway).await;
    let challenge = worker.challenge().await;
    let (exporter, spki) = (worker.exporter(), worker.spki());
    let claim = forge.claim(&exporter, &spki);
    // Genuine GPUs, asked by somebody else; the guest's quote covers them all the same.
    let devices = forge.devices([77; 32], now());
    let prepared = challenge.prepare(&claim, &devices);
    let quote = forge.evidence(prepared.report_data(), now());
    assert_eq!(worker.refused(prepared.finish(quote)).await, "gpu_nonce");
}

#[tokio::test]
async fn fewer_gpus_than_the_image_has_are_refused() {
    let (policy, mut forge) = two_gpus();
    let gateway = Gateway::start(&policy).await;
    forge.workload.gpu_count = 1;
    let mut worker = dial(&gateway).await;
    let challenge = worker.challenge().await;
    let evidence = answer(&worker, &forge, &challenge);
    assert_eq!(worker.refused(evidence).await, "image_gpus");
}

#[tokio::test]
async fn two_gpus_that_prove_themselves_are_admitted() {
    let (policy, forge) = two_gpus();
    let gateway = Gateway::start(&policy).await;
    let mut worker = dial(&gateway).await;
    let challenge = worker.challenge().await;
    let evidence = answer(&worker, &forge, &challenge);
    worker.accepted(evidence).await;
}

#[tokio::test]
async fn collateral_that_has_expired_is_refused() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let mut worker = dial(&gateway).await;
    let challenge = worker.challenge().await;
    let forge = honest();
    let (exporter, spki) = (worker.exporter(), worker.spki());
    let claim = forge.claim(&exporter, &spki);
    let prepared = challenge.prepare(&claim, &[]);
    let long_ago = now().saturating_sub(Duration::from_secs(60 * 24 * 3600));
    let quote = forge.evidence(prepared.report_data(), long_ago);
    assert_eq!(worker.refused(prepared.finish(quote)).await, "collateral_expired");
}

#[tokio::test]
async fn a_model_with_another_digest_is_refused() {
    let models = Some(vec![(model().to_string(), Digest::from_bytes([1; 32]))]);
    let gateway = Gateway::start(&PolicyText { models, ..PolicyText::default() }).await;
    let mut worker = dial(&gateway).await;
    let challenge = worker.challenge().await;
    let evidence = answer(&worker, &honest(), &challenge);
    assert_eq!(worker.refused(evidence).await, "model_manifest");
    let mut other = honest();
    other.workload.models[0].name = "another".parse().expect("a name");
    let mut worker = dial(&gateway).await;
    let challenge = worker.challenge().await;
    let evidence = answer(&worker, &other, &challenge);
    assert_eq!(worker.refused(evidence).await, "model_not_listed");
}

#[tokio::test]
async fn production_refuses_software_evidence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The rows admit this very guest; only its roots are no vendor's.
    let rows = tee().policy_rows(IMAGE, 0);
    let software = rows.find("[software]").expect("the roots' section");
    let after = rows[software + 1..].find("\n[").map_or(rows.len(), |at| software + 1 + at);
    let manifest = Digest::from_bytes([7; 32]);
    let text = format!(
        "schema = 1\nversion = 1\nnot_after = \"{}\"\nmode = \"production\"\n{}{}\n\
         [[model]]\nname = \"{}\"\nmanifest = \"{manifest}\"\n",
        rfc3339(now().saturating_add(Duration::from_secs(24 * 3600))),
        &rows[..software],
        &rows[after..],
        model(),
    );
    put(folder.path(), &text);
    let gateway = Gateway::of_mode(folder, Mode::Production).await;
    let mut worker = dial(&gateway).await;
    let challenge = worker.challenge().await;
    let evidence = answer(&worker, &honest(), &challenge);
    assert_eq!(worker.refused(evidence).await, "software_in_production");
}

#[tokio::test]
async fn a_machine_of_another_root_is_refused() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let mut worker = dial(&gateway).await;
    let challenge = worker.challenge().await;
    let stranger = Forge::new([43; 32], model().as_str());
    let evidence = answer(&worker, &stranger, &challenge);
    assert_eq!(worker.refused(evidence).await, "unverified");
    assert!(lock(&gateway.fleet).is_empty());
}

#[tokio::test]
async fn a_quarantined_worker_is_told_so_and_one_with_another_key_enrols() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let forge = honest();
    let worker_id = cocoon_attest::receipt::worker_id(&forge.receipt_key.public());
    lock(&gateway.fleet).quarantine(worker_id);
    let mut worker = dial(&gateway).await;
    let challenge = worker.challenge().await;
    let evidence = answer(&worker, &forge, &challenge);
    assert_eq!(worker.refused(evidence).await, "quarantined");
    let mut other = honest();
    other.receipt_key = cocoon_attest::receipt::ReceiptKey::from_seed(&[2; 32]);
    let mut worker = dial(&gateway).await;
    let challenge = worker.challenge().await;
    let evidence = answer(&worker, &other, &challenge);
    worker.accepted(evidence).await;
}

/// Evidence is kept for good, so that one machine cannot bring as much of it as it likes.
#[tokio::test]
async fn a_machine_that_enrols_in_a_loop_is_told_to_wait() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let mut refused = None;
    for _ in 0..=200 {
        let mut worker = dial(&gateway).await;
        let challenge = worker.challenge().await;
        let evidence = answer(&worker, &honest(), &challenge);
        refused = worker.offered(evidence).await.err();
        if refused.is_some() {
            break;
        }
    }
    assert_eq!(refused.expect("the last is one too many").reason, "enrolling_too_often");
}

fn replace(message: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut message = message.to_vec();
    let at = message.windows(old.len()).position(|window| window == old).expect("it is in there");
    message[at..at + new.len()].copy_from_slice(new);
    message
}
