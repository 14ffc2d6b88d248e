//! Inputs that decoders take, made by our own code: what a fuzzer starts from.
//!
//! Evidence needs the feature `soft-tee`; without it there are the others.

#[cfg(feature = "soft-tee")]
mod evidence;
mod texts;

use cocoon_attest::lease::Lease;
use cocoon_attest::log::{SignedHead, Tree};
use cocoon_attest::receipt::batch::{self, Proof};
use cocoon_attest::receipt::{
    Commitment, Finish, LeaseFacts, Opening, PriceRow, ReceiptDraft, ReceiptFile, ReceiptFileParts,
    ReceiptKey, Terms, Usage, pay_commitment, request_commitment,
};
use cocoon_primitives::{
    Assurance, Digest, LeaseId, Nano, RequestId, TokenPrice, WalletAddress, WorkerId,
};
use ed25519_dalek::SigningKey;

#[cfg(feature = "soft-tee")]
pub(crate) use self::evidence::lab;
use crate::targets::AT;

/// Bytes of a seed that is kept in the repository at most.
pub const SEED_BYTES_MAX: usize = 4096;

/// Seeds, each with the name of its target.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = texts::all();
    seeds.extend(receipts());
    seeds.push(("lease", lease().encode()));
    seeds.extend(log());
    #[cfg(feature = "soft-tee")]
    seeds.extend(evidence::all());
    seeds
}

fn terms() -> Terms {
    let price = TokenPrice::per_million(Nano::new(50_000_000).expect("a price"));
    let account = WalletAddress::new(0, [8; 32]);
    Terms {
        pay_commit: pay_commitment(&account, 0, RequestId::from_bytes([1; 16]), None, &[4; 32]),
        price: PriceRow { prompt: price, cached: price, completion: price },
        registry_version: 0,
        payee: WalletAddress::new(-1, [9; 32]),
        commission_bp: 500,
        max_prompt_tokens: 100,
        max_completion_tokens: 16,
        not_after: AT,
    }
}

fn receipts() -> Vec<(&'static str, Vec<u8>)> {
    let key = ReceiptKey::from_seed(&[11; 32]);
    let facts = LeaseFacts {
        lease_id: LeaseId::from_bytes([2; 16]),
        evidence_digest: Digest::from_bytes([5; 32]),
        policy_digest: Digest::from_bytes([6; 32]),
        assurance: Assurance::Software,
    };
    let salt = [3; 32];
    let mut commitment = Commitment::new();
    commitment.push(b"data: hello\n\n");
    let receipt = key.signer(facts).sign(ReceiptDraft {
        request_id: RequestId::from_bytes([1; 16]),
        attempt: 0,
        chat_id: "chatcmpl-1".to_owned(),
        model: "model".parse().expect("a name"),
        model_manifest_digest: Digest::from_bytes([7; 32]),
        req_commit: request_commitment(&salt, b"{}"),
        resp_commit: commitment.digest(&salt),
        frames: commitment.frames(),
        finish: Finish::Stop,
        usage: Usage { prompt: 10, cached: 0, completion: 4, reasoning: 1 },
        params_digest: Digest::from_bytes([7; 32]),
        started: AT,
        ended: AT,
        terms: terms(),
        salt,
    });
    let leaves = [[1; 32], batch::leaf(&receipt.core, &receipt.signature), [2; 32]];
    let proof = batch::proof(&leaves, 1).expect("there is such a leaf");
    let gateway = SigningKey::from_bytes(&[13; 32]);
    let root = batch::merkle_root(&leaves);
    let file = ReceiptFile::new(&ReceiptFileParts {
        core: &receipt.core,
        signature: &receipt.signature,
        worker_key: &receipt.worker_key,
        salt: Some(&salt),
        gateway_key: &gateway.verifying_key().to_bytes(),
        gateway_signature: &batch::countersign(&gateway, &root),
        root: &root,
        proof: &proof,
        opening: Some(Opening::of_account(WalletAddress::new(0, [8; 32]), &[4; 32])),
    });
    let file = file.expect("the receipt was just signed");
    vec![
        ("receipt_core", receipt.core.clone()),
        ("receipt_signed", receipt.to_bytes()),
        ("receipt_proof", proof.to_bytes()),
        ("receipt_proof", Proof { index: 0, size: 1, path: Vec::new() }.to_bytes()),
        ("receipt_file", serde_json::to_vec(&file).expect("it has a JSON form")),
        ("terms", terms().encode()),
    ]
}

fn lease() -> Lease {
    Lease {
        lease_id: LeaseId::from_bytes([2; 16]),
        worker_id: WorkerId::from_bytes([1; 32]),
        receipt_key: [11; 32],
        tls_spki_sha256: Digest::from_bytes([12; 32]),
        payee: WalletAddress::new(0, [8; 32]),
        models: Vec::new(),
        assurance: Assurance::Software,
        evidence_digest: Digest::from_bytes([5; 32]),
        policy_digest: Digest::from_bytes([6; 32]),
        issued: AT,
        expires: AT,
        hpke_key: [9; 32],
        image: "image".to_owned(),
    }
}

fn log() -> Vec<(&'static str, Vec<u8>)> {
    let mut tree = Tree::new();
    for leaf in 0..5 {
        tree.push([leaf; 32]);
    }
    let key = SigningKey::from_bytes(&[13; 32]);
    let head = SignedHead::sign(&key, 5, tree.root(5).expect("it has five leaves"), AT);
    let path = |numbers: [u64; 2], hashes: &[[u8; 32]]| {
        [numbers.map(u64::to_be_bytes).concat(), hashes.concat()].concat()
    };
    let root = |size| tree.root(size).expect("it has five leaves");
    let inclusion = tree.inclusion(2, 5).expect("there is such a leaf");
    let consistency = tree.consistency(3, 5).expect("it was once so small");
    vec![
        ("log_head", serde_json::to_vec(&head).expect("it has a JSON form")),
        ("log_proof", path([2, 5], &[&[[2; 32], root(5)], inclusion.as_slice()].concat())),
        ("log_proof", path([3, 5], &[&[root(3), root(5)], consistency.as_slice()].concat())),
    ]
}
