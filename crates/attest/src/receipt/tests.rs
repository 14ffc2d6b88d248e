//! Receipts: encodings, checks, batches and files.

use cocoon_primitives::{
    Assurance, Digest, LeaseId, ModelName, Nano, RequestId, Timestamp, TokenPrice, WalletAddress,
};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::batch::{self, Proof};
use super::*;

const SALT: [u8; 32] = [3; 32];
const BLIND: [u8; 32] = [4; 32];

fn model() -> ModelName {
    "tiny-demo".parse().unwrap()
}

fn account() -> WalletAddress {
    WalletAddress::new(0, [8; 32])
}

fn request_id() -> RequestId {
    RequestId::from_bytes([1; 16])
}

fn facts() -> LeaseFacts {
    LeaseFacts {
        lease_id: LeaseId::from_bytes([2; 16]),
        evidence_digest: Digest::from_bytes([5; 32]),
        policy_digest: Digest::from_bytes([6; 32]),
        assurance: Assurance::Software,
    }
}

fn terms() -> Terms {
    let price = |nano| TokenPrice::per_million(Nano::new(nano).unwrap());
    Terms {
        pay_commit: pay_commitment(&account(), 0, request_id(), None, &BLIND),
        price: PriceRow {
            prompt: price(50_000_000),
            cached: price(25_000_000),
            completion: price(200_000_000),
        },
        registry_version: 0,
        payee: WalletAddress::new(-1, [9; 32]),
        commission_bp: 500,
        max_prompt_tokens: 100,
        max_completion_tokens: 16,
        not_after: Timestamp::from_seconds(1_800_000_300),
    }
}

fn draft() -> ReceiptDraft {
    let mut commitment = Commitment::new();
    commitment.push(b"data: hello\n\n");
    ReceiptDraft {
        request_id: request_id(),
        attempt: 0,
        chat_id: "chatcmpl-1".to_owned(),
        model: model(),
        model_manifest_digest: Digest::from_bytes([7; 32]),
        req_commit: request_commitment(&SALT, b"{}"),
        resp_commit: commitment.digest(&SALT),
        frames: commitment.frames(),
        finish: Finish::Stop,
        usage: Usage { prompt: 10, cached: 0, completion: 4, reasoning: 1 },
        params_digest: Digest::from_bytes(params_commitment(&SALT, b"temperature=1")),
        started: Timestamp::from_millis(1_800_000_000_123),
        ended: Timestamp::from_millis(1_800_000_001_999),
        terms: terms(),
        salt: SALT,
    }
}

fn key() -> ReceiptKey {
    ReceiptKey::from_seed(&[11; 32])
}

fn expected<'a>(model: &'a ModelName, terms: &'a Terms) -> Expected<'a> {
    Expected {
        worker_id: key().worker_id(),
        lease: Some(facts()),
        request_id: request_id(),
        attempt: Some(0),
        model,
        terms: Some(terms),
        completion: Some(4),
    }
}

#[test]
fn a_receipt_survives_its_wire_form_and_verifies() {
    let receipt = key().signer(facts()).sign(draft());
    let read = SignedReceipt::from_bytes(&receipt.to_bytes()).unwrap();
    assert_eq!(read, receipt);
    let core = verify_worker(&read, &expected(&model(), &terms())).unwrap();
    assert_eq!((core.started_s, core.ended_s), (1_800_000_000, 1_800_000_001));
    assert_eq!(core.terms, terms());
    assert_eq!(ReceiptCore::decode(&core.encode()).as_ref(), Ok(&core));
}

#[test]
fn the_chain_runs_on_across_leases() {
    let key = key();
    let first = key.signer(facts()).sign(draft());
    let other = LeaseFacts { lease_id: LeaseId::from_bytes([0; 16]), ..facts() };
    let second = key.signer(other).sign(draft()).verify().unwrap();
    assert_eq!(second.seq, 1);
    assert_eq!(second.prev, crate::sha256(&[&first.core]));
}

#[test]
fn each_expectation_has_its_own_refusal() {
    let receipt = key().signer(facts()).sign(draft());
    let (model, terms) = (model(), terms());
    let other_model: ModelName = "other".parse().unwrap();
    let other_terms = Terms { commission_bp: 1, ..terms.clone() };
    let base = expected(&model, &terms);
    let other_lease = LeaseFacts { policy_digest: Digest::from_bytes([0; 32]), ..facts() };
    let other_worker = ReceiptKey::from_seed(&[12; 32]).worker_id();
    let cases = [
        (Expected { worker_id: other_worker, ..base.clone() }, ReceiptError::Worker),
        (Expected { lease: Some(other_lease), ..base.clone() }, ReceiptError::Lease),
        (
            Expected { request_id: RequestId::from_bytes([0; 16]), ..base.clone() },
            ReceiptError::Request,
        ),
        (Expected { attempt: Some(1), ..base.clone() }, ReceiptError::Request),
        (Expected { model: &other_model, ..base.clone() }, ReceiptError::Model),
        (Expected { terms: Some(&other_terms), ..base.clone() }, ReceiptError::Terms),
        (
            Expected { completion: Some(5), ..base.clone() },
            ReceiptError::Count { receipt: 4, delivered: 5 },
        ),
    ];
    for (expected, error) in cases {
        assert_eq!(verify_worker(&receipt, &expected), Err(error));
    }
}

#[test]
fn usage_over_the_terms_is_refused() {
    for usage in [
        Usage { prompt: 101, ..draft().usage },
        Usage { completion: 17, ..draft().usage },
        Usage { cached: 11, ..draft().usage },
        Usage { reasoning: 5, ..draft().usage },
    ] {
        let receipt = key().signer(facts()).sign(ReceiptDraft { usage, ..draft() });
        let (model, terms) = (model(), terms());
        let expected = Expected { completion: None, ..expected(&model, &terms) };
        assert_eq!(verify_worker(&receipt, &expected), Err(ReceiptError::Limits));
    }
}

#[test]
fn a_foreign_key_cannot_speak_for_a_worker() {
    let mut receipt = key().signer(facts()).sign(draft());
    receipt.worker_key = ReceiptKey::from_seed(&[12; 32]).public();
    assert_eq!(receipt.verify(), Err(ReceiptError::Signature));
}

#[test]
fn commitments_depend_on_salt_order_and_framing() {
    let of = |salt: &[u8; 32], parts: &[&[u8]]| {
        let mut commitment = Commitment::new();
        parts.iter().for_each(|part| commitment.push(part));
        commitment.digest(salt)
    };
    let base = of(&SALT, &[b"ab", b"c"]);
    assert_ne!(base, of(&SALT, &[b"a", b"bc"]));
    assert_ne!(base, of(&SALT, &[b"c", b"ab"]));
    assert_ne!(base, of(&[0; 32], &[b"ab", b"c"]));
}

#[test]
fn roots_match_the_published_vectors() {
    // RFC 6962's empty tree, and a tree of one and two leaves by definition.
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex::encode(batch::merkle_root(&[])), empty);
    let (a, b) = ([1; 32], [2; 32]);
    let hash = |leaf: &[u8; 32]| crate::sha256(&[&[0], leaf]);
    assert_eq!(batch::merkle_root(&[a]), hash(&a));
    let two = crate::sha256(&[&[1], &hash(&a), &hash(&b)]);
    assert_eq!(batch::merkle_root(&[a, b]), two);
}

fn file() -> (ReceiptFile, [u8; 32]) {
    let receipt = key().signer(facts()).sign(draft());
    let gateway = SigningKey::from_bytes(&[21; 32]);
    let leaves = [[0; 32], batch::leaf(&receipt.core, &receipt.signature), [1; 32]];
    let root = batch::merkle_root(&leaves);
    let gateway_key = gateway.verifying_key().to_bytes();
    let file = ReceiptFile::new(&ReceiptFileParts {
        core: &receipt.core,
        signature: &receipt.signature,
        worker_key: &receipt.worker_key,
        salt: Some(&SALT),
        gateway_key: &gateway_key,
        gateway_signature: &batch::countersign(&gateway, &root),
        root: &root,
        proof: &batch::proof(&leaves, 1).unwrap(),
        opening: Some(Opening::of_account(account(), &BLIND)),
    });
    (file.unwrap(), gateway_key)
}

#[test]
fn a_file_verifies_after_json() {
    let (file, gateway_key) = file();
    let text = serde_json::to_string(&file).unwrap();
    let read: ReceiptFile = serde_json::from_str(&text).unwrap();
    let verified = verify_file(&read, Some(&gateway_key)).unwrap();
    assert_eq!(verified.account, Some(account()));
    assert_eq!(verified.core.usage.completion, 4);
    assert!(verify_file(&read, None).is_ok());
}

#[test]
fn a_changed_file_is_refused_for_its_own_reason() {
    let (file, gateway_key) = file();
    let pinned = Some(&gateway_key);
    let zero = "00".repeat(32);
    type Change = fn(&mut ReceiptFile, &str);
    let cases: [(Change, FileError); 7] = [
        (
            |file, _| file.core.replace_range(..4, "AAAA"),
            FileError::Receipt(ReceiptError::Signature),
        ),
        (|file, zero| file.proof.root = zero.to_owned(), FileError::Path),
        (|file, _| file.proof.index = 0, FileError::Path),
        (|file, _| file.sig_gateway = file.sig_worker.clone(), FileError::GatewaySignature),
        (|file, zero| file.gateway_key = zero.to_owned(), FileError::GatewayKey),
        (|file, _| file.assurance = Assurance::Hardware, FileError::Assurance),
        (|file, zero| file.opening.as_mut().unwrap().blind = zero.to_owned(), FileError::Opening),
    ];
    for (change, error) in cases {
        let mut changed = file.clone();
        change(&mut changed, &zero);
        assert_eq!(verify_file(&changed, pinned), Err(error));
    }
    let mut short = file;
    short.worker_key.pop();
    assert_eq!(verify_file(&short, pinned), Err(FileError::Field("worker_key")));
}

proptest! {
    #[test]
    fn every_leaf_is_proven_and_no_other(count in 1_usize..40, at in any::<prop::sample::Index>()) {
        let leaves: Vec<[u8; 32]> =
            (0..count).map(|i| [u8::try_from(i).unwrap(); 32]).collect();
        let (root, at) = (batch::merkle_root(&leaves), at.index(count));
        let proof = batch::proof(&leaves, at).unwrap();
        let proof = Proof::from_bytes(&proof.to_bytes()).unwrap();
        for (other, leaf) in leaves.iter().enumerate() {
            prop_assert_eq!(batch::verify(leaf, &proof, &root), other == at);
        }
    }

    #[test]
    fn a_receipt_with_a_flipped_bit_does_not_verify(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let receipt = key().signer(facts()).sign(draft());
        let mut bytes = receipt.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let read = SignedReceipt::from_bytes(&bytes);
        // The salt is not signed: it opens the commitments, and a wrong one opens nothing.
        if let Ok(read) = read && read.salt == receipt.salt {
            prop_assert!(read.verify().is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = ReceiptCore::decode(&bytes);
        let _ = SignedReceipt::from_bytes(&bytes);
        let _ = Terms::decode(&bytes);
        let _ = Proof::from_bytes(&bytes);
    }

    #[test]
    fn a_core_reads_back(request: [u8; 16], seq: u64, attempt: u32, prompt: u64, chat_id in "[ -~]{0,128}") {
        let mut core = key().signer(facts()).sign(draft()).verify().unwrap();
        core.request_id = RequestId::from_bytes(request);
        (core.seq, core.attempt, core.usage.prompt, core.chat_id) = (seq, attempt, prompt, chat_id);
        let read = ReceiptCore::decode(&core.encode());
        prop_assert_eq!(read, Ok(core));
    }
}
