//! `cocoon receipt verify`, offline.

use cocoon_attest::receipt::{
    Finish, LeaseFacts, Opening, PriceRow, ReceiptDraft, ReceiptFile, ReceiptFileParts, ReceiptKey,
    ReceiptSigner, SignedReceipt, Terms, Usage, batch,
};
use cocoon_primitives::{
    Assurance, Digest, LeaseId, Nano, RequestId, Timestamp, TokenPrice, WalletAddress,
};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use crate::cocoon::Home;

/// 10 fresh prompt tokens, 2 cached ones and 5 generated ones, at 50, 25 and 200 nano each.
const CHARGE_NANO: u64 = 10 * 50 + 2 * 25 + 5 * 200;

pub(crate) fn gateway_key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn price(nano_per_token: u64) -> TokenPrice {
    TokenPrice::per_million(Nano::new(nano_per_token * 1_000_000).expect("a small price"))
}

/// A worker that signs receipts one after the other.
pub(crate) fn signer(seed: u8) -> ReceiptSigner {
    let digest = Digest::from_bytes([1; 32]);
    ReceiptKey::from_seed(&[seed; 32]).signer(LeaseFacts {
        lease_id: LeaseId::from_bytes([1; 16]),
        evidence_digest: digest,
        policy_digest: digest,
        assurance: Assurance::Software,
    })
}

/// A receipt as a gateway hands it out: third of a batch of five.
pub(crate) fn receipt_file(request_id: RequestId) -> ReceiptFile {
    next_file(&signer(4), request_id)
}

/// The next receipt of a worker.
pub(crate) fn next_file(signer: &ReceiptSigner, request_id: RequestId) -> ReceiptFile {
    let digest = Digest::from_bytes([1; 32]);
    let terms = Terms {
        pay_commit: [2; 32],
        price: PriceRow { prompt: price(50), cached: price(25), completion: price(200) },
        registry_version: 0,
        payee: WalletAddress::new(0, [3; 32]),
        commission_bp: 1000,
        max_prompt_tokens: 100,
        max_completion_tokens: 10,
        not_after: Timestamp::from_seconds(1_790_000_100),
    };
    countersigned(
        &signer.sign(ReceiptDraft {
            request_id,
            attempt: 1,
            chat_id: "chatcmpl-1".into(),
            model: "tiny-demo".parse().expect("a model name"),
            model_manifest_digest: digest,
            req_commit: [6; 32],
            resp_commit: [7; 32],
            frames: 7,
            finish: Finish::Stop,
            usage: Usage { prompt: 12, cached: 2, completion: 5, reasoning: 0 },
            params_digest: digest,
            started: Timestamp::from_seconds(1_790_000_000),
            ended: Timestamp::from_seconds(1_790_000_002),
            terms,
            salt: [8; 32],
        }),
        None,
    )
}

/// The file of a receipt, third of a batch of five.
pub(crate) fn countersigned(receipt: &SignedReceipt, opening: Option<Opening>) -> ReceiptFile {
    let leaf = batch::leaf(&receipt.core, &receipt.signature);
    let leaves = [[9; 32], [10; 32], leaf, [11; 32], [12; 32]];
    let root = batch::merkle_root(&leaves);
    ReceiptFile::new(&ReceiptFileParts {
        core: &receipt.core,
        signature: &receipt.signature,
        worker_key: &receipt.worker_key,
        salt: Some(&receipt.salt),
        gateway_key: gateway_key().verifying_key().as_bytes(),
        gateway_signature: &batch::countersign(&gateway_key(), &root),
        root: &root,
        proof: &batch::proof(&leaves, 2).expect("the leaf is there"),
        opening,
    })
    .expect("the receipt is well formed")
}

fn file() -> Value {
    serde_json::to_value(receipt_file(RequestId::from_bytes([0xAA; 16]))).expect("it is JSON")
}

#[tokio::test]
async fn a_good_receipt_is_accepted_with_its_charge() {
    let home = Home::new();
    let path = home.write("receipt.json", &file().to_string());
    let path = path.to_str().unwrap();
    let key = hex::encode(gateway_key().verifying_key().as_bytes());

    let report =
        home.run(&["receipt", "verify", path, "--gateway-key", &key, "--json"]).await.json();
    assert_eq!(report["accepted"], true);
    assert_eq!(report["charge_nano"], CHARGE_NANO);
    assert_eq!(report["commission_nano"], CHARGE_NANO / 10);
    assert_eq!(report["gateway_key_pinned"], true);
    assert_eq!(report["receipt"]["request_id"], format!("req_{}", "aa".repeat(16)));

    let table = home.run(&["receipt", "verify", path]).await;
    assert_eq!(table.code, 0, "{table:?}");
    for text in ["accepted", "tiny-demo", "0.00000155 GRAM", &key] {
        assert!(table.stdout.contains(text), "{text:?} is not in {}", table.stdout);
    }
    assert!(table.stderr.contains("not pinned"), "{}", table.stderr);
}

#[tokio::test]
async fn a_changed_receipt_is_refused_with_its_reason() {
    let flipped = |text: &Value| {
        let text = text.as_str().unwrap();
        let at = text.len() / 2;
        let other = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
        json!(format!("{}{other}{}", &text[..at], &text[at + 1..]))
    };
    for (pointer, code) in [
        ("/core", "worker_receipt"),
        ("/sig_worker", "worker_receipt"),
        ("/worker_key", "worker_receipt"),
        ("/sig_gateway", "gateway_signature"),
        ("/gateway_key", "gateway_signature"),
        ("/proof/root", "path"),
        ("/proof/path/0", "path"),
    ] {
        let home = Home::new();
        let mut changed = file();
        let field = changed.pointer_mut(pointer).unwrap();
        *field = flipped(field);
        let path = home.write("receipt.json", &changed.to_string());
        let ran = home.run(&["receipt", "verify", path.to_str().unwrap(), "--json"]).await;
        ran.assert_failed(2, code);
    }
}

#[tokio::test]
async fn another_gateways_receipt_is_refused_where_a_key_is_pinned() {
    let home = Home::new();
    let path = home.write("receipt.json", &file().to_string());
    let key = "11".repeat(32);
    home.run(&["receipt", "verify", path.to_str().unwrap(), "--gateway-key", &key])
        .await
        .assert_failed(2, "another gateway");
}

#[tokio::test]
async fn unusable_input_is_1() {
    let home = Home::new();
    let mut no_hex = file();
    no_hex["worker_key"] = json!("zz");
    let huge = "x".repeat(1 << 20);
    for text in ["", "{}", "[1,2", &no_hex.to_string(), &huge] {
        let path = home.write("receipt.json", text);
        let ran = home.run(&["receipt", "verify", path.to_str().unwrap()]).await;
        ran.assert_failed(1, "is not usable");
    }
    home.run(&["receipt", "verify", "no-such-file"]).await.assert_failed(1, "cannot read");
    let path = home.write("receipt.json", &file().to_string());
    home.run(&["receipt", "verify", path.to_str().unwrap(), "--gateway-key", "ab"])
        .await
        .assert_failed(1, "64 hex digits");
}
