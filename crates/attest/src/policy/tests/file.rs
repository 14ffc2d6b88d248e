//! The file: what is read, and every mistake in it.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn errors(text: &str) -> Vec<PolicyError> {
    Policy::parse(text.as_bytes()).expect_err("the policy was read")
}

/// The fields that are refused in the honest file with `from` replaced.
fn fields(from: &str, to: &str) -> Vec<String> {
    let text = production();
    assert!(text.contains(from), "{from:?} is not in the file");
    let fields = errors(&text.replace(from, to)).into_iter().map(|error| match error {
        PolicyError::Field { field, .. } => field,
        other => other.code().to_owned(),
    });
    fields.collect()
}

#[test]
fn a_whole_policy_is_read() {
    let policy = Policy::parse(production().as_bytes()).unwrap();
    assert_eq!(policy.version(), 7);
    assert_eq!(policy.mode(), Mode::Production);
    assert_eq!(policy.not_after(), Timestamp::from_seconds(1_801_440_000));
    assert_eq!(policy.lease_life(), Duration::from_secs(300));
    assert_eq!(policy.full_renewal(), Duration::from_secs(1800));
    assert_eq!(policy.on_revocation(), OnRevocation::Cut);
    assert_eq!((policy.images().len(), policy.machines().len()), (2, 2));
    assert_eq!(policy.gpus()[0].vbios, ["96.00.74.00.1A"]);
    assert_eq!(policy.revoked().gpu_serials, ["0a0b"]);
    assert_eq!(policy.revoked().model_names.len(), 1);
    assert_eq!(policy.revoked().manifests.len(), 1);
    assert!(policy.insecure().is_empty() && !policy.allows_software());
}

#[test]
fn serial_numbers_are_read_without_zeros_in_front_and_short_hex_is_a_name() {
    let text = production().replace("\"0A0B\"", "\"00000A0B\"");
    let text = text.replace("\"bad-model\"", "\"deadbeef\"");
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(policy.revoked().gpu_serials, ["0a0b"]);
    assert_eq!(policy.revoked().model_names[0].as_str(), "deadbeef");
}

/// The page says `<96 hex digits>` where a real file has them.
#[test]
fn the_example_of_the_manual_is_read() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.split("## For production").nth(1).unwrap();
    let mut example = example.split("```").nth(1).unwrap().trim_start_matches("toml").to_owned();
    for digits in [32, 64, 96] {
        let stand_in = format!("<{digits} hex digits>");
        assert!(example.contains(&stand_in), "{stand_in} is not in the example");
        example = example.replace(&stand_in, &"a".repeat(digits));
    }
    let policy = Policy::parse(example.as_bytes()).unwrap();
    assert_eq!((policy.mode(), policy.models().len()), (Mode::Production, 1));
}

#[test]
fn what_is_left_out_has_its_default_and_admits_nothing() {
    let text =
        "schema = 1\nversion = 1\nnot_after = \"2027-01-01T00:00:00Z\"\nmode = \"production\"";
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(policy.lease_life(), Duration::from_secs(600));
    assert_eq!(policy.full_renewal(), Duration::from_secs(3600));
    assert_eq!(policy.on_revocation(), OnRevocation::Finish);
    assert!(policy.tdx().is_none() && policy.snp().is_none());
    assert!(policy.images().is_empty() && policy.models().is_empty());
}

#[test]
fn each_mistake_names_its_field() {
    let cases = [
        ("schema = 1", "schema = 2", "schema"),
        ("version = 7", "version = 0", "version"),
        ("\"2027-02-01T00:00:00Z\"", "\"tomorrow\"", "not_after"),
        ("\"production\"", "\"lax\"", "mode"),
        ("lease_seconds = 300", "lease_seconds = 601", "lease_seconds"),
        ("full_renewal_seconds = 1800", "full_renewal_seconds = 59", "full_renewal_seconds"),
        ("\"cut\"", "\"wait\"", "on_revocation"),
        ("\"SWHardeningNeeded\"", "\"Revoked\"", "tdx.tcb_status[1]"),
        ("\"0000001000000000\"", "\"00\"", "tdx.td_attributes"),
        ("\"e702060000000000\"", "\"e7\"", "tdx.xfam[0]"),
        ("mr_seam = [\"abab", "mr_seam = [\"zzab", "tdx.mr_seam[0]"),
        ("\"INTEL-SA-00001\"", "\"\"", "tdx.denied_advisories[0]"),
        ("\"Genoa\", \"Turin\"", "\"Genoa\", \"Milan\"", "snp.products[1]"),
        ("\"Genoa\", \"Turin\"", "\"Turin\"", "snp.min_tcb.Genoa"),
        ("fmc = 1, ", "", "snp.min_tcb.Turin.fmc"),
        ("[snp]\n", "[snp]\nallow_vlek = true\n", "snp.allow_vlek"),
        ("\"worker-snp\"", "\"worker-tdx\"", "image[1].name"),
        ("tee = \"snp\"", "tee = \"sgx\"", "image[1].tee"),
        ("measurement = \"ab", "measurement = \"b", "image[1].measurement"),
        ("\"HOPPER\"", "\"hopper\"", "gpu[0].arch"),
        ("[\"SPT\"]", "[\"ON\"]", "gpu[0].mode[0]"),
        ("golden = { 0 =", "golden = { 00 =", "gpu[0].golden.00"),
        ("\"580.95.05\"", "\"\"", "gpu[0].drivers[0]"),
        ("\"qwen3-32b\"", "\"qwen 3\"", "model[0].name"),
        ("manifest = \"sha256:cd", "manifest = \"sha256:d", "model[0].manifest"),
        ("engine = \"mistral.rs\"", "engine = \"\"", "model[0].engine"),
        ("level = 3", "level = 10", "machine[1].level"),
        ("\"2026-12-31T00:00:00Z\"", "\"2026\"", "machine[0].not_after"),
        ("ppid = \"ab", "ppid = \"b", "machine[0].ppid"),
        ("hwid = [\"cd", "hwid = [\"", "revoked.hwid[0]"),
        ("\"0A0B\"", "\"0A0\"", "revoked.gpu_serial[0]"),
        ("\"worker-old\"", "\"\"", "revoked.image[0]"),
        ("\"bad-model\"", "\"bad model\"", "revoked.model[0]"),
        ("\"bad-model\"", "\"sha256:cdcd\"", "revoked.model[0]"),
        ("\"bad-model\"", "\"SHA256:bad-model\"", "revoked.model[0]"),
        ("\"bad-model\"", "\"0123456789abcdef0123456789ABCDEF\"", "revoked.model[0]"),
        ("\"0A0B\"", "\"0000\"", "revoked.gpu_serial[0]"),
        ("\"wrk_cd", "\"wrk_", "revoked.worker[0]"),
        ("[snp]\n", "[snp]\nmin_crl_date = \"today\"\n", "snp.min_crl_date"),
        ("engine = \"mistral.rs\"", "kind = \"image\"", "model[0].kind"),
    ];
    for (from, to, field) in cases {
        assert!(fields(from, to).contains(&field.to_owned()), "{to:?}: {:?}", fields(from, to));
    }
}

#[test]
fn registers_of_another_kind_are_refused_and_missing_ones_too() {
    assert_eq!(fields("tee = \"tdx\"", "tee = \"snp\"").len(), 5);
    assert_eq!(fields("tee = \"snp\"", "tee = \"tdx\"").len(), 5);
    let chip = format!("chip_id = \"{}\"", "ab".repeat(64));
    assert_eq!(fields(&chip, ""), ["machine[1]"]);
    assert_eq!(fields(&chip, &format!("ppid = \"{}\"", "ab".repeat(16))), ["machine[1]"]);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = production()
        .replace("schema = 1", "schema = 9")
        .replace("lease_seconds = 300", "lease_seconds = 0")
        .replace("\"HOPPER\"", "\"VOLTA\"");
    assert_eq!(errors(&text).len(), 3);
}

#[test]
fn an_unknown_key_anywhere_is_an_error() {
    let text = production();
    for (at, key) in [
        ("version = 7", "colour = 1"),
        ("[tdx]", "min_tcb_evaluation = 1"),
        ("[snp]", "vlek = true"),
        ("[[image]]", "rtmr3 = \"00\""),
        ("[[gpu]]", "ocsp = \"required\""),
        ("[[model]]", "digest = \"00\""),
        ("[[machine]]", "serial = \"1\""),
        ("[revoked]", "machines = []"),
    ] {
        let found = errors(&text.replacen(at, &format!("{at}\n{key}"), 1));
        assert!(matches!(found.as_slice(), [PolicyError::Shape(_)]), "{key:?}: {found:?}");
    }
    assert!(matches!(errors("schema = 1").as_slice(), [PolicyError::Shape(_)]));
    assert_eq!(Policy::parse(&[0xff]).unwrap_err()[0].code(), "policy_shape");
    assert_eq!(errors(&"#".repeat(POLICY_BYTES_MAX + 1)), [PolicyError::TooLarge]);
}

#[test]
fn production_refuses_every_switch_of_development() {
    let text = production();
    let software = "[software]\ninsecure_allow = false\n\n[tdx]";
    let expected = if cfg!(feature = "soft-tee") {
        vec![PolicyError::InsecureInProduction("[software]")]
    } else {
        vec![PolicyError::InsecureInProduction("[software]"), PolicyError::SoftwareNotBuilt]
    };
    assert_eq!(errors(&text.replace("[tdx]", software)), expected);
    for switch in ["insecure_any_model", "insecure_any_machine"] {
        let lax = text.replace("version = 7", &format!("version = 7\n{switch} = true"));
        assert_eq!(errors(&lax), [PolicyError::InsecureInProduction(switch)]);
        assert!(Policy::parse(lax.replace("\"production\"", "\"development\"").as_bytes()).is_ok());
    }
}

#[cfg(not(feature = "soft-tee"))]
#[test]
fn a_default_build_refuses_software_at_start_and_at_enrolment() {
    use crate::appraisal::software_allowed;
    use crate::enrol::SoftwareFault;
    let text = production().replace("\"production\"", "\"development\"");
    let software = text.replace("[tdx]", "[software]\ninsecure_allow = true\n\n[tdx]");
    assert_eq!(errors(&software), [PolicyError::SoftwareNotBuilt]);
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(software_allowed(&policy), Err(SoftwareFault::NotBuilt));
}

#[cfg(feature = "soft-tee")]
#[test]
fn a_root_must_say_of_itself_that_it_is_software() {
    use base64::Engine as _;
    let lab = crate::softtee::Lab::new([1; 32]);
    let text = lab.policy_toml(&[]);
    assert!(Policy::parse(text.as_bytes()).is_ok());
    let label = crate::softtee::LABEL.as_bytes();
    let mut root = lab.soft_tee().tdx_root();
    while let Some(at) = root.windows(label.len()).position(|window| window == label) {
        root[at] = b'X';
    }
    let encode = |der| base64::engine::general_purpose::STANDARD.encode(der);
    let plain = text.replace(&encode(lab.soft_tee().tdx_root()), &encode(root));
    assert!(errors(&plain)[0].to_string().contains("software.tdx_root"));
    let garbage = text.replace(&encode(lab.soft_tee().nvidia_root()), "AAAA");
    assert!(errors(&garbage)[0].to_string().contains("software.nvidia_root"));
}

#[test]
fn nothing_older_follows_and_nothing_else_under_the_same_version() {
    let policy = Policy::parse(production().as_bytes()).unwrap();
    let seen = policy.seen();
    assert_eq!(policy.supersedes(None), Ok(()));
    assert_eq!(policy.supersedes(Some(seen)), Ok(()));
    assert_eq!(policy.supersedes(Some(Seen { version: 6, ..seen })), Ok(()));
    let rollback = policy.supersedes(Some(Seen { version: 8, ..seen }));
    assert_eq!(rollback.unwrap_err().code(), "policy_rollback");
    let other = Seen { digest: Digest::from_bytes([0; 32]), ..seen };
    assert_eq!(policy.supersedes(Some(other)).unwrap_err().code(), "policy_same_version");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,300}") {
        let _ = Policy::parse(text.as_bytes());
    }

    #[test]
    fn a_changed_file_never_panics_and_has_another_digest(at in 0_usize..1500, byte: u8) {
        let mut file = production().into_bytes();
        let at = at % file.len();
        prop_assume!(file[at] != byte);
        let honest = signed_hash(&file);
        file[at] = byte;
        prop_assert_ne!(signed_hash(&file), honest);
        let _ = Policy::parse(&file);
    }
}
