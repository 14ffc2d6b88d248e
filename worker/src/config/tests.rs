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
    let text = text(r#"kind = "nitro""#)
        .replace("127.0.0.1:40001", "nowhere")
        .replace("\"0:", "\"wallet:")
        .replace("\"scripted\"", "\"scripted\"\npermits = 0\nqueue_timeout_ms = 60000")
        + "[admin]\nlisten = \"9090\"\n";
    let refusal = refusal(&text);
    for part in [
        "gateway is not host:port",
        "payee is not",
        "engine: permits must be at least 1; queue_timeout_ms must be at most 40000",
        "evidence.kind \"nitro\"",
        "admin.listen is not",
    ] {
        assert!(refusal.contains(part), "{part:?} is not in {refusal:?}");
    }
}

#[test]
fn every_engine_and_every_limit_is_checked() {
    let engines = "[[engine]]\nkind = 'scripted'\nname = 'a'\n\
         [[engine]]\nkind = 'mistralrs'\npermits = 0\n\
         [[engine]]\nkind = 'mistralrs'\nname = 'a'\ncontext_length = 0\n\
         [[engine]]\nkind = 'scripted'\nname = 'tiny-demo'\ndimensions = 0\n\
         [limits]\ntools_max = 0\nstops_max = 17\nembedding_inputs_max = 2049\n[evidence]";
    let one = "[engine]\n        kind = \"scripted\"\n        [evidence]";
    let text = text(r#"kind = "nitro""#).replace(one, engines);
    let refusal = refusal(&text);
    for part in [
        "engine: [[engine]] 2: permits must be at least 1",
        "engine: [[engine]] 3: context_length must be at least 1",
        "engine: [[engine]] 3: the model a is served twice",
        "engine: [[engine]] 4: dimensions must be at least 1",
        "engine: [[engine]] 4: the model tiny-demo is served twice",
        "limits.tools_max must be at least 1",
        "limits.stops_max must be at most 16",
        "limits.embedding_inputs_max must be at most 2048",
        "evidence.kind \"nitro\"",
    ] {
        assert!(refusal.contains(part), "{part:?} is not in {refusal:?}");
    }
}

#[test]
fn a_wrong_field_of_an_engine_is_named() {
    for head in ["[engine]", "[[engine]]"] {
        let text = text(r#"kind = "software""#).replace("[engine]", &format!("{head}\ncolour = 1"));
        let Err(ConfigError::Form(error)) = Config::parse(&text) else {
            panic!("{head}: accepted")
        };
        assert!(error.message().contains("unknown field `colour`"), "{head}: {error}");
    }
    let none = text(r#"kind = "software""#).replace("payee =", "engine = []\npayee =");
    let none = none.replace("[engine]\n        kind = \"scripted\"\n", "");
    assert!(refusal(&none).contains("engine: there must be 1 to 16 of them"));
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

#[test]
fn hardware_is_taken_in_every_mode_and_its_settings_are_checked() {
    use crate::evidence::EvidenceSource;
    let tdx = "kind = 'tdx'\ntdx_collateral = '/etc/collateral.json'\ngpus = 8";
    for mode in ["development", "production"] {
        let config = Config::parse(&text(tdx).replace("development", mode)).unwrap();
        assert!(matches!(config.evidence, EvidenceSource::Tdx(_)));
        let config = Config::parse(&text("kind = 'snp'").replace("development", mode)).unwrap();
        assert!(matches!(config.evidence, EvidenceSource::Snp(_)));
    }
    let wrong = "kind = 'tdx'\nsnp_vcek = 'v'\nsoftware_tee = 's'\ngpus = 33";
    let refusal = refusal(&text(wrong));
    for part in [
        "evidence.snp_vcek is not for kind = \"tdx\"",
        "evidence.software_tee is not for kind = \"tdx\"",
        "evidence.gpus must be at most 32",
        "evidence.tdx_collateral is missing",
    ] {
        assert!(refusal.contains(part), "{part:?} is not in {refusal:?}");
    }
}

#[test]
fn production_takes_nothing_that_decides_what_runs() {
    let evidence = "kind = 'tdx'\ntdx_collateral = '/etc/c'\ntsm_reports = '/tmp/r'\n\
         tdx_measurements = '/tmp/m'\npci_devices = '/tmp/p'";
    let engine = "[engine]\nkind = 'mistralrs'\nengine_bin = '/tmp/engine'";
    let development = text(evidence).replace("[engine]\n        kind = \"scripted\"", engine);
    assert!(Config::parse(&development).is_ok());
    let refusal = refusal(&development.replace("development", "production"));
    for part in [
        "engine: engine_bin is for mode = \"development\"",
        "takes no evidence.tsm_reports but /sys/kernel/config/tsm/report",
        "takes no evidence.tdx_measurements but /sys/devices/virtual/misc/tdx_guest/measurements",
        "takes no evidence.pci_devices but /sys/bus/pci/devices",
    ] {
        assert!(refusal.contains(part), "{part:?} is not in {refusal:?}");
    }
    let usual = development
        .replace("/tmp/r", "/sys/kernel/config/tsm/report")
        .replace("/tmp/m", "/sys/devices/virtual/misc/tdx_guest/measurements")
        .replace("/tmp/p", "/sys/bus/pci/devices");
    let own = std::env::current_exe().unwrap().with_file_name("cocoon-engine");
    let usual = usual.replace("/tmp/engine", &own.display().to_string());
    assert!(Config::parse(&usual.replace("development", "production")).is_ok());
}

#[test]
fn engines_are_read_before_there_is_a_gateway() {
    let engines = super::parse_engines("data_dir = 'data'\n[engine]\nkind = 'mistralrs'").unwrap();
    assert_eq!(engines[0].name().unwrap().as_str(), "tiny-demo");
    assert!(super::parse_engines(&text("kind = 'nitro'")).is_ok());
    let refused = super::parse_engines("data_dir = 'd'\n[engine]\nkind = 'scripted'\npermits = 0");
    assert!(matches!(refused, Err(ConfigError::Invalid(_))));
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
    use crate::engine::EngineConfig;
    use crate::evidence::software::{InitOptions, init};
    use crate::serve::Limits;

    #[test]
    fn a_software_tee_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), InitOptions { gpus: 0, has_snp: false }).unwrap();
        let evidence = format!("kind = 'software'\nsoftware_tee = '{}'", folder.path().display());
        let config = Config::parse(&text(&evidence)).unwrap();
        assert_eq!(config.gateway, "127.0.0.1:40001");
        assert_eq!((config.engines.len(), config.limits), (1, Limits::STANDARD));

        let two = "[limits]\ntools_max = 7\n[[engine]]\nkind = 'mistralrs'\n\
                   [[engine]]\nkind = 'mistralrs'\nmodel = 'demo-embed'";
        let text = text(&evidence).replace("[engine]\n        kind = \"scripted\"", two);
        let config = Config::parse(&text).unwrap();
        let names = config.engines.iter().filter_map(EngineConfig::name);
        let names: Vec<_> = names.map(|name| name.to_string()).collect();
        assert_eq!(names, ["tiny-demo", "tiny-embed"]);
        assert_eq!(config.limits, Limits { tools_max: 7, ..Limits::STANDARD });
        assert!(
            refusal(&text.replace("[evidence]", "[evidence]\ntee = 'snp'")).contains("snp.key")
        );
        let other = text.replace("[evidence]", "[evidence]\ntee = 'nitro'");
        assert!(refusal(&other).contains("evidence.tee is neither"));
    }

    #[test]
    fn a_missing_or_bad_seed_is_named() {
        assert!(refusal(&text(r#"kind = "software""#)).contains("software_tee is missing"));
        let folder = tempfile::tempdir().unwrap();
        let evidence = format!("kind = 'software'\nsoftware_tee = '{}'", folder.path().display());
        assert!(refusal(&text(&evidence)).contains("failed to read or write seed.key"));
        std::fs::write(folder.path().join("seed.key"), "zz").unwrap();
        assert!(refusal(&text(&evidence)).contains("seed.key does not hold a key"));
    }
}
