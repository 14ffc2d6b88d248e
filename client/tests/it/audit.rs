//! `cocoon receipt audit`: chains, gaps, forks and copies, from files alone.

use cocoon_attest::receipt::{ReceiptFile, ReceiptSigner};
use cocoon_primitives::RequestId;
use serde_json::Value;

use crate::cocoon::{Home, Ran};
use crate::receipt::{gateway_key, next_file, signer};

/// What each receipt of [`next_file`] charges.
const CHARGE_NANO: u64 = 1550;

struct Folder {
    home: Home,
}

impl Folder {
    fn new() -> Self {
        let home = Home::new();
        std::fs::create_dir(home.path("receipts")).expect("the home is writable");
        Self { home }
    }

    fn put(&self, name: &str, file: &ReceiptFile) {
        let text = serde_json::to_string(file).expect("a receipt is JSON");
        self.home.write(&format!("receipts/{name}.json"), &text);
    }

    async fn audit(&self, rest: &[&str]) -> Ran {
        let folder = self.home.path("receipts");
        let folder = folder.to_str().expect("paths of tests are UTF-8");
        let arguments = [&["receipt", "audit", folder, "--json"], rest].concat();
        self.home.run(&arguments).await
    }

    async fn refused(&self, rest: &[&str], kind: &str) -> Value {
        let ran = self.audit(rest).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        let report: Value = serde_json::from_str(&ran.stdout).expect("output is JSON");
        assert_eq!(report["accepted"], false);
        let findings = report["findings"].as_array().expect("a list");
        assert!(findings.iter().any(|finding| finding["kind"] == kind), "{findings:?}");
        report
    }
}

fn chain_of(signer: &ReceiptSigner, count: u8) -> Vec<ReceiptFile> {
    (0..count).map(|id| next_file(signer, RequestId::from_bytes([id; 16]))).collect()
}

#[tokio::test]
async fn a_whole_chain_is_accepted_with_its_totals() {
    let folder = Folder::new();
    for (at, file) in chain_of(&signer(4), 3).iter().enumerate() {
        folder.put(&at.to_string(), file);
        // A copy counts once.
        folder.put(&format!("{at}-copy"), file);
    }
    folder.home.write("receipts/notes.txt", "no receipt");
    let key = hex::encode(gateway_key().verifying_key().as_bytes());
    let worker = signer(4).worker_id().to_string();
    let rest = ["--complete", "--gateway-key", &key, "--worker", &worker];
    let report = folder.audit(&rest).await.json();
    assert_eq!(report["accepted"], true);
    assert_eq!(report["files"], 6);
    assert_eq!(report["totals"]["receipts"], 3);
    assert_eq!(report["totals"]["charge_nano"], 3 * CHARGE_NANO);
    assert_eq!(report["workers"][0]["last_seq"], 2);
    assert_eq!(report["findings"].as_array().unwrap().len(), 0);
    let path = folder.home.path("receipts");
    let table = folder.home.run(&["receipt", "audit", path.to_str().unwrap()]).await;
    assert!(table.stdout.contains("accepted: 3 requests"), "{table:?}");
}

#[tokio::test]
async fn a_gap_is_other_payers_unless_all_is_said_to_be_here() {
    let folder = Folder::new();
    let files = chain_of(&signer(4), 5);
    folder.put("1", &files[1]);
    folder.put("4", &files[4]);
    let report = folder.audit(&[]).await.json();
    let missing = report["findings"].as_array().unwrap();
    assert_eq!(missing.len(), 2);
    assert_eq!((&missing[0]["first_seq"], &missing[0]["last_seq"]), (&0.into(), &0.into()));
    assert_eq!((&missing[1]["first_seq"], &missing[1]["last_seq"]), (&2.into(), &3.into()));
    folder.refused(&["--complete"], "missing").await;
}

#[tokio::test]
async fn a_fork_and_what_follows_the_wrong_side_are_refused() {
    let folder = Folder::new();
    let (one, other) = (signer(4), signer(4));
    for (at, file) in chain_of(&one, 2).iter().enumerate() {
        folder.put(&format!("one-{at}"), file);
    }
    // The same key started again: its first receipt is another one at place 0.
    folder.put("other-0", &next_file(&other, RequestId::from_bytes([9; 16])));
    folder.refused(&[], "fork").await;

    let broken = Folder::new();
    let other = signer(4);
    broken.put("0", &next_file(&signer(4), RequestId::from_bytes([7; 16])));
    next_file(&other, RequestId::from_bytes([8; 16]));
    broken.put("1", &next_file(&other, RequestId::from_bytes([9; 16])));
    broken.refused(&[], "broken_link").await;
}

#[tokio::test]
async fn two_receipts_of_one_request_are_refused_and_charged_once() {
    let folder = Folder::new();
    let request = RequestId::from_bytes([1; 16]);
    folder.put("one", &next_file(&signer(4), request));
    folder.put("other", &next_file(&signer(5), request));
    let report = folder.refused(&[], "duplicate").await;
    assert_eq!(report["totals"]["charge_nano"], CHARGE_NANO);
}

#[tokio::test]
async fn files_that_prove_nothing_are_refused_by_name() {
    let folder = Folder::new();
    let mut file = next_file(&signer(4), RequestId::from_bytes([1; 16]));
    folder.put("good", &file);
    let other = signer(5).worker_id().to_string();
    folder.refused(&["--worker", &other], "refused").await;
    folder.refused(&["--gateway-key", &"11".repeat(32)], "refused").await;
    file.worker_key = hex::encode([1; 32]);
    folder.put("forged", &file);
    folder.home.write("receipts/empty.json", "");
    let report = folder.refused(&[], "refused").await;
    let codes: Vec<_> = report["findings"].as_array().unwrap().iter().map(|f| &f["code"]).collect();
    assert_eq!(codes, ["unusable", "worker_receipt"]);
    assert_eq!(report["totals"]["receipts"], 1);
    folder.home.run(&["receipt", "audit", "/nowhere"]).await.assert_failed(1, "cannot read");
}
