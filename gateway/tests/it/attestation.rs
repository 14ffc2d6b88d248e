//! What anybody can check without a key: leases, evidence, the log and its proofs, fresh reports.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cocoon_attest::appraisal::{Appraised, examine};
use cocoon_attest::enrol::evidence_digest;
use cocoon_attest::lease::Lease;
use cocoon_attest::log::{
    Entry, Record, SignedHead, Tree, leaf_hash, verify_consistency, verify_inclusion,
};
use cocoon_attest::policy::Policy;
use cocoon_gateway::transparency::nonce_leaf;
use cocoon_primitives::Digest;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};

use super::rig::{Answer, MODEL, Rig, Setup};

const FOR_EVER: &str = "public, max-age=31536000, immutable";

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().expect("text")).expect("base64")
}

fn hash(value: &Value) -> [u8; 32] {
    let mut hash = [0; 32];
    hex::decode_to_slice(value.as_str().expect("text"), &mut hash).expect("32 bytes in hex");
    hash
}

fn path(value: &Value) -> Vec<[u8; 32]> {
    value.as_array().expect("a list").iter().map(hash).collect()
}

async fn workers(rig: &Rig, query: &str) -> Vec<Value> {
    let answer =
        rig.get("listAttestedWorkers", &format!("/v1/attestation/workers{query}"), None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.headers["cache-control"], "no-cache");
    answer.body["data"].as_array().expect("a list").clone()
}

/// The head, signed by the key that this gateway told its operator.
async fn head(rig: &Rig) -> SignedHead {
    let answer = rig.get("getLogHead", "/v1/attestation/log", None).await;
    let head: SignedHead = serde_json::from_value(answer.body).expect("a head");
    assert!(head.verify(&rig.gateway.receipt_key));
    head
}

async fn entries(rig: &Rig, query: &str) -> Answer {
    let answer =
        rig.get("listLogEntries", &format!("/v1/attestation/log/entries{query}"), None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

async fn policy(rig: &Rig) -> (String, Policy) {
    let answer = rig.get("getAttestationPolicy", "/v1/attestation/policy", None).await;
    let text = answer.text("policy");
    let policy = Policy::parse(text.as_bytes()).expect("the policy in force is one");
    assert_eq!(answer.body["digest"], json!(policy.digest()));
    assert_eq!(answer.body["version"], policy.version());
    (text, policy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_listed_with_what_it_rests_on() {
    let rig = Rig::start().await;
    let listed = workers(&rig, &format!("?model={MODEL}&include=evidence")).await;
    let [worker] = listed.as_slice() else { panic!("one worker is there: {listed:?}") };
    let lease = Lease::decode(&bytes(&worker["lease"])).expect("a lease");
    assert_eq!(worker["worker_id"], json!(lease.worker_id));
    assert_eq!(hash(&worker["hpke_key"]), lease.hpke_key);
    assert_eq!(worker["assurance"], "software");

    let evidence = bytes(&worker["evidence"]);
    assert_eq!(evidence_digest(&evidence), lease.evidence_digest);
    let (_, policy) = policy(&rig).await;
    assert_eq!(lease.policy_digest, policy.digest());
    // Anybody comes to the gateway's verdict.
    let appraised = examine(&evidence, &policy, rig.clock.now()).expect("the evidence holds");
    assert_eq!((appraised.worker_id, appraised.hpke_key), (lease.worker_id, lease.hpke_key));
    let admission = policy.admit(&appraised, rig.clock.now()).expect("the policy admits it");
    assert_eq!(admission.image, lease.image);

    let digest = lease.evidence_digest;
    let kept = rig.get("getEvidence", &format!("/v1/attestation/evidence/{digest}"), None).await;
    assert_eq!(kept.headers["cache-control"], FOR_EVER);
    assert_eq!(bytes(&kept.body["evidence"]), evidence);
    assert!(workers(&rig, "").await[0].get("evidence").is_none());
    assert_eq!(workers(&rig, "?model=nobody").await, Vec::<Value>::new());
    assert_eq!(workers(&rig, "?model=%0A").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_proves_what_it_holds_and_that_it_only_grew() {
    let mut rig = Rig::start().await;
    let early = head(&rig).await;
    let listed = workers(&rig, "").await;
    let index = listed[0]["log_index"].as_u64().expect("it is logged");

    let page = entries(&rig, "").await.body;
    let rows = page["data"].as_array().expect("a list");
    let mut tree = Tree::new();
    for row in rows {
        let entry = bytes(&row["entry"]);
        assert_eq!(hash(&row["leaf_hash"]), leaf_hash(&entry));
        tree.push(leaf_hash(&entry));
    }
    assert_eq!((tree.size(), tree.root(tree.size())), (early.size, Some(early.root)));

    // First the policy, then the lease that was granted under it.
    let (text, _) = policy(&rig).await;
    let first = Entry::decode(&bytes(&rows[0]["entry"])).expect("an entry");
    assert_eq!(first.record, Record::Policy { policy: text.into_bytes() });
    let entry = bytes(&rows[usize::try_from(index).expect("small")]["entry"]);
    let Ok(Entry { record: Record::Lease { lease, evidence }, .. }) = Entry::decode(&entry) else {
        panic!("the worker's entry is no lease");
    };
    let lease = Lease::decode(&lease).expect("a lease");
    assert_eq!(
        (listed[0]["lease_id"].clone(), evidence),
        (json!(lease.lease_id), lease.evidence_digest)
    );

    let proof = format!("/v1/attestation/log/inclusion?index={index}&size={}", early.size);
    let proof = rig.get("getInclusionProof", &proof, None).await;
    assert_eq!(proof.headers["cache-control"], FOR_EVER);
    let steps = path(&proof.body["path"]);
    let verdict = verify_inclusion(&leaf_hash(&entry), index, early.size, &steps, &early.root);
    assert_eq!(verdict, Ok(()));

    // Another gateway process goes on with the same log and the same key.
    rig.restart().await;
    rig.kill_worker();
    rig.start_worker("tokens = 1").await;
    let late = head(&rig).await;
    assert!(late.size > early.size && late.key == early.key);
    let asked = format!("consistency?first={}&second={}", early.size, late.size);
    let asked = format!("/v1/attestation/log/{asked}");
    let proof = rig.get("getConsistencyProof", &asked, None).await;
    let steps = path(&proof.body["path"]);
    let verdict = verify_consistency(early.size, late.size, &steps, &early.root, &late.root);
    assert_eq!(verdict, Ok(()));
    let wrong = verify_consistency(early.size, late.size, &steps, &late.root, &late.root);
    assert!(wrong.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_in_pages() {
    let rig = Rig::start().await;
    let first = entries(&rig, "?limit=1").await;
    assert_eq!((&first.body["has_more"], &first.body["next"]), (&json!(true), &json!(1)));
    assert_eq!(first.headers["cache-control"], FOR_EVER);
    let rest = entries(&rig, "?start=1").await;
    assert_eq!((&rest.body["has_more"], &rest.body["next"]), (&json!(false), &Value::Null));
    assert_eq!(rest.headers["cache-control"], "no-cache");
    let beyond = entries(&rig, "?start=9223372036854775807").await;
    assert_eq!(beyond.body["data"], json!([]));
}

/// What a report proves to whoever asked: the worker's message is over their nonce, among others.
fn proved(attestation: &Value, nonce: &[u8; 32], policy: &Policy, rig: &Rig) -> Appraised {
    let proof = &attestation["nonce_proof"];
    let number = |field: &str| proof[field].as_u64().expect("a number");
    let (index, size) = (number("index"), number("size"));
    let (steps, root) = (path(&proof["path"]), hash(&proof["root"]));
    let leaf = leaf_hash(&nonce_leaf(nonce));
    assert_eq!(verify_inclusion(&leaf, index, size, &steps, &root), Ok(()));
    let other = leaf_hash(&nonce_leaf(&[0xee; 32]));
    assert!(verify_inclusion(&other, index, size, &steps, &root).is_err());
    let evidence = bytes(&attestation["evidence"]);
    let appraised = examine(&evidence, policy, rig.clock.now()).expect("the evidence holds");
    assert_eq!(appraised.nonce, root);
    appraised
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_answers_the_nonce_of_whoever_asked() {
    let rig = Rig::start().await;
    let (_, policy) = policy(&rig).await;
    let ask = async |nonce: [u8; 32]| {
        let nonce = hex::encode(nonce);
        let asked =
            format!("/v1/attestation/report?model={MODEL}&nonce={nonce}&signing_algo=ed25519");
        let answer = rig.get("getAttestationReport", &asked, None).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.body["request_nonce"], nonce);
        answer.body
    };
    // Two that ask at once share a quote, and each has a path of their own.
    let (one, two) = tokio::join!(ask([1; 32]), ask([2; 32]));
    let (first, second) = (&one["model_attestations"][0], &two["model_attestations"][0]);
    assert_eq!(first["evidence"], second["evidence"]);
    assert_eq!(first["nonce_proof"]["size"], 2);
    let appraised = proved(first, &[1; 32], &policy, &rig);
    proved(second, &[2; 32], &policy, &rig);
    // It is fresh, and of the worker that is listed.
    let listed = workers(&rig, "").await;
    assert_eq!(listed[0]["worker_id"], json!(appraised.worker_id));
    assert_ne!(listed[0]["evidence_digest"], json!(appraised.evidence_digest));
    assert_eq!(hash(&listed[0]["hpke_key"]), appraised.hpke_key);
    // A report is nobody else's business: it is not logged.
    assert_eq!(head(&rig).await.size, 2);

    // The names that verifiers of other gateways read, at the top as well.
    for field in ["signing_address", "intel_quote", "nvidia_payload", "event_log", "info"] {
        assert_eq!(one[field], first[field], "{field}");
    }
    assert_eq!(first["signing_address"], hex::encode(appraised.receipt_key));
    let gateway = &one["gateway_attestation"];
    assert_eq!(hash(&gateway["signing_address"]), rig.gateway.receipt_key);
    assert_eq!(gateway["intel_quote"], Value::Null);
    let statement = gateway["info"]["statement"].as_str().expect("words");
    assert!(statement.contains("does not run in a trusted execution environment"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused() {
    let rig = Rig::with(Setup { engine: None, ..Setup::default() }).await;
    let nonce = "ab".repeat(32);
    let digest = Digest::from_bytes([9; 32]);
    for (operation, path, status, code) in [
        ("getAttestationReport", "report".to_owned(), 400, "invalid_value"),
        ("getAttestationReport", "report?nonce=12".to_owned(), 400, "invalid_value"),
        (
            "getAttestationReport",
            format!("report?nonce={nonce}&signing_algo=ecdsa"),
            400,
            "invalid_value",
        ),
        ("getAttestationReport", format!("report?nonce={nonce}&worker=x"), 400, "invalid_value"),
        ("getAttestationReport", format!("report?nonce={nonce}&model=x"), 404, "model_not_found"),
        (
            "getAttestationReport",
            format!("report?nonce={nonce}&worker=wrk_{nonce}"),
            404,
            "worker_not_found",
        ),
        ("listAttestedWorkers", "workers?include=all".to_owned(), 400, "invalid_value"),
        ("getEvidence", format!("evidence/{digest}"), 404, "evidence_not_found"),
        ("getEvidence", "evidence/x".to_owned(), 404, "evidence_not_found"),
        ("listLogEntries", "log/entries?limit=0".to_owned(), 400, "invalid_value"),
        ("listLogEntries", "log/entries?limit=1001".to_owned(), 400, "invalid_value"),
        ("listLogEntries", "log/entries?start=-1".to_owned(), 400, "invalid_value"),
        ("getInclusionProof", "log/inclusion".to_owned(), 400, "invalid_value"),
        ("getInclusionProof", "log/inclusion?index=9".to_owned(), 400, "invalid_value"),
        ("getInclusionProof", "log/inclusion?index=0&size=9".to_owned(), 400, "invalid_value"),
        ("getConsistencyProof", "log/consistency?first=9".to_owned(), 400, "invalid_value"),
        (
            "getConsistencyProof",
            "log/consistency?first=0&second=9".to_owned(),
            400,
            "invalid_value",
        ),
    ] {
        let answer = rig.get(operation, &format!("/v1/attestation/{path}"), None).await;
        answer.refused(status, code);
    }
    // Without a model there is the gateway's part alone.
    let asked = format!("/v1/attestation/report?nonce={nonce}");
    let answer = rig.get("getAttestationReport", &asked, None).await;
    assert_eq!((answer.status, &answer.body["model_attestations"]), (200, &json!([])));
    // A gateway without workers has a log too: its policy is there.
    assert_eq!(head(&rig).await.size, 1);
    assert_eq!(workers(&rig, "").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_gets_so_many_reports_a_minute() {
    let rig = Rig::with(Setup { engine: None, ..Setup::default() }).await;
    let asked = format!("/v1/attestation/report?nonce={}", "ab".repeat(32));
    let mut refused = None;
    for _ in 0..25 {
        let answer = rig.get("getAttestationReport", &asked, None).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the twenty-first is one too many");
    refused.refused(429, "rate_limit_exceeded");
    assert!(refused.headers.contains_key("retry-after"));
    // Reading is another matter.
    assert_eq!(workers(&rig, "").await, Vec::<Value>::new());
}

/// A lease that is not logged is not granted.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_be_logged_is_refused() {
    let rig = Rig::with(Setup { engine: None, ..Setup::default() }).await;
    rig.gateway.store.clone().close().await;
    let metrics = format!("http://{}/metrics", rig.gateway.admin);
    let refused = rig.until("the worker is refused", async || {
        let answer = rig.client.get(&metrics).send().await.expect("an answer");
        answer.text().await.expect("text").contains("reason=\"not_recorded\"")
    });
    tokio::select! {
        () = rig.start_worker("tokens = 1") => panic!("it was admitted"),
        () = refused => {}
    }
    assert!(rig.gateway.fleet.lock().expect("the fleet").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_log_and_no_model_has_is_refused() {
    let rig = Rig::with(Setup { engine: None, ..Setup::default() }).await;
    for (operation, query) in [
        ("listLogEntries", format!("log/entries?start={}", 1_u64 << 63)),
        ("listAttestedWorkers", format!("workers?model={}", "m".repeat(257))),
    ] {
        let answer = rig.get(operation, &format!("/v1/attestation/{query}"), None).await;
        answer.refused(400, "invalid_value");
    }
}

/// The token says of software what it is, and ends with the lease.
#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_result_is_a_token_of_the_gateway() {
    let rig = Rig::start().await;
    let listed = workers(&rig, "").await;
    let token = listed[0]["ear"].as_str().expect("a token");
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let key = VerifyingKey::from_bytes(&rig.gateway.receipt_key).expect("a key");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    let signature = Signature::from_slice(&signature).expect("64 bytes");
    key.verify_strict(signed.as_bytes(), &signature).expect("it is signed");
    let (_, claims) = signed.split_once('.').expect("two parts");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!(claims["sub"], listed[0]["worker_id"]);
    assert_eq!(claims["exp"], listed[0]["expires_at"]);
    assert_eq!(claims["cocoon"]["evidence_digest"], listed[0]["evidence_digest"]);
    let worker = &claims["submods"]["worker"];
    assert_eq!(worker["ear.status"], "contraindicated");
    assert_eq!(worker["ear.trustworthiness-vector"]["hardware"], 97);
}
