//! A policy that changes under a running gateway: leases, streams, renewals.

use std::time::Duration;

use cocoon_attest::appraisal::examine;
use cocoon_primitives::Timestamp;
use tokio::time::Instant;

use super::fake::honest;
use super::forge::Forge;
use super::honest::{Honest, next_chunk};
use super::*;

/// What a change of the policy may take until nothing more goes to those that it ends.
const AT_ONCE: Duration = Duration::from_secs(1);

fn listed() -> PolicyText {
    let models = Some(vec![(model().to_string(), Digest::from_bytes([7; 32]))]);
    PolicyText { models, ..PolicyText::default() }
}

/// The same policy, one version later, without its model's row.
fn without_row(text: &PolicyText) -> PolicyText {
    PolicyText { version: text.version + 1, models: Some(Vec::new()), ..text.clone() }
}

async fn worker(gateway: &Gateway) -> (Honest, Pick<Arc<WorkerLink>>) {
    let worker = Honest::start(gateway, honest(), honest()).await;
    let pick = gateway.pick().await;
    assert_eq!(pick.lease.lease_id, worker.lease.lease_id);
    (worker, pick)
}

/// Replaces the policy's file and waits until the fleet is empty.
async fn revoke(gateway: &Gateway, text: &PolicyText) -> Duration {
    let changed = Instant::now();
    gateway.replace(text);
    until(|| lock(&gateway.fleet).is_empty()).await;
    let took = changed.elapsed();
    eprintln!("from the change of the file to the end of the lease: {took:?}");
    assert!(took < AT_ONCE, "it took {took:?}");
    took
}

fn in_force(gateway: &Gateway) -> Digest {
    gateway.policy.in_force().digest()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_goes_ends_its_leases_within_a_second_and_streams_finish() {
    let text = listed();
    let gateway = Gateway::start(&text).await;
    let (mut worker, pick) = worker(&gateway).await;
    let (script, mut response) = worker.stream(&pick.link).await;
    revoke(&gateway, &without_row(&text)).await;
    let closed = timeout(PATIENCE, pick.link.closing().cancelled()).await;
    closed.expect("nothing new may be sent");
    script.send(Bytes::from_static(b"last")).await.expect("the stream still runs");
    assert_eq!(next_chunk(&mut response).await.expect("a chunk").expect("no error"), "last");
    drop(script);
    assert!(next_chunk(&mut response).await.is_none(), "a clean end");
    drop(response);
    timeout(PATIENCE, worker.gone.cancelled()).await.expect("the connection ends with it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_goes_cuts_streams_where_the_policy_says_so() {
    let text = PolicyText { on_revocation: "cut", ..listed() };
    let gateway = Gateway::start(&text).await;
    let (mut worker, pick) = worker(&gateway).await;
    let (_script, mut response) = worker.stream(&pick.link).await;
    let changed = Instant::now();
    gateway.replace(&without_row(&text));
    let cut = next_chunk(&mut response).await.expect("no clean end");
    assert!(cut.is_err(), "{cut:?}");
    assert!(changed.elapsed() < AT_ONCE, "it took {:?}", changed.elapsed());
    assert!(lock(&gateway.fleet).is_empty());
    timeout(PATIENCE, worker.gone.cancelled()).await.expect("the connection is gone");
}

/// HTTP/2 keeps a request back while the worker takes no further stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_waits_for_a_stream_never_reaches_a_revoked_worker() {
    let text = listed();
    let gateway = Gateway::start(&text).await;
    let mut worker = Honest::with_streams(&gateway, honest(), honest(), 2).await;
    let pick = gateway.pick().await;
    let (script, mut response) = worker.stream(&pick.link).await;
    let waiting = Request::post(CHAT_PATH).body(Full::new(Bytes::from_static(b"a prompt")));
    let sending = pick.link.send(waiting.expect("a request"));
    let revoked = without_row(&text);
    let (sent, _) = tokio::join!(timeout(PATIENCE, sending), revoke(&gateway, &revoked));
    let sent = sent.expect("in time");
    assert!(matches!(sent, Err(LinkError::Closed)), "{sent:?}");
    // The connection's tasks take it back while the stream that runs goes on.
    for _ in 0..32 {
        script.send(Bytes::from_static(b"more")).await.expect("the stream still runs");
        assert_eq!(next_chunk(&mut response).await.expect("a chunk").expect("no error"), "more");
    }
    drop(script);
    assert!(next_chunk(&mut response).await.is_none(), "what ran has finished");
    drop(response);
    timeout(PATIENCE, worker.gone.cancelled()).await.expect("the connection ends");
    assert!(worker.scripts.recv().await.is_none(), "the prompt came through");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_reaches_streams_of_workers_that_have_left_the_fleet() {
    let text = PolicyText { on_revocation: "cut", ..listed() };
    let gateway = Gateway::start(&text).await;
    let (mut worker, pick) = worker(&gateway).await;
    let (script, mut response) = worker.stream(&pick.link).await;
    // As after a dishonest receipt: what runs may finish.
    let link = lock(&gateway.fleet).quarantine(pick.worker).expect("it is there");
    link.close();
    assert!(lock(&gateway.fleet).is_empty());
    script.send(Bytes::from_static(b"second")).await.expect("the stream still runs");
    assert_eq!(next_chunk(&mut response).await.expect("a chunk").expect("no error"), "second");
    gateway.replace(&without_row(&text));
    let cut = next_chunk(&mut response).await.expect("no clean end");
    assert!(cut.is_err(), "{cut:?}");
    timeout(PATIENCE, worker.gone.cancelled()).await.expect("the connection is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_to_finish_is_cut_by_a_later_policy() {
    let text = listed();
    let gateway = Gateway::start(&text).await;
    let (mut worker, pick) = worker(&gateway).await;
    let (_script, mut response) = worker.stream(&pick.link).await;
    let finish = without_row(&text);
    revoke(&gateway, &finish).await;
    gateway.replace(&PolicyText { on_revocation: "cut", ..without_row(&finish) });
    let cut = next_chunk(&mut response).await.expect("no clean end");
    assert!(cut.is_err(), "{cut:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_at_a_renewal_cuts_where_the_policy_says_so() {
    let text = PolicyText { on_revocation: "cut", ..listed() };
    let gateway = Gateway::start(&text).await;
    let stranger = Forge::new([43; 32], model().as_str());
    let mut worker = Honest::start(&gateway, honest(), stranger).await;
    let pick = gateway.pick().await;
    let (_script, mut response) = worker.stream(&pick.link).await;
    gateway.replace(&PolicyText { version: 2, ..text });
    let cut = next_chunk(&mut response).await.expect("no clean end");
    assert!(cut.is_err(), "{cut:?}");
    until(|| lock(&gateway.fleet).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_still_admitted_proves_itself_again_under_the_new_policy() {
    let text = listed();
    let gateway = Gateway::start(&text).await;
    let (mut worker, pick) = worker(&gateway).await;
    let (script, mut response) = worker.stream(&pick.link).await;
    let old = in_force(&gateway);
    gateway.replace(&PolicyText { version: 2, more: "# another\n".to_owned(), ..text });
    until(|| {
        let fleet = lock(&gateway.fleet);
        let members = fleet.attested(SystemClock.now());
        members.len() == 1 && members[0].1.policy_digest != old
    })
    .await;
    assert_eq!(worker.asked(), 1);
    let (lease, appraised, _) = lock(&gateway.fleet).attested(SystemClock.now()).remove(0);
    assert_eq!(appraised.policy_digest, in_force(&gateway));
    // What receipts state stays true for the life of the connection.
    assert_eq!((lease.policy_digest, lease.lease_id), (old, worker.lease.lease_id));
    assert_eq!(lease.evidence_digest, worker.lease.evidence_digest);
    drop(script);
    let end = next_chunk(&mut response).await;
    assert!(end.is_none(), "its streams were left alone: {end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_fails_its_full_renewal_drains_and_is_removed() {
    let text = listed();
    let gateway = Gateway::start(&text).await;
    // Later it is another machine, which no policy of this gateway knows.
    let stranger = Forge::new([43; 32], model().as_str());
    let mut worker = Honest::start(&gateway, honest(), stranger).await;
    let pick = gateway.pick().await;
    let (script, mut response) = worker.stream(&pick.link).await;
    gateway.replace(&PolicyText { version: 2, ..text });
    timeout(PATIENCE, pick.link.closing().cancelled()).await.expect("it closes");
    let refused =
        lock(&gateway.fleet).pick(&model(), Assurance::Software, SystemClock.now(), 0, &[]);
    assert!(refused.is_err(), "a draining worker gets nothing new");
    assert_eq!(lock(&gateway.fleet).len(), 1, "it drains as long as its stream runs");
    script.send(Bytes::from_static(b"last")).await.expect("the stream still runs");
    assert_eq!(next_chunk(&mut response).await.expect("a chunk").expect("no error"), "last");
    drop(script);
    assert!(next_chunk(&mut response).await.is_none());
    drop(response);
    until(|| lock(&gateway.fleet).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_models_than_before_end_a_lease_at_its_full_renewal() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let mut swapped = honest();
    swapped.workload.models[0].manifest_digest = Digest::from_bytes([6; 32]);
    let worker = Honest::start(&gateway, honest(), swapped).await;
    gateway.pick().await;
    gateway.replace(&PolicyText { version: 2, ..PolicyText::default() });
    until(|| lock(&gateway.fleet).is_empty()).await;
    assert_eq!(worker.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_ends_takes_every_lease_with_it() {
    let ends = SystemClock.now().saturating_add(Duration::from_secs(3));
    let ends = Timestamp::from_seconds(ends.as_seconds());
    let text =
        PolicyText { not_after: rfc3339(ends), on_revocation: "cut", ..PolicyText::default() };
    let gateway = Gateway::start(&text).await;
    let (mut worker, pick) = worker(&gateway).await;
    assert_eq!(pick.lease.expires, ends);
    let (_script, mut response) = worker.stream(&pick.link).await;
    assert!(next_chunk(&mut response).await.expect("no clean end").is_err());
    assert!(SystemClock.now() >= ends);
    until(|| lock(&gateway.fleet).is_empty()).await;
    // Nobody enrols under a policy that is over, and a new one admits again.
    let mut late = super::fake::dial(&gateway).await;
    let challenge = late.challenge().await;
    let evidence = honest().answer(&challenge, &late.exporter(), &late.spki(), SystemClock.now());
    assert_eq!(late.refused(evidence).await, "policy_ended");
    let before = in_force(&gateway);
    gateway.replace(&PolicyText { version: 2, ..PolicyText::default() });
    until(|| in_force(&gateway) != before).await;
    let _worker = Honest::start(&gateway, honest(), honest()).await;
    gateway.pick().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_is_refused_ends_nothing() {
    let text = PolicyText { version: 5, ..listed() };
    let gateway = Gateway::start(&text).await;
    let (worker, _pick) = worker(&gateway).await;
    let before = in_force(&gateway);
    let rolled_back = PolicyText { version: 4, ..without_row(&text) };
    gateway.replace(&rolled_back);
    let refused = gateway.policy.reload(SystemClock.now());
    assert!(!matches!(refused, Ok(Some(_))), "{refused:?}");
    put(gateway.folder.path(), "schema = ");
    assert!(!matches!(gateway.policy.reload(SystemClock.now()), Ok(Some(_))));
    assert_eq!(in_force(&gateway), before);
    assert_eq!((worker.asked(), lock(&gateway.fleet).len()), (0, 1));
    gateway.pick().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_over_the_nonce_that_was_given_and_on_this_connection() {
    let gateway = Gateway::start(&PolicyText::default()).await;
    let (worker, pick) = worker(&gateway).await;
    let nonces = [[1; 32], [2; 32]];
    let both = async { tokio::join!(pick.link.report(nonces[0]), pick.link.report(nonces[1])) };
    let (first, second) = timeout(PATIENCE, both).await.expect("in time");
    for (report, nonce) in [first, second].into_iter().zip(nonces) {
        let policy = gateway.policy.in_force();
        let report = report.expect("a report");
        let proven = examine(&report, &policy.policy, SystemClock.now()).expect("good evidence");
        assert_eq!((proven.nonce, proven.worker_id), (nonce, worker.lease.worker_id));
        assert_eq!(proven.gw_spki_sha256, gateway.spki_sha256);
        let (_, held, _) = lock(&gateway.fleet).attested(SystemClock.now()).remove(0);
        assert_eq!(proven.exporter, held.exporter);
    }
    pick.link.close();
    assert!(pick.link.report([3; 32]).await.is_err());
}
