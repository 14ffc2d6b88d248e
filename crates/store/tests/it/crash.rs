//! `kill -9` at any point: the ledger stays whole, and what was answered stays true.
//!
//! The test starts its own binary again as the process to be killed; that one prints a line after
//! each answer of the store. It is killed after a number of lines, while up to a pipe's length of
//! further work is under way, so the point of death is anywhere.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use cocoon_primitives::{Nano, RequestId, Timestamp};
use cocoon_store::{
    Claim, ClaimOutcome, Conclusion, ConclusionOutcome, Outcome, RequestState, Reservation,
    ReserveOutcome, SettleOutcome, Settlement, Store,
};
use tokio::task::JoinSet;

use crate::fixture::{EXPIRY, NOW, WALLET, id, nano, reservation, settlement};

const PATH_VARIABLE: &str = "COCOON_STORE_CRASH_PATH";
const ROUND_VARIABLE: &str = "COCOON_STORE_CRASH_ROUND";
const CALLERS: u64 = 16;
const CREDIT: u64 = 1 << 50;

/// In the process to be killed, the folder and the number of its round.
#[expect(clippy::disallowed_methods, reason = "a test's way to talk to its own child process")]
fn assignment() -> Option<(PathBuf, u64)> {
    let path = std::env::var(PATH_VARIABLE).ok()?;
    let round = std::env::var(ROUND_VARIABLE).ok()?.parse().ok()?;
    Some((path.into(), round))
}

/// The process to be killed; without an assignment there is nothing to do.
#[test]
fn victim() {
    let Some((path, round)) = assignment() else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let store = Store::open(&path).expect("the store opens");
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            callers.spawn(work(store.clone(), (round * CALLERS + caller) << 32));
        }
        callers.join_all().await;
    });
}

/// Claims an idempotency key, reserves, settles and keeps an answer until it is killed; of seven
/// requests one stays open.
async fn work(store: Store, first: u64) {
    for number in first.. {
        let claimed = store.claim(claim(number, number), |_| false).await.expect("it answers");
        assert_eq!(claimed, ClaimOutcome::Claimed);
        let held = store.reserve(reservation(number, 100)).await.expect("it answers");
        assert_eq!(held, ReserveOutcome::Reserved);
        say(&format!("held {}", id(number)));
        if number % 7 == 0 {
            continue;
        }
        let settled = store.settle(settlement(number, number % 90)).await.expect("it answers");
        let SettleOutcome::Settled { charge, .. } = settled else { panic!("{settled:?}") };
        say(&format!("settled {} {}", id(number), charge.get()));
        let kept = store.conclude_claim(conclusion(number)).await.expect("it answers");
        assert_eq!(kept, ConclusionOutcome::Kept);
        say(&format!("kept {}", id(number)));
    }
}

/// Request `number` under the idempotency key of request `key`.
fn claim(key: u64, number: u64) -> Claim {
    Claim {
        lookup: lookup(id(key)),
        wallet: WALLET,
        request_mac: [7; 32],
        request_id: id(number),
        now: NOW,
        expires_at: EXPIRY,
        claims_max: u32::MAX,
    }
}

fn lookup(request: RequestId) -> [u8; 32] {
    let mut lookup = [0; 32];
    lookup[..16].copy_from_slice(request.as_bytes());
    lookup
}

fn conclusion(number: u64) -> Conclusion {
    Conclusion {
        lookup: lookup(id(number)),
        request_id: id(number),
        answer: Some(Arc::new(number.to_be_bytes().to_vec())),
        bytes_per_account: u64::MAX,
        bytes_total: u64::MAX,
    }
}

/// One line to the parent; where nobody listens any more, the process is over.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "answer {line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Runs a victim, kills it after `lines` answers, and returns every answer that it gave.
fn kill_after(path: &Path, round: u64, lines: usize) -> Vec<String> {
    let program = std::env::current_exe().expect("this binary's path");
    let mut child = Command::new(program)
        .args(["--exact", "crash::victim", "--nocapture"])
        .env(PATH_VARIABLE, path)
        .env(ROUND_VARIABLE, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the victim starts");
    let mut output = BufReader::new(child.stdout.take().expect("its output is piped"));
    let mut answers = Vec::new();
    let mut line = String::new();
    let mut is_killed = false;
    while output.read_line(&mut line).expect("its output can be read") > 0 {
        // The last line may be cut off where the victim died.
        if let Some(answer) = line.strip_prefix("answer ").and_then(|rest| rest.strip_suffix('\n'))
        {
            answers.push(answer.to_owned());
        }
        line.clear();
        if answers.len() >= lines && !is_killed {
            child.kill().expect("SIGKILL reaches it");
            is_killed = true;
        }
    }
    let status = child.wait().expect("it has ended");
    assert!(is_killed && !status.success(), "the victim ended by itself: {status}");
    answers
}

async fn assert_kept(store: &Store, answers: &[String]) {
    for answer in answers {
        let mut words = answer.split(' ');
        let verb = words.next().expect("a verb");
        let request: RequestId = words.next().expect("an id").parse().expect("an id");
        let row =
            store.request(request).await.expect("it answers").expect("what was answered is there");
        if verb == "settled" {
            let charge: Nano = words.next().expect("a charge").parse().expect("an amount");
            assert_eq!(row.state, RequestState::Settled(Outcome::Completed), "{answer}");
            assert_eq!(row.charge, charge, "{answer}");
            let receipt = store.receipt(WALLET, request).await.expect("it answers");
            assert!(receipt.is_some(), "{answer}");
        }
        if verb != "held" && row.charge > Nano::ZERO {
            // A repeat never runs again, whether the answer was kept before the kill or not.
            let repeat = Claim { lookup: lookup(request), ..claim(0, u64::MAX) };
            let repeated = store.claim(repeat, |_| false).await.expect("it answers");
            let is_kept = repeated == ClaimOutcome::Kept { request_id: request };
            let is_spent = repeated == ClaimOutcome::Spent { request_id: request };
            assert!(is_kept || (is_spent && verb != "kept"), "{answer}: {repeated:?}");
        }
    }
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost_to_a_kill() {
    if assignment().is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let store = Store::open(&path).unwrap();
    store.credit(WALLET, nano(CREDIT), [1; 16], NOW).await.unwrap();
    store.close().await;
    let mut answered = Vec::new();
    for (round, lines) in (0..).zip([1, 30, 333, 1200, 2500]) {
        answered.extend(kill_after(&path, round, lines));
        let store = Store::open(&path).unwrap();
        let report = store.check().await.unwrap();
        assert!(report.is_clean(), "{report:#?}");
        assert_kept(&store, &answered).await;
        // What the victim left open is not lost either: it can be settled or expires.
        if let Some(open) = report.open_reservations.first() {
            let late = Settlement { request_id: open.request_id, ..settlement(0, 10) };
            let settled = store.settle(late).await.unwrap();
            assert!(matches!(settled, SettleOutcome::Settled { .. }), "{settled:?}");
        }
        store.close().await;
    }
    let store = Store::open(&path).unwrap();
    while !store.expire_reservations(EXPIRY, 1000).await.unwrap().is_empty() {}
    let (report, balance) = (store.check().await.unwrap(), store.balance(WALLET).await.unwrap());
    assert!(report.is_clean() && report.open_reservations.is_empty(), "{report:#?}");
    let page = store.usage(WALLET, Timestamp::EPOCH, EXPIRY, None, 1).await.unwrap();
    assert_eq!((balance.charged, balance.reserved), (page.totals.charge, Nano::ZERO));
    let rest = Reservation { created_at: NOW, ..reservation(u64::MAX, balance.available.get()) };
    assert_eq!(store.reserve(rest).await.unwrap(), ReserveOutcome::Reserved);
}
