use super::*;
use crate::rates::RateLimits;

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
    assert_eq!(config.idempotency, IdempotencyLimits::STANDARD);
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
fn what_is_kept_for_repeats_is_bounded() {
    let with = |settings: &str| format!("{SMALLEST}\n[idempotency]\n{settings}\n");
    let wrong = "keep_hours = 0\nrows_per_account = 0\nanswer_bytes_max = 67108865\n\
                 bytes_per_account = 2\nbytes_total = 1";
    let expected = ["keep_hours", "rows_per_account", "answer_bytes_max", "bytes_total"];
    assert_eq!(fields(&with(wrong)), expected.map(|field| format!("idempotency.{field}")));
    assert_eq!(fields(&with("keep_hours = 169")), ["idempotency.keep_hours"]);
    assert!(matches!(Config::from_toml(&with("keep_days = 1")), Err(ConfigError::Syntax(_))));
    let moved = "keep_hours = 2\nrows_per_account = 3\nanswer_bytes_max = 4\n\
                 bytes_per_account = 5\nbytes_total = 6";
    let expected = IdempotencyLimits {
        keep: std::time::Duration::from_secs(7200),
        rows_per_account: 3,
        answer_bytes_max: 4,
        bytes_per_account: 5,
        bytes_total: 6,
        ..IdempotencyLimits::STANDARD
    };
    assert_eq!(Config::from_toml(&with(moved)).unwrap().idempotency, expected);
}

#[test]
fn limits_are_at_least_one_and_fit_each_other() {
    let with = |limits: &str| format!("{SMALLEST}\n[limits]\n{limits}\n");
    assert_eq!(fields(&with("requests_per_wallet = 0")), ["limits.requests_per_wallet"]);
    let tight = with("body_bytes = 1000\nbody_bytes_in_flight = 999");
    assert_eq!(fields(&tight), ["limits.body_bytes_in_flight"]);
    let limits = Config::from_toml(&tight.replace("999", "1000")).unwrap().limits;
    assert_eq!((limits.body_bytes, limits.body_bytes_in_flight), (1000, 1000));
    let beyond = with("choices = 129\nprompts = 2049\nkeep_alive_ms = 0\ntokens_per_minute = 0");
    let expected = ["tokens_per_minute", "keep_alive_ms", "prompts", "choices"];
    assert_eq!(fields(&beyond), expected.map(|field| format!("limits.{field}")));
    let moved = with(
        "requests_per_minute = 1\nfirst_token_timeout_ms = 2\nidle_stream_timeout_ms = 3\n\
         client_stall_timeout_ms = 4\nmessages = 5\ntools = 0",
    );
    let limits = Config::from_toml(&moved).unwrap().limits;
    let ms = std::time::Duration::from_millis;
    let expected = Limits {
        rates: RateLimits { requests_per_minute: 1, ..Limits::STANDARD.rates },
        first_token_timeout: ms(2),
        idle_stream_timeout: ms(3),
        client_stall_timeout: ms(4),
        messages: 5,
        tools: 0,
        ..Limits::STANDARD
    };
    assert_eq!(limits, expected);
}
