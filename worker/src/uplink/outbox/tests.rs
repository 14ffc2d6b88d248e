//! The outbox: what is kept, what is forgotten, what is dropped, and what a crash leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cocoon_attest::receipt::{
    Finish, LeaseFacts, PriceRow, ReceiptDraft, ReceiptKey, SignedReceipt, Terms, Usage,
};
use cocoon_primitives::{
    Assurance, Digest, LeaseId, RequestId, Timestamp, TokenPrice, WalletAddress,
};

use super::record::End;
use super::{RECEIPTS_MAX, ReceiptOutbox, record};

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

fn left(outbox: &Arc<ReceiptOutbox>) -> Vec<RequestId> {
    let mut subscription = outbox.subscribe();
    std::iter::from_fn(|| subscription.try_next())
        .map(|receipt| receipt.verify().unwrap().request_id)
        .collect()
}

fn open(folder: &Path, name: &str) -> Arc<ReceiptOutbox> {
    Arc::new(ReceiptOutbox::open(folder, name).unwrap())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_is_not_acknowledged_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), "first");
    for n in 0..4 {
        first.push(receipt(n, 0));
    }
    first.acknowledged(&[request_id(1), request_id(9)]);
    drop(first);

    let second = open(folder.path(), "second");
    assert_eq!(left(&second), [0, 2, 3].map(request_id));
    assert_eq!(files(folder.path()), [folder.path().join("second.log")]);
    second.push(receipt(4, 0));
    second.acknowledged(&[request_id(0)]);
    drop(second);

    let third = open(folder.path(), "third");
    assert_eq!(left(&third), [2, 3, 4].map(request_id));
    third.acknowledged(&[2, 3, 4].map(request_id));
    drop(third);
    assert!(files(folder.path()).is_empty(), "nothing is left of a run that owes nothing");
}

#[test]
fn two_workers_of_one_folder_leave_each_other_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (open(folder.path(), "one"), open(folder.path(), "other"));
    one.push(receipt(1, 0));
    other.push(receipt(2, 0));
    drop(one);
    let third = open(folder.path(), "third");
    assert_eq!(left(&third), [request_id(1)]);
    assert_eq!(left(&other), [request_id(2)]);
    assert!(ReceiptOutbox::open(folder.path(), "third").is_err(), "a name is of one run");
}

#[test]
fn only_the_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("outbox/gateway");
    let _outbox = open(&inside, "run");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&inside), mode(&inside.join("run.log"))), (0o700, 0o600));
}

#[test]
fn a_file_that_was_cut_anywhere_gives_what_stands_before_the_cut() {
    let mut file = record::MAGIC.to_vec();
    let mut ends = vec![file.len()];
    for n in 0..3 {
        file.extend(record::of_receipt(&receipt(n, 0)));
        ends.push(file.len());
    }
    for cut in 0..=file.len() {
        let replayed = record::replay(&file[..cut]);
        let whole = ends[1..].iter().filter(|end| **end <= cut).count();
        assert_eq!(replayed.receipts.len(), whole, "cut at {cut}");
        let good = if cut < ends[0] { 0 } else { ends[whole] };
        assert_eq!(replayed.torn_bytes, cut - good, "cut at {cut}");
        let end = if cut == good && cut > 0 { End::Whole } else { End::Cut };
        assert_eq!(replayed.end, end, "cut at {cut}");
    }

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("torn.log"), &file[..file.len() - 1]).unwrap();
    fs::write(folder.path().join("empty.log"), "").unwrap();
    fs::write(folder.path().join("half.new"), &file).unwrap();
    let outbox = open(folder.path(), "run");
    // The last one stood in a file that was about to replace the torn one, and nothing twice.
    let mut kept = left(&outbox);
    kept.sort();
    assert_eq!(kept, [0, 1, 2].map(request_id));
    assert_eq!(files(folder.path()), [folder.path().join("run.log")]);
}

#[test]
fn a_file_that_nobody_understands_is_kept() {
    let mut file = record::MAGIC.to_vec();
    file.extend(record::of_receipt(&receipt(1, 0)));
    let middle = file.len() + 20;
    file.extend(record::of_receipt(&receipt(2, 0)));
    file.extend(record::of_receipt(&receipt(3, 0)));
    file[middle] ^= 1;
    let zeros = [record::MAGIC, &[0; 100]].concat();
    let table: [(&str, &[u8]); 4] = [
        ("middle.log", &file),
        ("other.log", b"cocoon-outbox/2\nwhatever"),
        ("zeros.log", &zeros),
        ("half.new", b"?"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in table {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    fs::write(folder.path().join("other.log.bad"), "an older one").unwrap();
    // It opens, and cannot be read.
    fs::create_dir(folder.path().join("folder.log")).unwrap();
    let first = open(folder.path(), "first");
    assert_eq!(left(&first), [request_id(1)]);
    for (name, bytes) in table {
        let bad = if name == "other.log" { "other.log.1.bad" } else { &format!("{name}.bad") };
        assert_eq!(fs::read(folder.path().join(bad)).unwrap(), bytes, "{name}");
        assert!(!folder.path().join(name).exists(), "{name}");
    }
    assert_eq!(fs::read(folder.path().join("other.log.bad")).unwrap(), b"an older one");
    assert!(folder.path().join("folder.log.bad").is_dir());
    // Nobody reads them again.
    drop(first);
    assert_eq!(left(&open(folder.path(), "second")), [request_id(1)]);
}

#[test]
fn a_file_that_does_not_reach_the_disk_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path(), "run");
    outbox.push(receipt(1, 0));
    outbox.state().journal.as_mut().unwrap().lose_disk();
    outbox.push(receipt(2, 0));
    outbox.sync().unwrap();
    // In the file again, as what comes from now on is.
    outbox.push(receipt(3, 0));
    outbox.sync().unwrap();
    drop(outbox);
    assert_eq!(left(&open(folder.path(), "next")), [1, 2, 3].map(request_id));
}

#[test]
fn a_rewrite_that_fails_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path(), "run");
    outbox.push(receipt(1, 0));
    outbox.state().journal.as_mut().unwrap().lose_disk();
    let in_the_way = folder.path().join("run.new");
    fs::create_dir(&in_the_way).unwrap();
    outbox.push(receipt(2, 0));
    assert!(outbox.sync().is_err());
    fs::remove_dir(&in_the_way).unwrap();
    outbox.sync().unwrap();
    drop(outbox);
    assert_eq!(left(&open(folder.path(), "next")), [1, 2].map(request_id));
}

proptest::proptest! {
    #[test]
    fn bytes_that_are_no_file_never_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        flip in 0_usize..2000,
    ) {
        let _ = record::replay(&[record::MAGIC, &bytes].concat());
        let mut file = record::MAGIC.to_vec();
        file.extend(record::of_receipt(&receipt(1, 0)));
        file.extend(record::of_acknowledged(&[request_id(2)]));
        file.extend(record::of_receipt(&receipt(3, 0)));
        let at = flip % file.len();
        file[at] ^= 1;
        // A byte that changed is never read as a receipt.
        let kept = record::replay(&file).receipts;
        let whole = [receipt(1, 0), receipt(3, 0)];
        proptest::prop_assert!(kept.len() < 2 && whole.starts_with(&kept));
    }
}

#[test]
fn a_file_of_acknowledged_receipts_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path(), "run");
    let path = folder.path().join("run.log");
    let size = || fs::metadata(&path).unwrap().len();
    for n in 0..3000 {
        outbox.push(receipt(n, 0));
    }
    outbox.sync().unwrap();
    let full = size();
    outbox.acknowledged(&(1..3000).map(request_id).collect::<Vec<_>>());
    assert!(size() > full, "acknowledgements are records too");
    outbox.sync().unwrap();
    assert!(size() < 2000, "{}", size());
    outbox.push(receipt(3000, 0));
    drop(outbox);
    assert_eq!(left(&open(folder.path(), "next")), [0, 3000].map(request_id));
}

#[test]
fn what_comes_while_the_file_is_written_anew_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path(), "run");
    outbox.push(receipt(1, 0));
    outbox.push(receipt(2, 0));
    let rewrite = outbox.state().journal.as_mut().unwrap().begin_rewrite();
    let before = [receipt(1, 0), receipt(2, 0)];
    outbox.push(receipt(3, 0));
    outbox.acknowledged(&[request_id(1)]);
    let rewritten = rewrite.write(&before);
    outbox.push(receipt(4, 0));
    outbox.state().journal.as_mut().unwrap().end_rewrite(rewritten).unwrap();
    outbox.push(receipt(5, 0));
    drop(outbox);
    assert_eq!(left(&open(folder.path(), "next")), [2, 3, 4, 5].map(request_id));
}

#[tokio::test]
async fn a_drain_brings_the_file_to_the_disk_and_ends_the_task() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path(), "run");
    let soft = tokio_util::sync::CancellationToken::new();
    outbox.push(receipt(1, 0));
    let ended = async { soft.cancel() };
    tokio::join!(Arc::clone(&outbox).keep(soft.clone()), ended);
    assert!(outbox.state().journal.as_mut().unwrap().take_dirty().is_none());
}
