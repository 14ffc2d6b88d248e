//! `cocoon attest verify --policy`: a policy's rules of one kind on top of the vendor's.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cocoon::{Home, Ran};

const AT: &str = "2026-03-01T00:00:00Z";

/// Cocoon's own sample quote, where the folder of vendors' evidence stands beside the repository.
struct Quote {
    home: Home,
    quote: PathBuf,
    collateral: PathBuf,
}

impl Quote {
    fn sample() -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/evidence/tdx");
        if !folder.is_dir() {
            eprintln!("SKIPPED: no folder {} with vendors' evidence", folder.display());
            return None;
        }
        let [quote, collateral] = ["cocoon_quote.dat", "tdx_quote_outdated_collateral.json"]
            .map(|name| folder.join(name));
        Some(Self { home: Home::new(), quote, collateral })
    }

    async fn verify(&self, policy: Option<&str>) -> Ran {
        let utf8 = |path: &Path| path.to_str().expect("paths of tests are UTF-8").to_owned();
        let policy = policy.map(|text| utf8(&self.home.write("policy.toml", text)));
        let (quote, collateral) = (utf8(&self.quote), utf8(&self.collateral));
        let mut arguments = vec!["attest", "verify", &quote, "--kind", "tdx", "--json"];
        arguments.extend(["--collateral", &collateral, "--at", AT]);
        arguments.extend(policy.iter().flat_map(|path| ["--policy", path.as_str()]));
        self.home.run(&arguments).await
    }
}

/// A policy that admits exactly the machine and image of these claims.
fn policy_of(claims: &Value) -> String {
    let claim = |name: &str| claims[name].as_str().expect("a claim in hex");
    format!(
        "schema = 1\nversion = 1\nnot_after = \"2026-06-01T00:00:00Z\"\nmode = \"production\"\n\
         lease_seconds = 600\n\n[tdx]\ntcb_status = [\"UpToDate\"]\nmin_tcb_eval = 18\n\
         allow_dynamic_platform = true\ntd_attributes = \"{}\"\nxfam = [\"{}\"]\nmr_seam = [\"{}\"]\n\n\
         [[image]]\nname = \"sample\"\ntee = \"tdx\"\ngpus = 0\nmrtd = \"{}\"\nrtmr0 = \"{}\"\n\
         rtmr1 = \"{}\"\nrtmr2 = \"{}\"\n\n[[machine]]\nppid = \"{}\"\nlevel = 1\n\n\
         [[model]]\nname = \"m\"\nmanifest = \"{}\"\n",
        claim("td_attributes"),
        claim("xfam"),
        claim("mr_seam"),
        claim("mr_td"),
        claim("rtmr0"),
        claim("rtmr1"),
        claim("rtmr2"),
        claim("ppid"),
        "ab".repeat(32),
    )
}

#[tokio::test]
async fn a_policy_s_rules_hold_on_top_of_the_vendor_s() {
    let Some(quote) = Quote::sample() else { return };
    let vendor = quote.verify(None).await.json();
    assert_eq!(vendor["scope"], "vendor");
    let policy = policy_of(&vendor["claims"]);

    let report = quote.verify(Some(&policy)).await.json();
    assert_eq!((&report["accepted"], &report["scope"]), (&true.into(), &"policy".into()));
    let checks = report["checks"].as_array().unwrap();
    for name in ["policy_in_force", "policy_platform", "policy_image"] {
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        assert_eq!(check["outcome"], "passed", "{name}");
    }

    let ppid = vendor["claims"]["ppid"].as_str().unwrap();
    let rtmr1 = vendor["claims"]["rtmr1"].as_str().unwrap();
    for (changed, code) in [
        (policy.replace("\"UpToDate\"", "\"SWHardeningNeeded\""), "tdx_tcb_status"),
        (policy.replace("min_tcb_eval = 18", "min_tcb_eval = 99"), "tdx_tcb_evaluation"),
        (policy.replace(ppid, &"00".repeat(16)), "machine_not_listed"),
        (policy.replace(rtmr1, &"11".repeat(48)), "image_not_listed"),
        (policy.replace("2026-06-01", "2026-02-01"), "policy_ended"),
        (format!("{policy}\n[revoked]\nhwid = [\"{ppid}\"]\n"), "machine_revoked"),
    ] {
        let ran = quote.verify(Some(&changed)).await;
        ran.assert_failed(2, code);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["accepted"], false, "{code}");
        assert_eq!(report["refusal"]["code"], code);
    }
    quote.verify(Some("schema = 2")).await.assert_failed(1, "is not usable");
}

#[tokio::test]
async fn a_revocation_list_is_for_snp_alone() {
    let home = Home::new();
    let file = home.write("quote", "x");
    let file = file.to_str().unwrap();
    home.run(&["attest", "verify", file, "--kind", "tdx", "--crl", file])
        .await
        .assert_failed(1, "--crl");
}
