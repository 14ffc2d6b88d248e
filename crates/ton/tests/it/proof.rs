//! Sign-in proofs: what is accepted, and every attack that is not.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cocoon_primitives::{Timestamp, WalletAddress};
use cocoon_ton::{
    Network, ProofError, ProofPolicy, UnverifiedProof, VerifiedWallet, Wallet, WalletVersion,
    proof_digest, verify,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use ton_core::cell::{BoC, CellType, TonCell};

const DOMAIN: &str = "cocoon.example";
const NOW_SECONDS: u64 = 1_790_000_000;
const NOW: Timestamp = Timestamp::from_seconds(NOW_SECONDS);
const PAYLOAD: &str = "nonce-of-the-test";

fn policy() -> ProofPolicy {
    ProofPolicy {
        domains: vec!["localhost".into(), DOMAIN.into()],
        network: Network::Mainnet,
        workchains: vec![0],
        max_age: Duration::from_secs(300),
        max_future: Duration::from_secs(60),
    }
}

fn wallet(version: WalletVersion) -> Wallet {
    Wallet::from_seed(&[3; 32], version, Network::Mainnet)
}

/// A valid body of a W5R1 wallet, as JSON to tamper with.
fn body() -> Value {
    body_of(&wallet(WalletVersion::V5R1), DOMAIN, NOW)
}

fn body_of(wallet: &Wallet, domain: &str, at: Timestamp) -> Value {
    let proof = wallet.sign_proof("attempt", domain, at, PAYLOAD).expect("arguments are short");
    serde_json::to_value(proof).expect("a proof is JSON")
}

fn decide(body: &Value) -> Result<VerifiedWallet, ProofError> {
    verify(&UnverifiedProof::from_json(body.to_string().as_bytes())?, &policy(), NOW)
}

/// The body with one field replaced, at a JSON pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut body = body();
    *body.pointer_mut(pointer).expect("the field exists") = value;
    body
}

macro_rules! assert_refused {
    ($body:expr, $reason:pat) => {
        let answer = decide($body);
        assert!(matches!(answer, Err($reason)), "expected {}: {answer:?}", stringify!($reason));
    };
}

#[test]
fn every_version_signs_in() {
    for version in WalletVersion::ALL {
        let wallet = wallet(version);
        let verified = decide(&body_of(&wallet, DOMAIN, NOW)).expect("a valid proof");
        assert_eq!(verified.address(), wallet.address(), "{version}");
        assert_eq!(verified.public_key(), wallet.public_key(), "{version}");
        assert_eq!((verified.version(), verified.payload()), (version, PAYLOAD));
    }
}

#[test]
fn digest_is_the_specifications() {
    let digest =
        proof_digest(&WalletAddress::new(0, [0x11; 32]), "example.com", 1_700_000_000, "nonce");
    assert_eq!(
        hex::encode(digest),
        "c65bdd5675baff214a9c3fac25c6e48007bcefce280c94827d4e2562a5638441"
    );
}

/// A proof that a wallet application made: public key, domain, moment and signature are facts.
#[test]
fn a_real_wallets_proof_is_accepted() {
    const SIGNED_AT: u64 = 1_734_030_159;
    const REAL_DOMAIN: &str = "589a-2a12-5940-76ab-00-2.ngrok-free.app";
    let key = "687235ce9b3bb614ed53fbcda86be0d9181fa89a063e27a5511fee4f72b2a753";
    let address = "0:e3bba2dd29d6757d37fa342e5204aa4d3789edfe00d1568d223e397b556ee1c2";
    let state_init = w5_state_init(&hex::decode(key).unwrap());
    let body = json!({
        "attempt": "", "address": address, "network": "-239", "publicKey": key,
        "walletStateInit": state_init,
        "proof": {
            "timestamp": SIGNED_AT,
            "domain": { "lengthBytes": REAL_DOMAIN.len(), "value": REAL_DOMAIN },
            "payload": "f886105227e5418f97a9f1cb8feb4ab600000000675b3596",
            "signature": "jKTZXgsKzA6AgV9C2FVq3vhJmXzweLcYvff/GGzYxwoNuYpsf0ZLtv76sbaYLLgECMuWmjtvIlfBiYZ5E7vaBw==",
        },
    });
    let policy = ProofPolicy { domains: vec![REAL_DOMAIN.into()], ..policy() };
    let proof = UnverifiedProof::from_json(body.to_string().as_bytes()).unwrap();
    let verified = verify(&proof, &policy, Timestamp::from_seconds(SIGNED_AT + 5)).unwrap();
    assert_eq!(verified.address().to_string(), address);
    assert_eq!(verified.version(), WalletVersion::V5R1);
}

/// The same proof, digest and signature as another implementation makes for the same seed.
#[test]
fn signatures_are_those_of_other_implementations() {
    let seed = std::array::from_fn(|i| u8::try_from(i + 1).expect("at most 32"));
    let wallet = Wallet::from_seed(&seed, WalletVersion::V5R1, Network::Testnet);
    let body = body_of(&wallet, DOMAIN, NOW);
    assert_eq!(
        body["proof"]["signature"],
        "22wQkHElEsPhAatg73aU6ezONns6/5X7G8q5P+aRodmh26YTVFFJP3wjfIXx+7Jb/EqW9QFf8Ko7p1B4AeWNBA=="
    );
}

// === Domain and length ===

#[test]
fn a_foreign_domain_is_refused() {
    let foreign = body_of(&wallet(WalletVersion::V5R1), "evil.example", NOW);
    assert_refused!(&foreign, ProofError::WrongDomain);
    // Ours in the text, theirs in the signature.
    let mut relabelled = foreign;
    relabelled["proof"]["domain"] = json!({ "lengthBytes": DOMAIN.len(), "value": DOMAIN });
    assert_refused!(&relabelled, ProofError::Signature);
}

#[test]
fn near_domains_are_foreign() {
    for near in ["cocoon.example.", "Cocoon.example", "cocoon.example:443", "coon.example", ""] {
        assert_refused!(&body_of(&wallet(WalletVersion::V5R1), near, NOW), ProofError::WrongDomain);
    }
}

/// A proof for a longer domain, read as one for its prefix: the next eight bytes become the
/// timestamp and the rest the payload, and the message that was signed stays the same.
#[test]
fn length_confusion_is_refused() {
    for claimed in [0, 1, DOMAIN.len() - 1, DOMAIN.len() + 1, 126, 4096] {
        assert_refused!(
            &with("/proof/domain/lengthBytes", json!(claimed)),
            ProofError::WrongDomain
        );
    }
    let prefix = "cocoon.exampleZZZZZZZZrest";
    let mut confused = body_of(&wallet(WalletVersion::V5R1), prefix, NOW);
    confused["proof"]["domain"] = json!({ "lengthBytes": prefix.len(), "value": DOMAIN });
    confused["proof"]["timestamp"] = json!(u64::from_le_bytes(*b"ZZZZZZZZ"));
    assert_refused!(&confused, ProofError::WrongDomain);
    confused["proof"]["domain"]["lengthBytes"] = json!(DOMAIN.len());
    assert_refused!(&confused, ProofError::InFuture);
}

// === Time ===

#[test]
fn time_bounds() {
    let signed =
        |seconds| body_of(&wallet(WalletVersion::V3R2), DOMAIN, Timestamp::from_seconds(seconds));
    assert!(decide(&signed(NOW_SECONDS - 300)).is_ok());
    assert!(decide(&signed(NOW_SECONDS + 60)).is_ok());
    assert_refused!(&signed(NOW_SECONDS - 301), ProofError::Expired);
    assert_refused!(&signed(NOW_SECONDS + 61), ProofError::InFuture);
    assert_refused!(&with("/proof/timestamp", json!(u64::MAX)), ProofError::InFuture);
    assert_refused!(&with("/proof/timestamp", json!(0)), ProofError::Expired);
}

#[test]
fn a_timestamp_may_be_a_number_or_decimal_text() {
    assert!(decide(&with("/proof/timestamp", json!(NOW_SECONDS.to_string()))).is_ok());
    for bad in [json!(-1), json!(1.5), json!("+1"), json!(""), json!("1e9"), json!(null)] {
        assert_refused!(&with("/proof/timestamp", bad), ProofError::Malformed(_));
    }
}

#[test]
fn a_moved_timestamp_or_payload_breaks_the_signature() {
    assert_refused!(&with("/proof/timestamp", json!(NOW_SECONDS + 1)), ProofError::Signature);
    assert_refused!(&with("/proof/payload", json!("another nonce")), ProofError::Signature);
}

// === Key, address, state init ===

/// The attacker signs for the victim's address with a key of their own.
#[test]
fn key_substitution_is_refused() {
    let victim = wallet(WalletVersion::V5R1);
    let attacker = Wallet::from_seed(&[66; 32], WalletVersion::V5R1, Network::Mainnet);
    let attackers = body_of(&attacker, DOMAIN, NOW);
    let key = hex::encode(attacker.public_key());

    let mut own_state = attackers.clone();
    own_state["address"] = json!(victim.address());
    assert_refused!(&own_state, ProofError::AddressMismatch);

    let mut victims_state = body_of(&victim, DOMAIN, NOW);
    victims_state["publicKey"] = json!(key);
    assert_refused!(&victims_state, ProofError::KeyMismatch);

    let mut no_key = victims_state;
    no_key["proof"]["signature"] = attackers["proof"]["signature"].clone();
    no_key.as_object_mut().unwrap().remove("publicKey");
    assert_refused!(&no_key, ProofError::Signature);
}

#[test]
fn the_public_key_field_is_optional_and_compared() {
    let mut body = body();
    body.as_object_mut().unwrap().remove("publicKey");
    assert!(decide(&body).is_ok());
    assert_refused!(&with("/publicKey", json!("not hex")), ProofError::KeyMismatch);
}

#[test]
fn another_workchain_or_network_is_refused() {
    let address = wallet(WalletVersion::V5R1).address();
    let moved = WalletAddress::new(-1, *address.hash());
    assert_refused!(&with("/address", json!(moved)), ProofError::Workchain);
    assert_refused!(&with("/network", json!("-3")), ProofError::WrongNetwork);
    assert_refused!(&with("/network", json!("0")), ProofError::WrongNetwork);
    assert_refused!(&with("/address", json!("somewhere")), ProofError::Malformed(_));
}

#[test]
fn bytes_behind_the_state_init_are_refused() {
    let mut boc = STANDARD.decode(wallet(WalletVersion::V5R1).state_init()).unwrap();
    boc.push(0);
    assert_refused!(&with("/walletStateInit", json!(STANDARD.encode(boc))), ProofError::StateInit);
}

#[test]
fn unknown_code_is_refused_by_its_hash() {
    let code = cell(&[0xDE, 0xAD], 16, &[]);
    let code_hash = code.hash().unwrap().to_hex();
    let data = cell(&[0; 36], 288, &[]);
    let root = cell(&[0b0011_0000], 5, &[code, data]);
    let answer = decide(&body_with_root(&root));
    let named =
        matches!(&answer, Err(ProofError::UnknownWallet { code_hash: h }) if *h == code_hash);
    assert!(named, "{answer:?}");
}

/// Each is bound to its address, so only the shape of the state init can be the reason.
#[test]
fn state_inits_of_other_shapes_are_refused() {
    let [code, data] = parts(WalletVersion::V3R2);
    let library = cell(&[], 0, &[]);
    let w5_code = parts(WalletVersion::V5R1)[0].clone();
    let mut signatures_off = vec![0; 41];
    signatures_off[9..].fill(1);
    let roots = [
        cell(&[0b0011_0000], 6, &[code.clone(), data.clone()]),
        cell(&[0b0011_0000], 5, &[code.clone(), data.clone(), library.clone()]),
        cell(&[0b0011_1000], 5, &[code.clone(), data.clone(), library]),
        cell(&[0b0101_1000], 5, &[code.clone(), data.clone()]),
        cell(&[0b0010_0000], 5, std::slice::from_ref(&code)),
        cell(&[], 0, &[]),
        // Data of another version, too long, too short, and W5 with signatures turned off.
        cell(&[0b0011_0000], 5, &[code.clone(), cell(&[0; 36], 288, &[])]),
        cell(&[0b0011_0000], 5, &[code.clone(), cell(&[0; 41], 321, &[])]),
        cell(&[0b0011_0000], 5, &[code, cell(&[0; 40], 320, &[data])]),
        cell(&[0b0011_0000], 5, &[w5_code, cell(&signatures_off, 322, &[])]),
    ];
    for (i, root) in roots.iter().enumerate() {
        let answer = decide(&body_with_root(root));
        assert!(matches!(answer, Err(ProofError::StateInit)), "case {i}: {answer:?}");
    }
}

#[test]
fn two_roots_are_refused() {
    let [code, data] = parts(WalletVersion::V3R2);
    let root = cell(&[0b0011_0000], 5, &[code, data]);
    let boc = BoC::from_roots([root.clone(), TonCell::empty().clone()]).to_bytes(false).unwrap();
    let mut body = body_with_root(&root);
    body["walletStateInit"] = json!(STANDARD.encode(boc));
    assert_refused!(&body, ProofError::StateInit);
}

/// A tree of more cells than any wallet has is refused before it is hashed.
#[test]
fn deep_trees_are_refused() {
    let mut chain = cell(&[], 0, &[]);
    for _ in 0..900 {
        chain = cell(&[], 0, &[chain]);
    }
    let boc = BoC::new(chain).to_bytes(false).unwrap();
    assert!(boc.len() <= 4096, "{} bytes", boc.len());
    assert_refused!(&with("/walletStateInit", json!(STANDARD.encode(boc))), ProofError::StateInit);
}

/// A key of small order would verify one signature for many messages.
#[test]
fn weak_keys_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    for key in [[0; 32], identity] {
        let data = cell(&[&[0; 8][..], &key].concat(), 320, &[]);
        let root = cell(&[0b0011_0000], 5, &[parts(WalletVersion::V3R2)[0].clone(), data]);
        let mut body = body_with_root(&root);
        body.as_object_mut().unwrap().remove("publicKey");
        let mut signature = [0; 64];
        signature[0] = 1;
        body["proof"]["signature"] = json!(STANDARD.encode(signature));
        assert_refused!(&body, ProofError::Signature);
    }
}

#[test]
fn library_cells_are_not_code() {
    let mut library = TonCell::builder_extra(CellType::LibraryRef, 64);
    library.write_bits([&[2][..], &[0xE4; 32]].concat(), 264).unwrap();
    let data = cell(&[0; 40], 320, &[]);
    let root = cell(&[0b0011_0000], 5, &[library.build().unwrap(), data]);
    assert_refused!(&body_with_root(&root), ProofError::UnknownWallet { .. });
}

// === Sizes and garbage ===

#[test]
fn long_fields_and_bodies_are_refused() {
    let long = |n: usize| json!("x".repeat(n));
    for (pointer, n) in [
        ("/attempt", 129),
        ("/address", 73),
        ("/network", 17),
        ("/walletStateInit", 5465),
        ("/proof/payload", 129),
        ("/proof/domain/value", 127),
        ("/proof/signature", 89),
    ] {
        assert_refused!(&with(pointer, long(n)), ProofError::Malformed(_));
    }
    let mut padded = body();
    padded["unknown"] = long(UnverifiedProof::BODY_BYTES_MAX);
    assert_refused!(&padded, ProofError::Malformed(_));
}

#[test]
fn unknown_fields_are_ignored() {
    let mut body = body();
    body["proof"]["state_init"] = json!("…");
    assert!(decide(&body).is_ok());
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = UnverifiedProof::from_json(&bytes);
    }

    #[test]
    fn arbitrary_state_inits_are_refused(boc in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(decide(&with("/walletStateInit", json!(STANDARD.encode(boc)))).is_err());
    }

    #[test]
    fn damaged_state_inits_are_refused(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..8),
    ) {
        let original = STANDARD.decode(wallet(WalletVersion::V5R1).state_init()).unwrap();
        let mut boc = original.clone();
        for (index, flip) in damage {
            let at = index.index(boc.len());
            boc[at] ^= flip;
        }
        prop_assume!(boc != original);
        // A change that alters no cell (a header field that means the same) may pass; a change
        // of a cell never does, because the address is the hash.
        if let Ok(verified) = decide(&with("/walletStateInit", json!(STANDARD.encode(boc)))) {
            prop_assert_eq!(verified.address(), wallet(WalletVersion::V5R1).address());
        }
    }

    #[test]
    fn damaged_signatures_are_refused(at in 0..64usize, flip in 1..=255u8) {
        let mut body = body();
        let text = body["proof"]["signature"].as_str().unwrap();
        let mut signature = STANDARD.decode(text).unwrap();
        signature[at] ^= flip;
        body["proof"]["signature"] = json!(STANDARD.encode(signature));
        prop_assert!(matches!(decide(&body), Err(ProofError::Signature)));
    }
}

// === Cells ===

fn cell(bits: &[u8], bits_len: usize, refs: &[TonCell]) -> TonCell {
    let mut builder = TonCell::builder();
    builder.write_bits(bits, bits_len).expect("the bits fit");
    for child in refs {
        builder.write_ref(child.clone()).expect("at most four references");
    }
    builder.build().expect("an ordinary cell")
}

/// Code and data of a wallet's state init.
fn parts(version: WalletVersion) -> [TonCell; 2] {
    let boc = STANDARD.decode(wallet(version).state_init()).expect("base64");
    let root = BoC::from_bytes(boc).expect("a bag of cells").single_root().expect("one root");
    [root.refs()[0].clone(), root.refs()[1].clone()]
}

fn w5_state_init(key: &[u8]) -> String {
    let mut data = TonCell::builder();
    data.write_bit(true).expect("fits");
    data.write_bits([0; 4], 32).expect("fits");
    data.write_bits(0x7FFF_FF11_u32.to_be_bytes(), 32).expect("fits");
    data.write_bits(key, 256).expect("fits");
    data.write_bit(false).expect("fits");
    let code = parts(WalletVersion::V5R1)[0].clone();
    let root = cell(&[0b0011_0000], 5, &[code, data.build().expect("an ordinary cell")]);
    STANDARD.encode(BoC::new(root).to_bytes(true).expect("a bag of cells"))
}

/// A body whose address is the root's hash, so that only the root can be wrong.
fn body_with_root(root: &TonCell) -> Value {
    let boc = BoC::new(root.clone()).to_bytes(false).expect("a bag of cells");
    let hash = *root.hash().expect("a hash").as_slice_sized();
    let mut body = with("/walletStateInit", json!(STANDARD.encode(boc)));
    body["address"] = json!(WalletAddress::new(0, hash));
    body
}
