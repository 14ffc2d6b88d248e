use super::*;
use crate::rates::RateLimits;

/// The least that a gateway needs to be told; the policy goes where `POLICY` stands.
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
[attestation]
policy = "POLICY"
unsigned_policy = true
"#;

/// A policy that admits nobody.
const POLICY: &str = "schema = 1\nversion = 1\nnot_after = \"2999-01-01T00:00:00Z\"\n";

/// Reads a configuration beside a policy of this mode.
fn config(text: &str, mode: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, format!("{POLICY}mode = \"{mode}\"\n")).unwrap();
    Config::from_toml(&text.replace("POLICY", policy.to_str().unwrap()))
}

fn development(text: &str) -> Result<Config, ConfigError> {
    config(text, "development")
}

fn fields(text: &str) -> Vec<String> {
    match development(text) {
        Err(ConfigError::Problems(problems)) => {
            problems.list().iter().map(|problem| problem.field.clone()).collect()
        }
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn the_smallest_file_has_every_default() {
    let config = development(SMALLEST).unwrap();
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
policy = "no/such/policy.toml"
policy_keys = ["zz"]
policy_threshold = 2
[[model]]
name = "a model"
prompt = 1
cached = 2
completion = 99999999999999999999
"#;
    // A number beyond 64 bits is a matter of syntax, so it is reported alone.
    assert!(matches!(development(text), Err(ConfigError::Syntax(_))));
    let found = fields(&text.replace("99999999999999999999", "1"));
    let expected = [
        "mode",
        "data_dir",
        "api.listen",
        "api.tls_certificate",
        "auth.domains[0]",
        "auth.network",
        "attestation.policy_keys[0]",
        "attestation.policy_threshold",
        "model[0].cached",
        "model[0].name",
    ];
    assert_eq!(found, expected);
}

#[test]
fn production_refuses_what_only_development_may() {
    let text = SMALLEST
        .replace("development", "production")
        .replace("127.0.0.1:0\"", "0.0.0.0:80\"\ninsecure_plaintext = true");
    let found = fields(&text);
    for field in ["api.insecure_plaintext", "auth.network", "attestation.unsigned_policy"] {
        assert!(found.iter().any(|one| one == field), "{field} is missing in {found:?}");
    }
}

#[test]
fn plain_http_off_loopback_must_be_asked_for() {
    let open = SMALLEST.replace("127.0.0.1:0", "0.0.0.0:0");
    assert_eq!(fields(&open), ["api.listen"]);
    let asked = open.replace("0.0.0.0:0\"", "0.0.0.0:0\"\ninsecure_plaintext = true");
    assert!(development(&asked).is_ok());
}

#[test]
fn an_unknown_key_is_an_error_that_names_it() {
    let text = format!("{SMALLEST}\n[telemetry]\notlp = \"http://x\"\n");
    let error = development(&text).unwrap_err().to_string();
    assert!(error.contains("otlp"), "{error}");
}

#[test]
fn the_policy_is_judged_with_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    let text = SMALLEST.replace("POLICY", policy.to_str().unwrap());
    let with = |policy_text: &str| {
        std::fs::write(&policy, policy_text).unwrap();
        let Err(ConfigError::Problems(problems)) = Config::from_toml(&text) else {
            panic!("the policy was accepted: {policy_text}");
        };
        assert!(problems.list().iter().all(|one| one.field == "attestation.policy"));
        problems.list().iter().map(|problem| problem.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(with("schema = ").len(), 1);
    // Every mistake in it is told, not only the first.
    let twice = with(
        &format!("{POLICY}mode = \"development\"\nlease_seconds = 601\n")
            .replace("schema = 1", "schema = 2"),
    );
    assert_eq!(twice.len(), 2, "{twice:?}");
    let other = with(&format!("{POLICY}mode = \"production\"\n"));
    assert_eq!(other, ["its mode is not the gateway's"]);
    std::fs::remove_file(&policy).unwrap();
    let Err(ConfigError::Problems(missing)) = Config::from_toml(&text) else {
        panic!("no policy was needed");
    };
    assert!(missing.list()[0].message.starts_with("failed to read"), "{missing}");
}

#[test]
fn whose_word_the_policy_is_must_be_said() {
    let with = |lines: &str| fields(&SMALLEST.replace("unsigned_policy = true", lines));
    assert_eq!(with(""), ["attestation.policy_keys"]);
    let key = "ab".repeat(32);
    assert_eq!(
        with(&format!("unsigned_policy = true\npolicy_keys = [\"{key}\"]")),
        ["attestation.unsigned_policy"]
    );
    assert_eq!(
        with(&format!("policy_keys = [\"{key}\", \"{key}\"]\npolicy_threshold = 0")),
        ["attestation.policy_keys[1]", "attestation.policy_threshold"]
    );
    // Of two keys it has to be said whether both are needed.
    let other = "cd".repeat(32);
    assert_eq!(
        with(&format!("policy_keys = [\"{key}\", \"{other}\"]")),
        ["attestation.policy_threshold"]
    );
    // There is no file of signatures beside this one.
    assert_eq!(with(&format!("policy_keys = [\"{key}\"]")), ["attestation.policy"]);
}

#[test]
fn a_production_gateway_takes_a_production_policy() {
    let text = SMALLEST
        .replace("development", "production")
        .replace("[auth]", "[auth]\nnetwork = \"-239\"")
        .replace("unsigned_policy = true", "");
    let Err(ConfigError::Problems(problems)) = config(&text, "production") else {
        panic!("production ran without keys");
    };
    assert_eq!(problems.list()[0].field, "attestation.policy_keys");
}

#[test]
fn what_is_kept_for_repeats_is_bounded() {
    let with = |settings: &str| format!("{SMALLEST}\n[idempotency]\n{settings}\n");
    let wrong = "keep_hours = 0\nrows_per_account = 0\nanswer_bytes_max = 67108865\n\
                 bytes_per_account = 2\nbytes_total = 1";
    let expected = ["keep_hours", "rows_per_account", "answer_bytes_max", "bytes_total"];
    assert_eq!(fields(&with(wrong)), expected.map(|field| format!("idempotency.{field}")));
    assert_eq!(fields(&with("keep_hours = 169")), ["idempotency.keep_hours"]);
    assert!(matches!(development(&with("keep_days = 1")), Err(ConfigError::Syntax(_))));
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
    assert_eq!(development(&with(moved)).unwrap().idempotency, expected);
}

#[test]
fn limits_are_at_least_one_and_fit_each_other() {
    let with = |limits: &str| format!("{SMALLEST}\n[limits]\n{limits}\n");
    assert_eq!(fields(&with("requests_per_wallet = 0")), ["limits.requests_per_wallet"]);
    let tight = with("body_bytes = 1000\nbody_bytes_in_flight = 999");
    assert_eq!(fields(&tight), ["limits.body_bytes_in_flight"]);
    let limits = development(&tight.replace("999", "1000")).unwrap().limits;
    assert_eq!((limits.body_bytes, limits.body_bytes_in_flight), (1000, 1000));
    let beyond = with("choices = 129\nprompts = 2049\nkeep_alive_ms = 0\ntokens_per_minute = 0");
    let expected = ["tokens_per_minute", "keep_alive_ms", "prompts", "choices"];
    assert_eq!(fields(&beyond), expected.map(|field| format!("limits.{field}")));
    let moved = with(
        "requests_per_minute = 1\nfirst_token_timeout_ms = 2\nidle_stream_timeout_ms = 3\n\
         client_stall_timeout_ms = 4\nmessages = 5\ntools = 0",
    );
    let limits = development(&moved).unwrap().limits;
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
