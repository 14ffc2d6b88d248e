//! `cocoon attest verify`: exit codes, reports, and input that cannot be judged. What each kind of
//! evidence proves is tested where it is verified.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cocoon::Home;

/// A public sample, where the folder of vendors' evidence stands beside the repository.
fn sample(kind: &str, name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/evidence");
    if !folder.is_dir() {
        eprintln!("SKIPPED: no folder {} with vendors' evidence", folder.display());
        return None;
    }
    Some(folder.join(kind).join(name))
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

struct Quote {
    quote: PathBuf,
    collateral: PathBuf,
}

impl Quote {
    fn sample() -> Option<Self> {
        Some(Self {
            quote: sample("tdx", "cocoon_quote.dat")?,
            collateral: sample("tdx", "tdx_quote_outdated_collateral.json")?,
        })
    }

    fn arguments<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["attest", "verify", utf8(&self.quote)];
        arguments.extend(["--kind", "tdx", "--collateral", utf8(&self.collateral)]);
        arguments.extend(rest);
        arguments
    }
}

#[tokio::test]
async fn accepted_evidence_is_0_with_its_claims() {
    let Some(quote) = Quote::sample() else { return };
    let home = Home::new();
    let at = ["--at", "2026-03-01T00:00:00Z"];
    let ran = home.run(&quote.arguments(&at)).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for text in ["tcb status", "UpToDate", "vendor_chain", "accepted (scope: vendor"] {
        assert!(ran.stdout.contains(text), "{text:?} is not in {}", ran.stdout);
    }
    let report = home.run(&quote.arguments(&[at.as_slice(), &["--json"]].concat())).await.json();
    assert_eq!(report["accepted"], true);
    assert_eq!(report["at"], "2026-03-01T00:00:00Z");
    assert_eq!(report["claims"]["ppid"], "ed8ccfd483682eae3651ccf5a224e872");
    assert_eq!(report["checks"][0]["outcome"], "passed");
}

#[tokio::test]
async fn hex_is_read_as_the_bytes_it_stands_for() {
    let Some(mut quote) = Quote::sample() else { return };
    let home = Home::new();
    let text = hex::encode(std::fs::read(&quote.quote).unwrap());
    quote.quote = home.write("quote.hex", &format!("{}\n{}\n", &text[..100], &text[100..]));
    assert_eq!(home.run(&quote.arguments(&["--at", "2026-03-01"])).await.code, 0);
}

#[tokio::test]
async fn refused_evidence_is_2_with_a_code() {
    let Some(quote) = Quote::sample() else { return };
    let home = Home::new();
    let at = ["--at", "2026-03-01", "--json", "--nonce", "00"];
    for (arguments, code) in
        [(&["--at", "2026-07-01", "--json"][..], "collateral_expired"), (&at, "nonce")]
    {
        let ran = home.run(&quote.arguments(arguments)).await;
        ran.assert_failed(2, code);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["accepted"], false);
        assert_eq!(report["refusal"]["code"], code);
        let error: Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(error["error"]["kind"], "evidence");
        assert_eq!(error["error"]["code"], code);
    }
}

#[tokio::test]
async fn what_cannot_be_judged_is_1() {
    let home = Home::new();
    let file = home.write("quote", "not empty");
    let empty = home.write("empty", "");
    let long = home.write("long", &"x".repeat(256 * 1024 + 1));
    let [file, empty, long] = [&file, &empty, &long].map(|path| utf8(path));
    let tdx = ["--kind", "tdx"];
    for (path, arguments, message) in [
        (file, &[][..], "--collateral"),
        (file, &["--collateral", file], "it is not collateral in JSON"),
        (file, &["--collateral", "/nowhere"], "cannot read /nowhere"),
        (file, &["--policy", file], "is not usable"),
        (file, &["--nonce", "xyz"], "--nonce"),
        (file, &["--nonce", ""], "--nonce"),
        (file, &["--at", "yesterday"], "--at"),
        (empty, &[], "it is empty"),
        (long, &[], "more than 262144 bytes"),
        ("/nowhere", &[], "cannot read /nowhere"),
    ] {
        let arguments = [&["attest", "verify", path], tdx.as_slice(), arguments].concat();
        home.run(&arguments).await.assert_failed(1, message);
    }
    home.run(&["attest", "verify", file]).await.assert_failed(1, "--kind");
}

/// The exit code, the report and the refusal's code of `attest verify` on samples.
async fn judge(kind: &str, file: &str, rest: &[&str], collateral: Option<&str>) -> Option<Judged> {
    let file = sample(kind, file)?;
    let collateral = collateral.and_then(|name| sample(kind, name));
    let mut arguments = vec!["attest", "verify", utf8(&file), "--kind", kind, "--json"];
    arguments.extend(rest);
    if let Some(path) = &collateral {
        arguments.extend(["--collateral", utf8(path)]);
    }
    let ran = Home::new().run(&arguments).await;
    let report = serde_json::from_str(&ran.stdout).unwrap_or_default();
    Some(Judged { code: ran.code, report, stderr: ran.stderr })
}

struct Judged {
    code: i32,
    report: Value,
    stderr: String,
}

const AT: [&str; 2] = ["--at", "2026-11-22"];

#[tokio::test]
async fn a_report_of_snp_is_judged_with_its_chip_s_certificate() {
    let genoa = judge("snp", "ar_live-report-v5-genoa.bin", &AT, Some("ar_live-vcek-genoa.der"));
    let Some(genoa) = genoa.await else { return };
    assert_eq!(genoa.code, 0, "{} {}", genoa.report, genoa.stderr);
    let milan = judge("snp", "report_milan.hex", &AT, Some("vcek_milan.der")).await.unwrap();
    assert_eq!(milan.code, 2, "{}", milan.stderr);
    assert_eq!(milan.report["refusal"]["code"], "milan");
    let checks = milan.report["checks"].as_array().unwrap();
    let signature = checks.iter().find(|check| check["name"] == "signature").unwrap();
    assert_eq!(signature["outcome"], "passed");
    // "hello-attestation"
    let data = "68656c6c6f2d6174746573746174696f6e";
    for (nonce, code) in [(data, 0), ("00", 2)] {
        let nonce = [AT.as_slice(), &["--nonce", nonce]].concat();
        let file = "ar_live-report-v5-genoa.bin";
        let bound = judge("snp", file, &nonce, Some("ar_live-vcek-genoa.der")).await.unwrap();
        assert_eq!(bound.code, code, "{}", bound.stderr);
        assert_eq!(bound.report["accepted"], code == 0);
    }
}

#[tokio::test]
async fn nvidia_devices_are_judged_alone_and_together() {
    let alone =
        judge("nvidia", "hopperAttestationReport.txt", &AT, Some("hopperCertChain.txt")).await;
    let Some(alone) = alone else { return };
    assert_eq!(alone.code, 0, "{} {}", alone.report, alone.stderr);
    let four = judge("nvidia", "multi_gpu_hopper.json", &AT, None).await.unwrap();
    assert_eq!(four.code, 0, "{} {}", four.report, four.stderr);
    assert_eq!(four.report["devices"].as_array().unwrap().len(), 4);
    let other = "00".repeat(32);
    let nonce = [AT.as_slice(), &["--nonce", &other]].concat();
    let stale = judge("nvidia", "multi_gpu_hopper.json", &nonce, None).await.unwrap();
    assert_eq!(stale.code, 2, "{}", stale.stderr);
    assert_eq!(stale.report["accepted"], false);
    assert!(stale.stderr.contains("\"nonce\""), "{}", stale.stderr);
    let short = [AT.as_slice(), &["--nonce", "00"]].concat();
    let short = judge("nvidia", "multi_gpu_hopper.json", &short, None).await.unwrap();
    assert_eq!(short.code, 1, "{}", short.stderr);
    let forged = "hopperAttestationReportInvalidSignature.txt";
    let forged = judge("nvidia", forged, &AT, Some("hopperCertChain.txt")).await.unwrap();
    assert_ne!(forged.code, 0, "{}", forged.report);
}
