//! A wallet signs in, and everything that must not pass for a sign-in.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_primitives::{Clock, MockClock};
use cocoon_runtime::SystemClock;
use serde_json::{Value, json};
use ton_core::cell::{BoC, TonCell};

use super::rig::{Rig, Setup, wallet};

async fn without_worker() -> Rig {
    Rig::with(Setup { engine: None, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_opens_a_session_that_reads_the_account() {
    let rig = without_worker().await;
    let wallet = wallet(1);
    let token = rig.sign_in(&wallet).await;
    let balance = rig.get("getBalance", "/v1/balance", Some(&token)).await;
    assert_eq!(balance.body["wallet"], wallet.address().to_string());
    assert_eq!(balance.body["available_nano"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_is_good_for_one_sign_in() {
    let rig = without_worker().await;
    let proof = rig.signed_proof(&wallet(1)).await;
    assert_eq!(rig.finish_sign_in(&proof).await.status, 200);
    rig.finish_sign_in(&proof).await.refused(401, "payload_replayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sign_ins_at_once_one_wins() {
    let rig = without_worker().await;
    let proof = rig.signed_proof(&wallet(1)).await;
    let (one, two) = tokio::join!(rig.finish_sign_in(&proof), rig.finish_sign_in(&proof));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_proofs_are_refused() {
    let rig = without_worker().await;
    let honest = rig.signed_proof(&wallet(1)).await;
    let forge = |pointer: &str, value: Value| {
        let mut forged = honest.clone();
        *forged.pointer_mut(pointer).expect("the field exists") = value;
        forged
    };
    let other = wallet(2);
    let key = json!(hex::encode(other.public_key()));
    let table = [
        (forge("/proof/signature", json!(STANDARD.encode([7; 64]))), "invalid_proof"),
        (forge("/address", json!(other.address().to_string())), "invalid_proof"),
        (forge("/publicKey", key), "invalid_proof"),
        (forge("/walletStateInit", json!(other.state_init())), "invalid_proof"),
        (forge("/network", json!("-239")), "invalid_proof"),
        (forge("/proof/domain/value", json!("evil.example")), "invalid_proof"),
        (forge("/proof/domain/lengthBytes", json!(5)), "invalid_proof"),
        (forge("/attempt", json!("another")), "invalid_payload"),
        (forge("/proof/payload", json!("mine")), "invalid_payload"),
    ];
    for (forged, code) in table {
        rig.finish_sign_in(&forged).await.refused(401, code);
    }
    // None of the attempts used the payload up.
    assert_eq!(rig.finish_sign_in(&honest).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_of_unknown_code_is_refused_by_name() {
    let rig = without_worker().await;
    let cell = |bytes: &[u8], bits: usize, references: &[TonCell]| {
        let mut builder = TonCell::builder();
        builder.write_bits(bytes, bits).expect("bits fit");
        for reference in references {
            builder.write_ref(reference.clone()).expect("references fit");
        }
        builder.build().expect("a cell")
    };
    let code = cell(&[0xDE, 0xAD], 16, &[]);
    let root = cell(&[0b0011_0000], 5, &[code, cell(&[0; 36], 288, &[])]);
    let hash = root.hash().expect("a hash").to_hex();
    let boc = BoC::new(root).to_bytes(false).expect("bytes");
    let mut proof = rig.signed_proof(&wallet(1)).await;
    proof["address"] = json!(format!("0:{}", hash.to_lowercase()));
    proof["walletStateInit"] = json!(STANDARD.encode(boc));
    rig.finish_sign_in(&proof).await.refused(401, "unknown_wallet");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_proof_at_all_is_a_bad_request() {
    let rig = without_worker().await;
    for body in [json!({}), json!([]), json!({ "proof": "yes" })] {
        rig.finish_sign_in(&body).await.refused(400, "invalid_proof");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_and_sessions_expire_by_the_gateways_clock() {
    let clock = MockClock::at(SystemClock.now());
    let setup = Setup { engine: None, clock: Arc::new(clock.clone()), ..Setup::default() };
    let rig = Rig::with(setup).await;
    let proof = rig.signed_proof(&wallet(1)).await;
    let token = rig.sign_in(&wallet(1)).await;

    clock.advance(Duration::from_secs(15 * 60));
    rig.finish_sign_in(&proof).await.refused(401, "payload_expired");

    clock.advance(Duration::from_secs(24 * 60 * 60));
    let late = rig.get("getBalance", "/v1/balance", Some(&token)).await;
    late.refused(401, "session_expired");
    assert_eq!(late.headers["x-should-retry"], "false");
}

#[tokio::test(flavor = "multi_thread")]
async fn knocking_too_often_is_throttled() {
    let clock = MockClock::at(SystemClock.now());
    let rig = Rig::with(Setup {
        engine: None,
        auth: "sign_ins_per_minute = 3",
        clock: Arc::new(clock.clone()),
        ..Setup::default()
    })
    .await;
    let knock = async || {
        rig.post("createTonProofPayload", "/v1/auth/ton-proof/payload", None, &json!({})).await
    };
    for _ in 0..3 {
        assert_eq!(knock().await.status, 200);
    }
    let shed = knock().await;
    shed.refused(429, "rate_limit_exceeded");
    assert_eq!(shed.headers["retry-after"], "20");
    assert_eq!(shed.headers["retry-after-ms"], "20000");
    clock.advance(Duration::from_secs(20));
    assert_eq!(knock().await.status, 200);
}
