use std::sync::atomic::Ordering;

use cocoon_openai_wire::endpoint::Endpoint;
use cocoon_openai_wire::error::ErrorBody;
use cocoon_uplink_wire::FrameKind::{Data, Error, Heartbeat, Receipt};
use cocoon_uplink_wire::{FrameKind, encode_frame};
use futures_util::task::noop_waker;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::*;
use crate::dispatch::fixture::{self, PACE, Tail, WORKER_ERROR, Worker, upstream};
use crate::dispatch::live::LiveRequests;
use crate::dispatch::ticket::Ending;

type Sent = (FrameKind, u32, &'static [u8]);

const WHOLE: [Sent; 5] = [
    (Data, 1, b"one "),
    (Heartbeat, 0, b""),
    (Data, 2, b"two "),
    (Receipt, 3, b"receipt"),
    (Data, 3, b"end"),
];

struct Rig {
    body: MeteredBody,
    endings: mpsc::Receiver<Ending>,
    dropped: Arc<std::sync::atomic::AtomicBool>,
    live: LiveRequests,
}

fn rig(sent: &[Sent], tail: Tail, pace: Pace) -> Rig {
    rig_at(Endpoint::ChatCompletions, sent, tail, pace)
}

fn rig_at(endpoint: Endpoint, sent: &[Sent], tail: Tail, pace: Pace) -> Rig {
    let live = LiveRequests::default();
    let agreement = fixture::agreement_with(1, true, |agreement| agreement.endpoint = endpoint);
    let (mut ticket, endings) = fixture::ticket(&live, &agreement);
    ticket.assign(Some(Worker::new(1).service(&agreement)));
    let (kind, cumulative, payload) = sent[0];
    let rest = sent[1..].iter().map(|(kind, count, bytes)| encode_frame(*kind, *count, bytes));
    let (upstream, dropped) = upstream(rest.collect(), tail);
    let first = fixture::frame(kind, cumulative, payload);
    let stream = fixture::stream(first, upstream, ticket, pace);
    let body = MeteredBody::relaying(stream, pace);
    live.watch(agreement.request_id, body.cell());
    Rig { body, endings, dropped, live }
}

/// What the client got and how its stream ended, with the outcome that left.
struct Seen {
    bytes: Vec<u8>,
    is_clean: bool,
    ending: Ending,
}

/// Reads to the end, and answers the outcome as the settlement would.
async fn read(rig: Rig, closing: Closing) -> Seen {
    let Rig { mut body, mut endings, .. } = rig;
    let settle = async {
        let mut ending = endings.recv().await.unwrap();
        let (unused, _) = oneshot::channel();
        std::mem::replace(&mut ending.reply, unused).send(closing).unwrap();
        ending
    };
    let read = async {
        let mut bytes = Vec::new();
        loop {
            match body.frame().await {
                Some(Ok(part)) => bytes.extend_from_slice(&part.into_data().unwrap()),
                Some(Err(BrokenOff)) => return (bytes, false),
                None => return (bytes, true),
            }
        }
    };
    let (ending, (bytes, is_clean)) = tokio::join!(settle, read);
    drop(body);
    assert!(endings.recv().await.is_none(), "more than one outcome left");
    Seen { bytes, is_clean, ending }
}

#[tokio::test]
async fn a_whole_answer_is_forwarded_as_it_is_and_settled_before_its_end() {
    let seen = read(rig(&WHOLE, Tail::End, PACE), Closing::Settled).await;
    assert_eq!(seen.bytes, b"one two end");
    assert!(seen.is_clean);
    assert_eq!((seen.ending.verdict, seen.ending.completion), (Verdict::Completed, 3));
    assert_eq!(seen.ending.receipt.as_deref(), Some(&b"receipt"[..]));
}

#[tokio::test]
async fn what_breaks_off_never_ends_cleanly() {
    let with = |extra: &[Sent]| [&WHOLE[..3], extra].concat();
    for (sent, tail, verdict, completion, code) in [
        (with(&[]), Tail::Reset, Verdict::WorkerLost, 2, "worker_lost"),
        (with(&[]), Tail::End, Verdict::WorkerLost, 2, "worker_lost"),
        (WHOLE[..4].to_vec(), Tail::Reset, Verdict::WorkerLost, 3, "worker_lost"),
        (with(&[(Data, 11, b"x")]), Tail::Hang, Verdict::Failed, 2, "worker_fault"),
        (with(&[(Data, 1, b"x")]), Tail::Hang, Verdict::Failed, 2, "worker_fault"),
        (with(&[(Error, 2, WORKER_ERROR)]), Tail::Hang, Verdict::Failed, 2, "engine_restarting"),
    ] {
        let seen = read(rig(&sent, tail, PACE), Closing::Settled).await;
        let text = String::from_utf8(seen.bytes).unwrap();
        assert!(!seen.is_clean, "{text}");
        assert_eq!((seen.ending.verdict, seen.ending.completion), (verdict, completion), "{text}");
        let event = text.strip_prefix("one two data: ").and_then(|text| text.strip_suffix("\n\n"));
        let error: ErrorBody = serde_json::from_str(event.unwrap()).unwrap();
        assert_eq!(error.error.code.as_deref(), Some(code));
    }
}

/// The events of a Responses stream that failed, behind what was forwarded of it.
const NUMBERED: &[u8] = b"event: x\ndata: {\"sequence_number\":6}\n\n";

#[tokio::test]
async fn a_broken_response_says_so_in_its_own_events_and_ends_cleanly() {
    const OWN: &[u8] = br#"{"status":503,"retryable":true,"error":{"code":"c"},"event":"event: error\ndata: own\n\n"}"#;
    let numbered = (Data, 2, NUMBERED);
    let mut whole = vec![numbered];
    whole.extend_from_slice(&WHOLE[3..]);
    for (sent, tail, closing, verdict, code) in [
        (vec![numbered], Tail::Reset, Closing::Settled, Verdict::WorkerLost, "worker_lost"),
        (vec![numbered], Tail::End, Closing::Settled, Verdict::WorkerLost, "worker_lost"),
        (
            vec![numbered, (Data, 99, b"x")],
            Tail::Hang,
            Closing::Settled,
            Verdict::Failed,
            "worker_fault",
        ),
        (
            vec![numbered, (Error, 2, WORKER_ERROR)],
            Tail::Hang,
            Closing::Settled,
            Verdict::Failed,
            "engine_restarting",
        ),
        (whole.clone(), Tail::End, Closing::Disagreed, Verdict::Completed, "receipt_mismatch"),
        (whole, Tail::End, Closing::Unrecorded, Verdict::Completed, "internal_error"),
    ] {
        let seen = read(rig_at(Endpoint::Responses, &sent, tail, PACE), closing).await;
        let text = String::from_utf8(seen.bytes).unwrap();
        assert!(seen.is_clean, "{text}");
        assert_eq!(seen.ending.verdict, verdict, "{text}");
        let told = text.strip_prefix(std::str::from_utf8(NUMBERED).unwrap()).unwrap();
        let told: Vec<&str> = told.split_terminator("\n\n").collect();
        let [error, failed, done] = told[..] else { panic!("{text}") };
        assert!(error.starts_with("event: error\n") && error.contains(code), "{error}");
        assert!(error.contains("\"sequence_number\":7"), "{error}");
        assert!(failed.starts_with("event: response.failed\n"), "{failed}");
        assert_eq!(done, "data: [DONE]");
    }
    let sent = [numbered, (Error, 2, OWN)];
    let seen = read(rig_at(Endpoint::Responses, &sent, Tail::Hang, PACE), Closing::Settled).await;
    let expected = [NUMBERED, b"event: error\ndata: own\n\n"].concat();
    assert_eq!((seen.bytes, seen.is_clean), (expected, true), "the worker's words are its own");
}

#[tokio::test]
async fn a_chat_that_its_worker_ends_with_an_event_is_broken_off_all_the_same() {
    const OWN: &[u8] =
        br#"{"status":503,"retryable":true,"error":{"code":"c"},"event":"data: {}\n\n"}"#;
    let seen = read(rig(&[WHOLE[0], (Error, 1, OWN)], Tail::Hang, PACE), Closing::Settled).await;
    assert_eq!((&seen.bytes[..], seen.is_clean), (&b"one data: {}\n\n"[..], false));
}

#[tokio::test]
async fn garbage_between_frames_is_the_workers_fault() {
    let live = LiveRequests::default();
    let agreement = fixture::agreement(1, true);
    let (mut ticket, endings) = fixture::ticket(&live, &agreement);
    ticket.assign(Some(Worker::new(1).service(&agreement)));
    let (upstream, dropped) = upstream(vec![Bytes::from_static(&[0xff; 64])], Tail::Hang);
    let first = fixture::frame(Data, 1, b"one");
    let stream = fixture::stream(first, upstream, ticket, PACE);
    let rig = Rig { body: MeteredBody::relaying(stream, PACE), endings, dropped, live };
    let seen = read(rig, Closing::Settled).await;
    assert_eq!((seen.ending.verdict, seen.ending.completion), (Verdict::Failed, 1));
    assert!(!seen.is_clean);
}

#[tokio::test]
async fn a_refused_receipt_or_a_lost_outcome_withholds_the_end() {
    for (closing, code) in
        [(Closing::Disagreed, "receipt_mismatch"), (Closing::Unrecorded, "internal_error")]
    {
        let seen = read(rig(&WHOLE, Tail::End, PACE), closing).await;
        let text = String::from_utf8(seen.bytes).unwrap();
        assert!(!seen.is_clean);
        assert!(!text.contains("end\n") && text.contains(code), "{text}");
    }
}

/// Drops the body after every possible number of polls: one outcome leaves, the worker's stream
/// is reset, and the outcome says what had been counted by then.
#[tokio::test]
async fn a_drop_at_any_point_lets_one_outcome_leave() {
    for polls in 0..8_u8 {
        let Rig { mut body, mut endings, dropped, live } = rig(&WHOLE, Tail::End, PACE);
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..polls {
            let _ = Pin::new(&mut body).poll_frame(&mut cx);
        }
        drop(body);
        assert!(dropped.load(Ordering::SeqCst), "after {polls} polls");
        let ending = endings.try_recv().unwrap();
        let expected = match polls {
            0 => (Verdict::ClientGone, 0),
            1 => (Verdict::ClientGone, 1),
            2 => (Verdict::ClientGone, 2),
            // The last frame is here: the request is complete whoever listens.
            _ => (Verdict::Completed, 3),
        };
        assert_eq!((ending.verdict, ending.completion), expected, "after {polls} polls");
        assert_eq!(ending.receipt.is_some(), polls >= 3);
        assert_eq!(ending.answer.forwarded.frames(), u32::from(polls.min(2)));
        assert_eq!(ending.answer.last.is_some(), polls >= 3);
        assert!(endings.recv().await.is_none(), "a second outcome after {polls} polls");
        assert!(!live.is_empty(), "the request is live until it is settled");
        drop(ending);
        assert!(live.is_empty());
    }
}

#[tokio::test]
async fn a_silent_worker_gets_comments_first_and_is_lost_then() {
    let pace = Pace {
        silence_max: Duration::from_millis(40),
        keep_alive: Duration::from_millis(15),
        ..PACE
    };
    let seen = read(rig(&WHOLE[..1], Tail::Hang, pace), Closing::Settled).await;
    let text = String::from_utf8(seen.bytes).unwrap();
    assert!(text.starts_with("one : keep-alive\n\n"), "{text}");
    assert!(text.contains("worker_lost"));
    assert_eq!(seen.ending.verdict, Verdict::WorkerLost);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_swept_away() {
    let Rig { mut body, mut endings, dropped, live } = rig(&WHOLE, Tail::Hang, PACE);
    assert!(body.frame().await.unwrap().is_ok());
    let now = Instant::now();
    live.sweep(now + PACE.client_stall_max / 2);
    assert!(endings.try_recv().is_err());
    live.sweep(now + PACE.client_stall_max * 2);
    assert_eq!(endings.try_recv().unwrap().verdict, Verdict::ClientGone);
    assert!(dropped.load(Ordering::SeqCst));
    assert!(body.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn a_held_status_begins_with_comments_and_ends_in_an_error_event() {
    let agreement = fixture::agreement(1, true);
    let opening: Opening = Box::pin(async {
        tokio::task::yield_now().await;
        Err(DispatchError::NoWorker)
    });
    let mut body = MeteredBody::waiting(opening, &agreement, PACE);
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, KEEP_ALIVE);
    let event = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(event.to_vec()).unwrap();
    assert!(text.starts_with("data: {\"error\":") && text.contains("no_worker_available"));
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_response_whose_status_was_held_fails_in_its_own_events() {
    let agreement =
        fixture::agreement_with(1, true, |agreement| agreement.endpoint = Endpoint::Responses);
    let opening: Opening = Box::pin(async {
        tokio::task::yield_now().await;
        Err(DispatchError::Deadline)
    });
    let mut body = MeteredBody::waiting(opening, &agreement, PACE);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), KEEP_ALIVE);
    let events = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(events.to_vec()).unwrap();
    assert!(text.starts_with("event: response.created\n"), "{text}");
    assert!(text.contains("\n\nevent: error\n") && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(text.contains("request_timeout"), "{text}");
    assert!(body.frame().await.is_none(), "the stream ends cleanly");
}

/// What a sweep ends has no reader: nothing is told, and nothing looks whole.
#[tokio::test]
async fn a_response_that_its_client_does_not_read_is_broken_off() {
    let sent = [(Data, 1, NUMBERED)];
    let Rig { mut body, live, .. } = rig_at(Endpoint::Responses, &sent, Tail::Hang, PACE);
    assert!(body.frame().await.unwrap().is_ok());
    live.sweep(Instant::now() + PACE.client_stall_max * 2);
    assert!(body.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn a_ticket_that_nobody_closes_closes_itself() {
    let live = LiveRequests::default();
    let agreement = fixture::agreement(1, true);
    let (ticket, mut endings) = fixture::ticket(&live, &agreement);
    drop(ticket);
    let ending = endings.try_recv().unwrap();
    assert_eq!(ending.verdict, Verdict::ClientGone);
    assert!(ending.service.is_none());
    drop(ending);

    let (ticket, mut endings) = fixture::ticket(&live, &agreement);
    assert!(live.enter(agreement.request_id).is_none(), "an id is live once");
    ticket.withdraw();
    assert!(endings.recv().await.is_none());
    assert!(live.is_empty());
}

const OWN_FAULT: &[u8] = br#"{"status":400,"retryable":false,"error":{"code":"invalid"}}"#;

/// A client must not have honest workers passed over with requests that fail by its own fault,
/// however late they do.
#[tokio::test]
async fn a_failure_in_the_middle_counts_against_its_worker_only_where_it_is_the_workers() {
    const LARGE: &[u8] = br#"{"status":500,"retryable":false,"error":{"code":"large"}}"#;
    const CRASHED: &[u8] = br#"{"status":502,"retryable":true,"error":{"code":"engine_failed"}}"#;
    for (last, strikes) in [
        ((Error, 2, OWN_FAULT), 0),
        ((Error, 2, LARGE), 0),
        ((Error, 2, WORKER_ERROR), 0),
        ((Error, 2, CRASHED), 1),
        ((Error, 2, b"{"), 1),
        ((Data, 11, b"x"), 1),
    ] {
        let strikes_seen = fixture::Strikes::default();
        let _guard = metrics::set_default_local_recorder(&strikes_seen);
        let sent = [&WHOLE[..3], &[last]].concat();
        let seen = read(rig(&sent, Tail::Hang, PACE), Closing::Settled).await;
        assert_eq!(seen.ending.verdict, Verdict::Failed);
        assert_eq!(strikes_seen.count(), strikes, "{last:?}");
    }
    let strikes_seen = fixture::Strikes::default();
    let _guard = metrics::set_default_local_recorder(&strikes_seen);
    read(rig(&WHOLE[..3], Tail::Reset, PACE), Closing::Settled).await;
    assert_eq!(strikes_seen.count(), 1, "lost");
}

/// Of a stream what was delivered is charged, of a whole answer nothing: work beyond that stays
/// taken of the wallet's rate.
#[tokio::test]
async fn work_beyond_what_is_charged_is_not_given_back_to_the_rate() {
    for (is_streamed, last, gone) in [
        (true, (Error, 2, OWN_FAULT), 0),
        (true, (Error, 7, OWN_FAULT), fixture::TOKENS),
        (true, (Error, 7, WORKER_ERROR), 0),
        (false, (Error, 0, OWN_FAULT), fixture::TOKENS),
        (false, (Error, 2, WORKER_ERROR), 0),
    ] {
        let (live, rates) = (LiveRequests::default(), fixture::rates());
        let agreement = fixture::agreement(1, is_streamed);
        let (mut ticket, mut endings) = fixture::ticket_on(&rates, &live, &agreement);
        ticket.assign(Some(Worker::new(1).service(&agreement)));
        let (kind, count, payload) = last;
        let (upstream, _) = upstream(vec![encode_frame(kind, count, payload)], Tail::End);
        let mut stream = fixture::stream(fixture::frame(Data, 2, b"two"), upstream, ticket, PACE);
        let broken = loop {
            match std::future::poll_fn(|cx| stream.poll(cx)).await {
                Event::Broken(broken) => break broken,
                Event::Forward(_) | Event::KeepAlive | Event::Last(_) => {}
            }
        };
        drop(stream.break_off(&broken));
        drop(endings.recv().await.unwrap());
        assert_eq!(fixture::tokens_gone(&rates), gone, "{is_streamed} {last:?}");
    }
}
