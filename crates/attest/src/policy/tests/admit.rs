//! What is refused, and why: from what an honest guest proved, with one claim or one rule changed.

use std::sync::LazyLock;
use std::time::Duration;

use cocoon_primitives::{LeaseId, ModelKind, WalletAddress};

use super::*;
use crate::appraisal::{Appraised, Platform};
use crate::enrol::{Challenge, Claim, OpenChallenge, Presented, Refusal, Workload, WorkloadModel};
use crate::receipt::ReceiptKey;
use crate::softtee::Lab;
use crate::verify::snp::Product;
use crate::verify::{nvidia, snp, tdx};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const MODEL: &str = "tiny-demo";

struct Bench {
    policy: String,
    appraised: Appraised,
}

static TDX: LazyLock<Bench> = LazyLock::new(|| Bench::of(&Lab::new([1; 32]).with_gpus(2)));
static SNP: LazyLock<Bench> =
    LazyLock::new(|| Bench::of(&Lab::new([1; 32]).with_snp([2; 32]).with_gpus(2)));

impl Bench {
    /// An honest guest with two GPUs, enrolled.
    fn of(lab: &Lab) -> Self {
        let text = lab.policy_toml(&[(MODEL, &hex::encode([9; 32]))]);
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let random = [3; 48];
        let open = OpenChallenge::issue(&random, Digest::from_bytes([3; 32]), &policy, NOW);
        let challenge = Challenge::decode(&open.message()).unwrap();
        let workload = Workload {
            image: "any".to_owned(),
            models: vec![WorkloadModel {
                name: MODEL.parse().unwrap(),
                manifest_digest: Digest::from_bytes([9; 32]),
                context_length: 2048,
                engine: "scripted".to_owned(),
                is_demo: true,
                kind: ModelKind::Chat,
                owned_by: "cocoon".to_owned(),
            }],
            gpu_count: 2,
            cc_on: true,
            devtools: false,
        };
        let claim = Claim {
            exporter: &[7; 32],
            tls_spki: b"key",
            receipt_key: &ReceiptKey::from_seed(&[2; 32]),
            hpke_key: [8; 32],
            payee: WalletAddress::new(0, [5; 32]),
            workload: &workload,
        };
        let evidence = lab.answer(&challenge, &claim, NOW);
        let presented = Presented {
            evidence: &evidence,
            exporter: &[7; 32],
            peer_spki: b"key",
            lease_id: LeaseId::from_bytes([4; 16]),
        };
        let (_, appraised) = open.verify(&presented, &policy, NOW).unwrap().into_parts();
        Self { policy: text, appraised }
    }

    /// The verdict on the honest guest by a policy with `from` replaced.
    fn under(&self, from: &str, to: &str) -> Result<Admission, Refusal> {
        assert!(self.policy.contains(from), "{from:?} is not in the policy");
        self.by(&self.policy.replace(from, to))
    }

    fn by(&self, policy: &str) -> Result<Admission, Refusal> {
        Policy::parse(policy.as_bytes()).unwrap().admit(&self.appraised, NOW)
    }

    /// The verdict on a guest that proved something else.
    fn proving(&self, change: impl FnOnce(&mut Appraised)) -> Result<Admission, Refusal> {
        let mut appraised = self.appraised.clone();
        change(&mut appraised);
        Policy::parse(self.policy.as_bytes()).unwrap().admit(&appraised, NOW)
    }

    /// The lines of a policy without those that begin with `start`.
    fn without(&self, start: &str) -> String {
        assert!(self.policy.lines().any(|line| line.starts_with(start)), "no line {start:?}");
        let kept = self.policy.lines().filter(|line| !line.starts_with(start));
        kept.fold(String::new(), |all, line| all + line + "\n")
    }
}

fn code(verdict: Result<Admission, Refusal>) -> &'static str {
    verdict.expect_err("the guest was admitted").code()
}

fn tdx_claims(appraised: &mut Appraised) -> &mut tdx::Claims {
    match &mut appraised.platform {
        Platform::Tdx(claims) => claims,
        Platform::Snp(_) => panic!("not a TDX guest"),
    }
}

fn snp_claims(appraised: &mut Appraised) -> &mut snp::Claims {
    match &mut appraised.platform {
        Platform::Snp(claims) => claims,
        Platform::Tdx(_) => panic!("not an SEV-SNP guest"),
    }
}

/// The section of a policy from its header up to the next one.
fn section<'a>(policy: &'a str, header: &str) -> &'a str {
    let start = policy.find(header).expect("the section is there");
    let length = policy[start + 1..].find("\n[").map_or(policy.len() - start, |end| end + 1);
    &policy[start..start + length]
}

#[test]
fn the_honest_guests_are_admitted_until_their_collateral_ends() {
    for (bench, image) in [(&TDX, "lab"), (&SNP, "lab-snp")] {
        let admission = bench.under("version = 1", "version = 2").unwrap();
        assert_eq!(admission.image, image);
        assert_eq!(admission.until, bench.appraised.collateral_until);
    }
    let with_end = TDX.under("level = 1", "level = 1\nnot_after = \"2027-01-15T09:00:00Z\"");
    assert_eq!(with_end.unwrap().until, Timestamp::from_seconds(1_800_003_600));
}

#[test]
fn a_platform_is_in_the_listed_state() {
    use dcap_qvl::TcbStatus::{OutOfDate, SWHardeningNeeded};
    type Change = fn(&mut tdx::Claims);
    let cases: [(Change, &str); 11] = [
        (|claims| claims.tcb_status = SWHardeningNeeded, "tdx_tcb_status"),
        (|claims| claims.tcb_eval_data_number = 0, "tdx_tcb_evaluation"),
        (|claims| claims.dynamic_platform = Some(true), "tdx_dynamic_platform"),
        (|claims| claims.td_attributes.0[3] ^= 1, "tdx_attributes"),
        (|claims| claims.xfam.0[0] ^= 1, "tdx_xfam"),
        (|claims| claims.mr_seam.0[0] ^= 1, "tdx_mr_seam"),
        (|claims| claims.mr_signer_seam.0[0] ^= 1, "tdx_mr_signer_seam"),
        (|claims| claims.seam_attributes.0[0] ^= 1, "tdx_mr_signer_seam"),
        (|claims| claims.ppid.0[0] ^= 1, "machine_not_listed"),
        (|claims| claims.mr_td.0[0] ^= 1, "image_not_listed"),
        (|claims| claims.rtmr2.0[0] ^= 1, "image_not_listed"),
    ];
    for (change, expected) in cases {
        assert_eq!(code(TDX.proving(|appraised| change(tdx_claims(appraised)))), expected);
    }
    let advisory = TDX.policy.replace("[tdx]", "[tdx]\ndenied_advisories = [\"SA-1\"]");
    let mut appraised = TDX.appraised.clone();
    tdx_claims(&mut appraised).advisories = vec!["SA-1".to_owned()];
    let policy = Policy::parse(advisory.as_bytes()).unwrap();
    assert_eq!(code(policy.admit(&appraised, NOW)), "tdx_advisory");
    // Out of date takes both: the status on the list, and the grace.
    let grace = TDX
        .policy
        .replace("\"UpToDate\"", "\"OutOfDate\"")
        .replace("[tdx]", "[tdx]\nplatform_grace_days = 10");
    let policy = Policy::parse(grace.as_bytes()).unwrap();
    let days = |count: u64| NOW.as_seconds() - count * 24 * 3600;
    let mut old = TDX.appraised.clone();
    tdx_claims(&mut old).tcb_status = OutOfDate;
    tdx_claims(&mut old).tcb_date = days(9);
    assert!(policy.admit(&old, NOW).is_ok());
    tdx_claims(&mut old).tcb_date = days(11);
    assert_eq!(code(policy.admit(&old, NOW)), "tdx_out_of_date");
}

#[test]
fn every_status_of_a_platform_has_the_name_that_policies_use() {
    use dcap_qvl::TcbStatus::*;
    let statuses = [
        UpToDate,
        SWHardeningNeeded,
        ConfigurationNeeded,
        ConfigurationAndSWHardeningNeeded,
        OutOfDate,
        OutOfDateConfigurationNeeded,
        TDRelaunchAdvised,
        TDRelaunchAdvisedConfigurationNeeded,
    ];
    for status in statuses {
        let listed = format!("tcb_status = [\"{status}\"]");
        let text = TDX
            .policy
            .replace("tcb_status = [\"UpToDate\"]", &listed)
            .replace("[tdx]", "[tdx]\nplatform_grace_days = 100000");
        let mut appraised = TDX.appraised.clone();
        tdx_claims(&mut appraised).tcb_status = status;
        assert!(Policy::parse(text.as_bytes()).unwrap().admit(&appraised, NOW).is_ok(), "{status}");
    }
    let revoked = TDX.proving(|appraised| tdx_claims(appraised).tcb_status = Revoked);
    assert_eq!(code(revoked), "tdx_tcb_status");
}

#[test]
fn a_chip_is_in_the_listed_state() {
    type Change = fn(&mut snp::Claims);
    let cases: [(Change, &str); 11] = [
        (|claims| claims.product = Some(Product::Turin), "snp_product"),
        (|claims| claims.product = None, "snp_product"),
        (|claims| claims.reported = None, "snp_reported_tcb"),
        (|claims| claims.reported.as_mut().unwrap().snp -= 1, "snp_reported_tcb"),
        (|claims| claims.committed.as_mut().unwrap().bl -= 1, "snp_committed_tcb"),
        (|claims| claims.launch.as_mut().unwrap().ucode -= 1, "snp_launch_tcb"),
        (|claims| claims.current.as_mut().unwrap().ucode -= 1, "snp_current_tcb"),
        (|claims| claims.platform.alias_check_complete = false, "snp_alias_check"),
        (|claims| claims.crl_checked = false, "snp_revocations"),
        (|claims| claims.chip_id.0[0] ^= 1, "machine_not_listed"),
        (|claims| claims.measurement.0[0] ^= 1, "image_not_listed"),
    ];
    for (change, expected) in cases {
        assert_eq!(code(SNP.proving(|appraised| change(snp_claims(appraised)))), expected);
    }
    let strict = SNP.policy.replace("allow_smt = true", "allow_smt = false");
    let mut appraised = SNP.appraised.clone();
    snp_claims(&mut appraised).smt_allowed = true;
    let policy = Policy::parse(strict.as_bytes()).unwrap();
    assert_eq!(code(policy.admit(&appraised, NOW)), "snp_smt");
}

#[test]
fn a_kind_of_guest_without_rules_is_refused() {
    let section = section(&TDX.policy, "[tdx]").to_owned();
    assert_eq!(code(TDX.under(&section, "")), "tdx_not_allowed");
    let start = SNP.policy.find("[snp]").unwrap();
    let end = SNP.policy.find("[[image]]").unwrap();
    let without = format!("{}{}", &SNP.policy[..start], &SNP.policy[end..]);
    assert_eq!(code(SNP.by(&without)), "snp_not_allowed");
}

#[test]
fn registers_count_together_and_what_a_row_states_is_compared() {
    // Two images that each have half of the registers do not make one.
    let row = section(&TDX.policy, "[[image]]").to_owned();
    let halved = |start: &str, name: &str| {
        let lines = row.lines().map(|line| {
            if line.starts_with(start) {
                let register = line.split(' ').next().unwrap();
                format!("{register} = \"{}\"", "00".repeat(48))
            } else if line.starts_with("name") {
                format!("name = \"{name}\"")
            } else {
                line.to_owned()
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let halves = format!("{}\n\n{}\n", halved("rtmr", "a"), halved("mrtd", "b"));
    assert_eq!(code(TDX.under(&row, &halves)), "image_not_listed");
    for key in ["mr_config_id", "mr_owner", "mr_owner_config"] {
        let stated = format!("{row}{key} = \"{}\"\n", "11".repeat(48));
        assert_eq!(code(TDX.under(&row, &stated)), "image_configuration", "{key}");
    }
    assert_eq!(code(TDX.under("gpus = 2", "gpus = 3")), "image_gpus");
    let both =
        format!("{}\n{row}", row.replace("\"lab\"", "\"one\"").replace("gpus = 2", "gpus = 1"));
    assert_eq!(TDX.under(&row, &both).unwrap().image, "lab");
}

#[test]
fn a_machine_is_listed_for_now_and_well_enough() {
    let past = "level = 1\nnot_after = \"2027-01-15T08:00:00Z\"";
    assert_eq!(code(TDX.under("level = 1", past)), "machine_ended");
    assert_eq!(code(TDX.under("version = 1", "version = 1\nmachine_level = 2")), "machine_level");
    let row = section(&TDX.policy, "[[machine]]").to_owned();
    assert_eq!(code(TDX.under(&row, "")), "machine_not_listed");
    let any = TDX
        .policy
        .replace(&row, "")
        .replace("version = 1", "version = 1\ninsecure_any_machine = true");
    assert!(TDX.by(&any).is_ok());
}

#[test]
fn a_gpu_fits_one_row_as_a_whole() {
    type Change = fn(&mut nvidia::Claims);
    let cases: [(Change, &str); 5] = [
        (
            |gpu| gpu.architecture = Some(nvidia::Architecture::Blackwell),
            "gpu_architecture_not_listed",
        ),
        (|gpu| gpu.driver_version = None, "gpu_driver"),
        (|gpu| gpu.vbios_version = Some("1".to_owned()), "gpu_vbios"),
        (|gpu| gpu.feature_flag = Some(2), "gpu_mode"),
        (|gpu| gpu.measurements[0] = "00".repeat(48), "gpu_measurement"),
    ];
    for (change, expected) in cases {
        assert_eq!(code(TDX.proving(|appraised| change(&mut appraised.devices[1]))), expected);
    }
    let off = TDX.proving(|appraised| appraised.workload.cc_on = false);
    assert_eq!(code(off), "gpu_confidential_computing");
    assert_eq!(code(TDX.proving(|appraised| appraised.workload.devtools = true)), "gpu_devtools");
    assert_eq!(code(TDX.proving(|appraised| appraised.workload.gpu_count = 1)), "image_gpus");
}

#[test]
fn a_model_is_listed_with_its_manifest_and_engine() {
    let other = hex::encode([8; 32]);
    assert_eq!(code(TDX.under(&hex::encode([9; 32]), &other)), "model_manifest");
    assert_eq!(code(TDX.under(MODEL, "other")), "model_not_listed");
    let row = section(&TDX.policy, "[[model]]").to_owned();
    assert_eq!(code(TDX.under(&row, "")), "model_not_listed");
    let engine = |name: &str| format!("{row}engine = \"{name}\"\n");
    assert!(TDX.under(&row, &engine("scripted")).is_ok());
    assert_eq!(code(TDX.under(&row, &engine("another"))), "model_engine");
    let stating = |line: &str| TDX.under(&row, &format!("{row}{line}\n"));
    assert!(stating("context_length = 2048\nkind = \"chat\"").is_ok());
    assert_eq!(code(stating("context_length = 4096")), "model_context_length");
    assert_eq!(code(stating("kind = \"embedding\"")), "model_kind");
    let two = format!("{row}context_length = 1\n\n{row}context_length = 2048\n");
    assert!(TDX.under(&row, &two).is_ok());
    let any = TDX
        .policy
        .replace(&row, "")
        .replace("version = 1", "version = 1\ninsecure_any_model = true");
    assert!(TDX.by(&any).is_ok());
}

#[test]
fn what_is_revoked_is_refused_whatever_else_is_listed() {
    let appraised = &TDX.appraised;
    let ppid = hex::encode(crate::softtee::PPID);
    let cases = [
        (format!("hwid = [\"{ppid}\"]"), "machine_revoked"),
        (format!("gpu_serial = [\"{}\"]", appraised.devices[1].signer_serial), "gpu_revoked"),
        // As tools print them: with the zero of DER in front.
        (format!("gpu_serial = [\"00{}\"]", appraised.devices[1].device_serial), "gpu_revoked"),
        (format!("gpu_serial = [\"{}\"]", appraised.devices[0].chain_serials[2]), "gpu_revoked"),
        ("image = [\"lab\"]".to_owned(), "image_revoked"),
        (format!("model = [\"{MODEL}\"]"), "model_revoked"),
        (format!("model = [\"sha256:{}\"]", hex::encode([9; 32])), "model_revoked"),
        (format!("worker = [\"{}\"]", appraised.worker_id), "worker_revoked"),
    ];
    for (row, expected) in cases {
        assert_eq!(code(TDX.by(&format!("{}\n[revoked]\n{row}\n", TDX.policy))), expected);
    }
    let chip = hex::encode(crate::softtee::CHIP_ID);
    let revoked = format!("{}\n[revoked]\nhwid = [\"{chip}\"]\n", SNP.policy);
    assert_eq!(code(SNP.by(&revoked)), "machine_revoked");
}

#[test]
fn a_guest_under_two_names_is_revoked_with_either() {
    let row = section(&TDX.policy, "[[image]]").to_owned();
    let other = row.replace("\"lab\"", "\"other\"").replace("gpus = 2", "gpus = 1");
    let both = TDX.policy.replace(&row, &format!("{row}\n{other}"));
    assert!(TDX.by(&both).is_ok());
    for name in ["lab", "other"] {
        let revoked = format!("{both}\n[revoked]\nimage = [\"{name}\"]\n");
        assert_eq!(code(TDX.by(&revoked)), "image_revoked", "{name}");
    }
}

#[test]
fn revocation_lists_have_floors() {
    for (key, number) in [("min_root_crl", 0), ("min_pck_crl", 0)] {
        let claims = tdx_claims(&mut TDX.appraised.clone()).clone();
        let held =
            if key == "min_root_crl" { claims.root_crl_number } else { claims.pck_crl_number };
        let floor = |least: u32| TDX.under("[tdx]", &format!("[tdx]\n{key} = {least}"));
        assert!(floor(number).is_ok() && floor(held).is_ok(), "{key}");
        assert_eq!(code(floor(held + 1)), "tdx_revocations_old", "{key}");
    }
    let from = snp_claims(&mut SNP.appraised.clone()).crl_from.unwrap();
    assert_eq!(u64::try_from(from).unwrap(), NOW.as_seconds() - 24 * 3600);
    let earliest = |time: &str| SNP.under("[snp]", &format!("[snp]\nmin_crl_date = \"{time}\""));
    assert!(earliest("2027-01-14T08:00:00Z").is_ok());
    assert_eq!(code(earliest("2027-01-14T08:00:01Z")), "snp_revocations_old");
    let text = SNP.policy.replace("[snp]", "[snp]\nmin_crl_date = \"2020-01-01T00:00:00Z\"");
    let mut undated = SNP.appraised.clone();
    snp_claims(&mut undated).crl_from = None;
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(code(policy.admit(&undated, NOW)), "snp_revocations_old");
}

#[test]
fn another_software_root_ends_what_rested_on_the_one_before() {
    let root = |policy: &str, key: &str| {
        let line = policy.lines().find(|line| line.starts_with(key)).expect("a root");
        line.to_owned()
    };
    let other = Lab::new([77; 32]).with_snp([78; 32]).policy_toml(&[]);
    for (bench, key) in
        [(&TDX, "tdx_root"), (&TDX, "nvidia_root"), (&SNP, "snp_signer"), (&SNP, "nvidia_root")]
    {
        let replaced = bench.under(&root(&bench.policy, key), &root(&other, key));
        assert_eq!(code(replaced), "software_root", "{key}");
        assert_eq!(code(bench.by(&bench.without(key))), "software_root", "{key}");
    }
    // A root that nothing rests on may change.
    assert!(SNP.under(&root(&SNP.policy, "tdx_root"), &root(&other, "tdx_root")).is_ok());
}

#[test]
fn a_policy_and_what_evidence_rests_on_end() {
    let policy = Policy::parse(TDX.policy.as_bytes()).unwrap();
    assert_eq!(code(policy.admit(&TDX.appraised, policy.not_after())), "policy_ended");
    let before = policy.not_after().saturating_sub(Duration::from_millis(1));
    let lasting = Appraised { collateral_until: policy.not_after(), ..TDX.appraised.clone() };
    assert!(policy.admit(&lasting, before).is_ok());
    let late = TDX.appraised.collateral_until;
    assert_eq!(code(policy.admit(&TDX.appraised, late)), "collateral_ended");
}

#[test]
fn software_that_was_admitted_is_not_admitted_by_another_policy() {
    let section = section(&TDX.policy, "[software]").to_owned();
    let plain = TDX.policy.replace(&section, "");
    assert_eq!(code(TDX.by(&plain)), "software_not_allowed");
    let production = plain.replace("\"development\"", "\"production\"");
    assert_eq!(code(TDX.by(&production)), "software_in_production");
}

#[test]
fn parts_are_judged_alone_too() {
    let policy = Policy::parse(TDX.policy.as_bytes()).unwrap();
    let appraised = &TDX.appraised;
    assert_eq!(policy.admit_platform(&appraised.platform, NOW), Ok(None));
    assert_eq!(policy.admit_image(&appraised.platform), Ok("lab"));
    assert_eq!(policy.admit_device(&appraised.devices[0]), Ok(()));
    let empty =
        Policy::parse(TDX.without("drivers").replace("vbios", "drivers = []\nvbios").as_bytes());
    let fault = empty.unwrap().admit_device(&appraised.devices[0]).unwrap_err();
    assert_eq!(fault.code(), "gpu_driver");
}
