//! Measures reserve + settle pairs per second: `pairs [CALLERS] [PAIRS] [ordered|random]`, in a
//! temporary folder. Request ids grow with time, or are random.
//!
//! Each caller reserves, then settles with a receipt, as a chat completion does; all callers
//! spend from one wallet through one key, so every operation meets the same rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cocoon_metering::{PriceRow, Usage};
use cocoon_primitives::{
    KeyId, Nano, RequestId, Timestamp, TokenCount, TokenPrice, WalletAddress, WorkerId,
};
use cocoon_store::{
    CreateKeyOutcome, NewKey, NewReceipt, Outcome, Reservation, ReserveOutcome, SettleOutcome,
    Settlement, Store,
};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const WALLET: WalletAddress = WalletAddress::new(0, [1; 32]);
const USAGE: Usage = Usage {
    prompt: TokenCount::new(100),
    cached: TokenCount::ZERO,
    completion: TokenCount::new(200),
    reasoning: TokenCount::ZERO,
};
const KEY: KeyId = KeyId::from_bytes([2; 8]);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and its own arguments"
)]
async fn main() {
    let argument = |index: usize, default: u64| {
        std::env::args().nth(index).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (callers, pairs) = (argument(1, 32), argument(2, 20_000));
    // An odd constant spreads numbers over all identifiers, each to one.
    let is_random = std::env::args().nth(3).is_some_and(|order| order == "random");
    let spread = if is_random { 0x9e37_79b9_7f4a_7c15 } else { 1 };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(&folder.path().join("store.sqlite")).expect("open the store");
    prepare(&store).await;
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (store, next) = (store.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                let mut slowest = std::time::Duration::ZERO;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= pairs {
                        return slowest;
                    }
                    let begun = Instant::now();
                    pair(&store, number.wrapping_mul(spread)).await;
                    slowest = slowest.max(begun.elapsed());
                }
            })
        })
        .collect();
    let mut slowest = std::time::Duration::ZERO;
    for task in tasks {
        slowest = slowest.max(task.await.expect("a caller ends in order"));
    }
    let elapsed = started.elapsed();
    let barrier = Instant::now();
    store.durable_barrier().await.expect("a barrier");
    let barrier = barrier.elapsed();
    let report = store.check().await.expect("an audit");
    assert!(report.is_clean(), "{report:?}");
    let rate = f64::from(u32::try_from(pairs).expect("few pairs")) / elapsed.as_secs_f64();
    println!("{callers} callers, {pairs} pairs in {elapsed:.2?}: {rate:.0} pairs/s");
    println!("slowest pair {slowest:.1?}, barrier {barrier:.1?}, {} transfers", report.transfers);
    store.close().await;
}

async fn prepare(store: &Store) {
    store.ensure_wallet(WALLET, [3; 32], NOW).await.expect("a wallet");
    let credit = Nano::new(1 << 60).expect("within the supply");
    store.credit(WALLET, credit, [4; 16], NOW).await.expect("credit");
    let created = store
        .create_key(NewKey {
            id: KEY,
            wallet: WALLET,
            secret_sha256: [5; 32],
            name: "pairs".to_owned(),
            created_at: NOW,
            expires_at: None,
            spend_cap: Some(credit),
        })
        .await;
    assert_eq!(created.expect("a key"), CreateKeyOutcome::Created);
}

async fn pair(store: &Store, number: u64) {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let request_id = RequestId::from_bytes(id);
    let price = TokenPrice::per_million(Nano::new(50_000_000).expect("small"));
    let reserved = store
        .reserve(Reservation {
            request_id,
            wallet: WALLET,
            key: Some(KEY),
            model: "tiny-demo".parse().expect("a model's name"),
            price: PriceRow { prompt: price, cached: price, completion: price },
            amount: Nano::new(1_000_000).expect("small"),
            max_prompt: TokenCount::new(4096),
            max_completion: TokenCount::new(4096),
            streamed: true,
            created_at: NOW,
            expires_at: Timestamp::from_seconds(1_800_000_600),
            pay_blind: [6; 32],
            commission_bp: 500,
        })
        .await;
    assert_eq!(reserved.expect("a reservation"), ReserveOutcome::Reserved);
    let settled = store
        .settle(Settlement {
            request_id,
            holder: None,
            worker: Some(WorkerId::from_bytes([7; 32])),
            payee: Some(WalletAddress::new(0, [8; 32])),
            outcome: Outcome::Completed,
            usage: USAGE,
            settled_at: NOW,
            receipt: Some(NewReceipt {
                core: vec![9; 700],
                signature: [10; 64],
                salt: [11; 32],
                worker_key: [12; 32],
                attempt: 0,
                stated: Some(USAGE),
            }),
        })
        .await;
    assert!(matches!(settled, Ok(SettleOutcome::Settled { .. })), "{settled:?}");
}
