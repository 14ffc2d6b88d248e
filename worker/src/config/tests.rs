//! What a worker refuses to start with.

use super::{Config, ConfigError};

fn text(evidence: &str) -> String {
    format!(
        r#"
        mode = "development"
        data_dir = "data"
        gateway = "127.0.0.1:40001"
        gateway_spki_sha256 = "{key}"
        payee = "0:{key}"
        [engine]
        kind = "scripted"
        [evidence]
        {evidence}
        "#,
        key = "ab".repeat(32)
    )
}

fn refusal(text: &str) -> String {
    Config::parse(text).map(|_| ()).expect_err("the file was accepted").to_string()
}

#[test]
fn every_problem_is_reported_at_once() {
    let text = text(r#"kind = "tdx""#)
        .replace("127.0.0.1:40001", "nowhere")
        .replace("\"0:", "\"wallet:")
        .replace("\"scripted\"", "\"scripted\"\npermits = 0\nqueue_timeout_ms = 60000")
        + "[admin]\nlisten = \"9090\"\n";
    let refusal = refusal(&text);
    for part in [
        "gateway is not host:port",
        "payee is not",
        "engine: permits must be at least 1; queue_timeout_ms must be at most 40000",
        "evidence.kind \"tdx\"",
        "admin.listen is not",
    ] {
        assert!(refusal.contains(part), "{part:?} is not in {refusal:?}");
    }
}

#[test]
fn an_unknown_field_is_refused() {
    let text = text(r#"kind = "software""#).replace("payee =", "colour = 1\npayee =");
    assert!(matches!(Config::parse(&text), Err(ConfigError::Form(_))));
}

#[test]
fn production_refuses_software_evidence() {
    let text = text(r#"kind = "software""#).replace("development", "production");
    assert!(refusal(&text).contains("refuses software evidence"));
}

#[cfg(not(feature = "soft-tee"))]
#[test]
fn a_default_build_has_no_software_evidence() {
    let refusal = refusal(&text(r#"kind = "software""#));
    assert!(refusal.contains("is not one that this build has"));
}

#[cfg(feature = "soft-tee")]
mod software {
    use super::*;
    use crate::evidence::software::init_root;

    #[test]
    fn a_root_is_made_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let public = init_root(folder.path()).unwrap();
        assert_eq!(init_root(folder.path()).unwrap(), public);
        let key = folder.path().join("root.key");
        let evidence = format!("kind = \"software\"\nsoftware_root_key = \"{}\"", key.display());
        let config = Config::parse(&text(&evidence)).unwrap();
        assert_eq!(config.gateway, "127.0.0.1:40001");
        let stored = std::fs::read_to_string(folder.path().join("root.pub")).unwrap();
        assert_eq!(stored.trim(), hex::encode(public));
    }

    #[test]
    fn a_missing_or_bad_root_key_is_named() {
        assert!(refusal(&text(r#"kind = "software""#)).contains("software_root_key is missing"));
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("root.key");
        std::fs::write(&key, "zz").unwrap();
        let evidence = format!("kind = \"software\"\nsoftware_root_key = \"{}\"", key.display());
        assert!(refusal(&text(&evidence)).contains("64 hex digits"));
    }
}
