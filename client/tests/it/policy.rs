//! `cocoon policy`: keys, signatures, and what a check says of a file.

use crate::cocoon::{Home, mode};

const POLICY: &str = r#"schema = 1
version = 3
not_after = "2049-12-31T00:00:00Z"
mode = "production"

[[model]]
name = "tiny"
manifest = "sha256:abababababababababababababababababababababababababababababababab"
"#;

/// A home with a policy and a key; the key's public half.
async fn home() -> (Home, String) {
    let home = Home::new();
    home.write("policy.toml", POLICY);
    let key = new_key(&home, "first.key").await;
    (home, key)
}

async fn new_key(home: &Home, name: &str) -> String {
    let path = at(home, name);
    let made = home.run(&["policy", "new-key", "--out", &path, "--json"]).await.json();
    assert_eq!(mode(&home.path(name)), 0o600);
    made["key"].as_str().expect("a key").to_owned()
}

fn at(home: &Home, name: &str) -> String {
    home.path(name).to_str().expect("paths of tests are UTF-8").to_owned()
}

#[tokio::test]
async fn a_signed_policy_is_checked_against_its_keys() {
    let (home, key) = home().await;
    let (policy, first) = (at(&home, "policy.toml"), at(&home, "first.key"));
    let signed = home.run(&["policy", "sign", &policy, "--key", &first]).await;
    assert_eq!(signed.code, 0, "{signed:?}");
    let report = home.run(&["policy", "check", &policy, "--key", &key, "--json"]).await.json();
    assert_eq!(report["version"], 3);
    assert_eq!(report["signatures_checked"], true);
    assert_eq!(report["signed_by"][0], key.as_str());
    assert_eq!(report["models"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["digest"].as_str().map(str::len), Some(64));
    let table = home.run(&["policy", "check", &policy]).await;
    assert_eq!(table.code, 0, "{table:?}");
    for text in ["production", "2049-12-31T00:00:00Z", "tiny", "not checked"] {
        assert!(table.stdout.contains(text), "{text:?} is not in {}", table.stdout);
    }
}

#[tokio::test]
async fn signatures_are_added_or_replaced() {
    let (home, first_key) = home().await;
    let second_key = new_key(&home, "second.key").await;
    let policy = at(&home, "policy.toml");
    let sign = async |key: &str, more: &[&str]| {
        let key = at(&home, key);
        let arguments = [&["policy", "sign", &policy, "--key", &key, "--json"], more].concat();
        home.run(&arguments).await.json()["count"].clone()
    };
    let both = ["policy", "check", &policy, "--key", &first_key, "--key", &second_key];
    assert_eq!(sign("first.key", &[]).await, 1);
    home.run(&[&both[..], &["--json"]].concat()).await.assert_failed(2, "policy_signatures");
    let one_of_two = [&both[..], &["--threshold", "1"]].concat();
    assert_eq!(home.run(&one_of_two).await.code, 0);
    assert_eq!(sign("second.key", &["--add"]).await, 2);
    assert_eq!(home.run(&both).await.code, 0);
    assert_eq!(sign("second.key", &[]).await, 1);
    home.run(&both).await.assert_failed(2, "1 of the known keys");
}

#[tokio::test]
async fn what_does_not_hold_is_2_with_every_reason() {
    let (home, key) = home().await;
    let (policy, first) = (at(&home, "policy.toml"), at(&home, "first.key"));
    let signed = home.run(&["policy", "sign", &policy, "--key", &first]).await;
    assert_eq!(signed.code, 0, "{signed:?}");
    // One byte after signing.
    home.write("policy.toml", &POLICY.replace("version = 3", "version = 4"));
    let changed = home.run(&["policy", "check", &policy, "--key", &key]).await;
    changed.assert_failed(2, "0 of the known keys");
    home.write("policy.toml", &POLICY.replace("version = 3", "version = 0\nlease_seconds = 0"));
    let bad = home.run(&["policy", "check", &policy]).await;
    bad.assert_failed(2, "version: ");
    bad.assert_failed(2, "lease_seconds: ");
    let unsigned = home.run(&["policy", "sign", &policy, "--key", &first]).await;
    unsigned.assert_failed(2, "version: ");
    home.write("policy.toml", POLICY);
    let ended = home.run(&["policy", "check", &policy, "--at", "2050-01-01", "--json"]).await;
    ended.assert_failed(2, "policy_expired");
}

#[tokio::test]
async fn unusable_input_is_1() {
    let (home, key) = home().await;
    let (policy, first) = (at(&home, "policy.toml"), at(&home, "first.key"));
    let again = home.run(&["policy", "new-key", "--out", &first]).await;
    again.assert_failed(1, "cannot create");
    let absent = home.run(&["policy", "check", &at(&home, "none.toml")]).await;
    absent.assert_failed(1, "cannot read");
    let unsigned = home.run(&["policy", "check", &policy, "--key", &key]).await;
    unsigned.assert_failed(1, "policy.toml.sig");
    let short = home.run(&["policy", "check", &policy, "--key", "ab"]).await;
    short.assert_failed(1, "64 hex digits");
    let keyless = home.run(&["policy", "check", &policy, "--threshold", "1"]).await;
    keyless.assert_failed(1, "--threshold");
}
