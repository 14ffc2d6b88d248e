//! API keys: made with a session, shown once, bounded, revoked.

use std::sync::Arc;
use std::time::Duration;

use cocoon_primitives::{Clock, MockClock};
use cocoon_runtime::SystemClock;
use http::Method;
use serde_json::{Value, json};

use super::rig::{Answer, Rig, Setup, seconds, wallet};

async fn with_clock() -> (Rig, MockClock) {
    let clock = MockClock::at(SystemClock.now());
    let setup = Setup { engine: None, clock: Arc::new(clock.clone()), ..Setup::default() };
    (Rig::with(setup).await, clock)
}

async fn listed(rig: &Rig, token: &str) -> Vec<Value> {
    let answer = rig.get("listKeys", "/v1/keys", Some(token)).await;
    answer.body["data"].as_array().expect("a list").clone()
}

async fn delete(rig: &Rig, credential: &str, id: &str) -> Answer {
    let path = format!("/v1/keys/{id}");
    rig.call("deleteKey", Method::DELETE, &path, Some(credential), None).await
}

async fn models(rig: &Rig, credential: &str) -> Answer {
    rig.get("listModels", "/v1/models", Some(credential)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lives_from_its_making_to_its_revocation() {
    let (rig, clock) = with_clock().await;
    let token = rig.sign_in(&wallet(1)).await;
    let asked = json!({ "name": "laptop", "spend_cap_nano": 500 });
    let made = rig.new_key(&token, &asked).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let (id, secret) = (made.text("id"), made.text("key"));

    clock.advance(Duration::from_secs(60));
    assert_eq!(models(&rig, &secret).await.status, 200);

    let keys = listed(&rig, &token).await;
    assert_eq!((keys.len(), &keys[0]["id"]), (1, &json!(id)));
    assert_eq!(keys[0]["spend_cap_nano"], 500);
    assert_eq!(keys[0]["revoked_at"], Value::Null);
    let masked = keys[0]["masked"].as_str().expect("text").trim_end_matches('…');
    assert!(secret.starts_with(masked) && masked.len() < 20, "{masked}");

    assert_eq!(delete(&rig, &token, &id).await.body, json!({ "id": id, "deleted": true }));
    models(&rig, &secret).await.refused(401, "key_revoked");
    delete(&rig, &token, &id).await.refused(404, "key_not_found");
    assert_eq!(listed(&rig, &token).await[0]["revoked_at"], seconds(clock.now()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_is_written_down() {
    let (rig, _clock) = with_clock().await;
    let token = rig.sign_in(&wallet(1)).await;
    let secret = rig.new_key(&token, &json!({ "name": "k" })).await.text("key");
    assert_eq!(models(&rig, &secret).await.status, 200);
    rig.until("the use is in the listing", async || {
        listed(&rig, &token).await[0]["last_used_at"] == seconds(rig.clock.now())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_neither_makes_nor_lists_nor_revokes_keys() {
    let (rig, _clock) = with_clock().await;
    let token = rig.sign_in(&wallet(1)).await;
    let made = rig.new_key(&token, &json!({ "name": "k" })).await;
    let (id, secret) = (made.text("id"), made.text("key"));
    rig.new_key(&secret, &json!({ "name": "more" })).await.refused(403, "session_required");
    rig.get("listKeys", "/v1/keys", Some(&secret)).await.refused(403, "session_required");
    delete(&rig, &secret, &id).await.refused(403, "session_required");
    assert_eq!(models(&rig, &secret).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_wallets_key_does_not_exist() {
    let (rig, _clock) = with_clock().await;
    let (ours, theirs) = (rig.sign_in(&wallet(1)).await, rig.sign_in(&wallet(2)).await);
    let made = rig.new_key(&ours, &json!({ "name": "k" })).await;
    delete(&rig, &theirs, &made.text("id")).await.refused(404, "key_not_found");
    delete(&rig, &theirs, "key_zz").await.refused(404, "key_not_found");
    assert!(listed(&rig, &theirs).await.is_empty());
    assert_eq!(models(&rig, &made.text("key")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_expires() {
    let (rig, clock) = with_clock().await;
    let token = rig.sign_in(&wallet(1)).await;
    let expires_at = seconds(clock.now()) + 100;
    let made = rig.new_key(&token, &json!({ "name": "k", "expires_at": expires_at })).await;
    assert_eq!(made.body["expires_at"], expires_at);
    let secret = made.text("key");
    assert_eq!(models(&rig, &secret).await.status, 200);
    clock.advance(Duration::from_secs(100));
    models(&rig, &secret).await.refused(401, "key_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_asked_for_wrongly_is_not_made() {
    let (rig, clock) = with_clock().await;
    let token = rig.sign_in(&wallet(1)).await;
    let past = seconds(clock.now());
    let table = [
        (json!({}), "invalid_value", json!("name")),
        (json!({ "name": "  " }), "invalid_value", json!("name")),
        (json!({ "name": "x".repeat(65) }), "invalid_value", json!("name")),
        (json!({ "name": "a\nb" }), "invalid_value", json!("name")),
        (json!({ "name": "k", "expires_at": past }), "invalid_value", json!("expires_at")),
        (
            json!({ "name": "k", "spend_cap_nano": u64::MAX }),
            "invalid_value",
            json!("spend_cap_nano"),
        ),
        (json!({ "name": "k", "spend_cap": 5 }), "invalid_json", Value::Null),
        (json!({ "name": 5 }), "invalid_json", Value::Null),
    ];
    for (asked, code, param) in table {
        let answer = rig.new_key(&token, &asked).await;
        answer.refused(400, code);
        assert_eq!(answer.body["error"]["param"], param, "{asked}");
    }
    assert!(listed(&rig, &token).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_has_a_bounded_number_of_keys() {
    let (rig, _clock) = with_clock().await;
    let token = rig.sign_in(&wallet(1)).await;
    for _ in 0..cocoon_store::KEYS_PER_WALLET_MAX {
        assert_eq!(rig.new_key(&token, &json!({ "name": "k" })).await.status, 200);
    }
    rig.new_key(&token, &json!({ "name": "k" })).await.refused(400, "too_many_keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_expire_at_once_are_bounded_all_the_same() {
    let (rig, clock) = with_clock().await;
    let token = rig.sign_in(&wallet(1)).await;
    let mint = async || {
        clock.advance(Duration::from_secs(2));
        let expires_at = seconds(clock.now()) + 1;
        rig.new_key(&token, &json!({ "name": "k", "expires_at": expires_at })).await
    };
    for _ in 0..cocoon_store::KEYS_PER_DAY_MAX {
        assert_eq!(mint().await.status, 200);
    }
    let refused = mint().await;
    refused.refused(429, "rate_limit_exceeded");
    assert_eq!(refused.headers["retry-after"], "60");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_gateway_says_what_became_of_a_key() {
    let (mut rig, clock) = with_clock().await;
    let token = rig.sign_in(&wallet(1)).await;
    let expires_at = seconds(clock.now()) + 100;
    let expiring = json!({ "name": "k", "expires_at": expires_at });
    let expired = rig.new_key(&token, &expiring).await.text("key");
    let made = rig.new_key(&token, &json!({ "name": "k" })).await;
    let (id, revoked) = (made.text("id"), made.text("key"));
    assert_eq!(delete(&rig, &token, &id).await.status, 200);
    clock.advance(Duration::from_secs(100));
    rig.restart().await;
    models(&rig, &expired).await.refused(401, "key_expired");
    models(&rig, &revoked).await.refused(401, "key_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_none_say_what_is_wrong() {
    let (rig, _clock) = with_clock().await;
    let unknown = cocoon_gateway::auth::KeySecret::generate();
    for (credential, code) in [
        (None, "missing_api_key"),
        (Some("sk-proj-somebody-elses"), "invalid_api_key"),
        (Some(unknown.reveal()), "invalid_api_key"),
        (Some("not.a.session"), "invalid_api_key"),
    ] {
        let answer = rig.get("listModels", "/v1/models", credential).await;
        answer.refused(401, code);
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        assert_eq!(answer.headers["x-should-retry"], "false");
    }
    let basic = rig.client.get(rig.url("/v1/models")).basic_auth("user", Some("x")).send().await;
    super::rig::read(basic.expect("an answer")).await.refused(401, "invalid_authorization_header");
}
