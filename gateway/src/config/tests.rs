use super::*;

/// The least that a gateway needs to be told.
const SMALLEST: &str = r#"
mode = "development"
data_dir = "data"
[api]
listen = "127.0.0.1:0"
[auth]
domains = ["localhost"]
[[model]]
name = "tiny-demo"
prompt = 50
completion = 200
"#;

fn fields(text: &str) -> Vec<String> {
    match Config::from_toml(text) {
        Err(ConfigError::Problems(problems)) => {
            problems.list().iter().map(|problem| problem.field.clone()).collect()
        }
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn the_smallest_file_has_every_default() {
    let config = Config::from_toml(SMALLEST).unwrap();
    assert_eq!(config.mode, Mode::Development);
    assert_eq!(config.auth.network, Network::Testnet);
    assert_eq!(config.limits, Limits::STANDARD);
    let price = config.prices.row(&"tiny-demo".parse().unwrap()).unwrap();
    assert_eq!(price.row.cached, price.row.prompt);
    assert!(config.prices.row(&"other".parse().unwrap()).is_none());
}

#[test]
fn every_problem_is_reported_at_once() {
    let text = r#"
mode = "prod"
data_dir = ""
[api]
listen = "8080"
tls_key = "key.pem"
[auth]
domains = ["https://example.com/"]
network = "1"
[attestation]
software_roots = ["zz"]
lease_seconds = 601
[[model]]
name = "a model"
prompt = 1
cached = 2
completion = 99999999999999999999
"#;
    // A number beyond 64 bits is a matter of syntax, so it is reported alone.
    assert!(matches!(Config::from_toml(text), Err(ConfigError::Syntax(_))));
    let found = fields(&text.replace("99999999999999999999", "1"));
    let expected = [
        "mode",
        "data_dir",
        "api.listen",
        "api.tls_certificate",
        "auth.domains[0]",
        "auth.network",
        "attestation.software_roots[0]",
        "attestation.lease_seconds",
        "model[0].cached",
        "model[0].name",
    ];
    assert_eq!(found, expected);
}

#[test]
fn production_refuses_what_only_development_may() {
    let text = SMALLEST
        .replace("development", "production")
        .replace("127.0.0.1:0\"", "0.0.0.0:80\"\ninsecure_plaintext = true")
        + "[attestation]\ninsecure_allow_software_tee = true\nsoftware_roots = [\"00\"]\n";
    let found = fields(&text);
    for field in
        ["api.insecure_plaintext", "auth.network", "attestation.insecure_allow_software_tee"]
    {
        assert!(found.iter().any(|one| one == field), "{field} is missing in {found:?}");
    }
}

#[test]
fn plain_http_off_loopback_must_be_asked_for() {
    let open = SMALLEST.replace("127.0.0.1:0", "0.0.0.0:0");
    assert_eq!(fields(&open), ["api.listen"]);
    let asked = open.replace("0.0.0.0:0\"", "0.0.0.0:0\"\ninsecure_plaintext = true");
    assert!(Config::from_toml(&asked).is_ok());
}

#[test]
fn an_unknown_key_is_an_error_that_names_it() {
    let text = format!("{SMALLEST}\n[telemetry]\notlp = \"http://x\"\n");
    let error = Config::from_toml(&text).unwrap_err().to_string();
    assert!(error.contains("otlp"), "{error}");
}

#[test]
fn software_evidence_is_a_matter_of_the_build() {
    let root = "ab".repeat(32);
    let text = format!(
        "{SMALLEST}\n[attestation]\ninsecure_allow_software_tee = true\nsoftware_roots = [\"{root}\"]\n"
    );
    if cfg!(feature = "soft-tee") {
        assert!(Config::from_toml(&text).unwrap().policy.allows_software());
    } else {
        assert_eq!(fields(&text), ["attestation.insecure_allow_software_tee"]);
    }
}

#[test]
fn the_models_of_workers_may_be_pinned() {
    let digest = "cd".repeat(32);
    let with = |models: &str| format!("{SMALLEST}\n[attestation]\nmodels = {models}\n");
    let any = Config::from_toml(SMALLEST).unwrap().policy.digest();
    let pin = with(&format!("[{{ name = \"tiny-demo\", manifest_digest = \"{digest}\" }}]"));
    assert_ne!(Config::from_toml(&pin).unwrap().policy.digest(), any);
    // An empty list admits nobody: that is a mistake, not a wish.
    assert_eq!(fields(&with("[]")), ["attestation.models"]);
}

#[test]
fn limits_are_at_least_one_and_fit_each_other() {
    let with = |limits: &str| format!("{SMALLEST}\n[limits]\n{limits}\n");
    assert_eq!(fields(&with("requests_per_wallet = 0")), ["limits.requests_per_wallet"]);
    let tight = with("body_bytes = 1000\nbody_bytes_in_flight = 999");
    assert_eq!(fields(&tight), ["limits.body_bytes_in_flight"]);
    let limits = Config::from_toml(&tight.replace("999", "1000")).unwrap().limits;
    assert_eq!((limits.body_bytes, limits.body_bytes_in_flight), (1000, 1000));
}
