//! The outbox: what is kept, what is forgotten, what is dropped.

use std::sync::Arc;

use cocoon_attest::receipt::{
    Finish, LeaseFacts, PriceRow, ReceiptDraft, ReceiptKey, SignedReceipt, Terms, Usage,
};
use cocoon_primitives::{
    Assurance, Digest, LeaseId, RequestId, Timestamp, TokenPrice, WalletAddress,
};

use super::{RECEIPTS_MAX, ReceiptOutbox};

fn request_id(n: usize) -> RequestId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&u64::try_from(n).unwrap().to_be_bytes());
    RequestId::from_bytes(bytes)
}

fn receipt(n: usize, attempt: u32) -> SignedReceipt {
    let free = TokenPrice::default();
    let signer = ReceiptKey::from_seed(&[1; 32]).signer(LeaseFacts {
        lease_id: LeaseId::from_bytes([2; 16]),
        evidence_digest: Digest::from_bytes([3; 32]),
        policy_digest: Digest::from_bytes([4; 32]),
        assurance: Assurance::Software,
    });
    signer.sign(ReceiptDraft {
        request_id: request_id(n),
        attempt,
        chat_id: "chatcmpl-1".to_owned(),
        model: "scripted".parse().unwrap(),
        model_manifest_digest: Digest::from_bytes([5; 32]),
        req_commit: [0; 32],
        resp_commit: [0; 32],
        frames: 0,
        finish: Finish::Stop,
        usage: Usage::default(),
        params_digest: Digest::from_bytes([6; 32]),
        started: Timestamp::EPOCH,
        ended: Timestamp::EPOCH,
        terms: Terms {
            pay_commit: [0; 32],
            price: PriceRow { prompt: free, cached: free, completion: free },
            registry_version: 0,
            payee: WalletAddress::new(0, [7; 32]),
            commission_bp: 0,
            max_prompt_tokens: 0,
            max_completion_tokens: 0,
            not_after: Timestamp::EPOCH,
        },
        salt: [0; 32],
    })
}

#[test]
fn a_subscription_replays_what_is_not_acknowledged() {
    let outbox = Arc::new(ReceiptOutbox::new());
    for n in 0..3 {
        outbox.push(receipt(n, 0));
    }
    let mut first = outbox.subscribe();
    assert!((0..3).all(|_| first.try_next().is_some()));
    assert!(first.try_next().is_none());
    outbox.acknowledged(&[request_id(1), request_id(9)]);
    let mut second = outbox.subscribe();
    let replayed: Vec<_> = std::iter::from_fn(|| second.try_next())
        .map(|receipt| receipt.verify().unwrap().request_id)
        .collect();
    assert_eq!(replayed, [request_id(0), request_id(2)]);
}

#[test]
fn an_acknowledgement_covers_every_attempt() {
    let outbox = ReceiptOutbox::new();
    outbox.push(receipt(1, 0));
    outbox.push(receipt(1, 1));
    assert_eq!(outbox.len(), 2);
    outbox.acknowledged(&[request_id(1)]);
    assert!(outbox.is_empty());
}

#[tokio::test]
async fn a_waiting_subscription_sees_a_later_receipt() {
    let outbox = Arc::new(ReceiptOutbox::new());
    let mut subscription = outbox.subscribe();
    let (seen, ()) = tokio::join!(subscription.next(), async { outbox.push(receipt(4, 0)) });
    assert_eq!(seen.verify().unwrap().request_id, request_id(4));
}

#[test]
fn a_full_outbox_drops_the_oldest() {
    let outbox = Arc::new(ReceiptOutbox::new());
    for n in 0..=RECEIPTS_MAX {
        outbox.push(receipt(n, 0));
    }
    assert_eq!(outbox.len(), RECEIPTS_MAX);
    let oldest = outbox.subscribe().try_next().unwrap();
    assert_eq!(oldest.verify().unwrap().request_id, request_id(1));
}
