use cocoon_uplink_wire::FrameKind::{Data, Error, Heartbeat, Receipt};

use super::*;
use crate::dispatch::fixture::{WORKER_ERROR, frame};

const LIMIT: u32 = 10;

fn steps(frames: &[Frame]) -> Vec<Step> {
    let mut relay = Relay::new(LIMIT);
    frames.iter().map(|frame| relay.step(frame.clone())).collect()
}

fn forward(payload: &'static [u8]) -> Step {
    Step::Forward(Bytes::from_static(payload))
}

#[test]
fn a_whole_answer_forwards_everything_and_ends_with_its_receipt() {
    let frames = [
        frame(Data, 1, b"a"),
        frame(Heartbeat, 0, b""),
        frame(Data, 3, b"b"),
        frame(Receipt, 4, b"receipt"),
        frame(Data, 4, b"end"),
    ];
    let expected = [
        forward(b"a"),
        Step::Wait,
        forward(b"b"),
        Step::Receipt(Bytes::from_static(b"receipt")),
        Step::Last(Bytes::from_static(b"end")),
    ];
    assert_eq!(steps(&frames), expected);
}

#[test]
fn the_last_step_of_a_wrong_sequence_is_its_fault() {
    let receipt = || frame(Receipt, 2, b"receipt");
    let end = || frame(Data, 2, b"end");
    let long =
        |kind| Frame { kind, cumulative: 0, payload: vec![b' '; ERROR_BYTES_MAX + 1].into() };
    for (frames, expected) in [
        (vec![frame(Data, 11, b"a")], Fault::OverLimit { count: 11, limit: 10 }),
        (vec![frame(Data, 2, b"a"), frame(Data, 1, b"b")], Fault::CountFell { from: 2, to: 1 }),
        (vec![frame(Data, 2, b"a"), frame(Receipt, 1, b"r")], Fault::CountFell { from: 2, to: 1 }),
        (vec![frame(Receipt, 11, b"r")], Fault::OverLimit { count: 11, limit: 10 }),
        (vec![receipt(), receipt()], Fault::SecondReceipt),
        (vec![receipt(), frame(Data, 3, b"end")], Fault::CountAfterReceipt),
        (vec![receipt(), frame(Data, 1, b"end")], Fault::CountAfterReceipt),
        (vec![receipt(), end(), end()], Fault::AfterLast),
        (vec![receipt(), end(), frame(Heartbeat, 0, b"")], Fault::AfterLast),
        (vec![frame(Error, 0, WORKER_ERROR), receipt()], Fault::AfterLast),
        (vec![frame(Error, 0, b"{}")], Fault::UnreadableError),
        (vec![frame(Error, 0, b"\xff")], Fault::UnreadableError),
        (
            vec![frame(Error, 0, br#"{"status":200,"retryable":true,"error":{}}"#)],
            Fault::UnreadableError,
        ),
        (vec![long(Receipt)], Fault::Oversize),
        (vec![long(Error)], Fault::Oversize),
        (vec![frame(Data, 11, b"a"), frame(Data, 1, b"b")], Fault::AfterLast),
    ] {
        let last = steps(&frames).pop();
        assert_eq!(last, Some(Step::Fault(expected)), "{frames:?}");
    }
}

#[test]
fn an_error_frame_ends_the_answer_with_the_workers_own_error() {
    let taken = steps(&[frame(Data, 1, b"a"), frame(Error, 1, WORKER_ERROR)]);
    let Some(Step::Failed(error)) = taken.last() else { panic!("{taken:?}") };
    assert_eq!((error.status, error.retryable), (503, true));
    assert_eq!(error.body.error.code.as_deref(), Some("engine_restarting"));
    assert_eq!(error.event, None);
    let told = br#"{"status":503,"retryable":false,"error":{},"event":"event: error\n\n"}"#;
    let taken = steps(&[frame(Error, 1, told)]);
    let Some(Step::Failed(error)) = taken.last() else { panic!("{taken:?}") };
    assert_eq!(error.event.as_deref(), Some("event: error\n\n"));
}

/// Every sequence of four frames out of these: the count never falls and never passes the limit,
/// nothing is forwarded between receipt and last frame, at most one frame is the last, and it
/// comes behind exactly one receipt.
#[test]
fn no_sequence_of_frames_leaves_the_bounds() {
    let alphabet = [
        frame(Data, 0, b""),
        frame(Data, 5, b"five"),
        frame(Data, LIMIT, b"ten"),
        frame(Data, u32::MAX, b"many"),
        frame(Receipt, 5, b"receipt"),
        frame(Receipt, LIMIT, b"receipt"),
        frame(Heartbeat, 7, b""),
        frame(Error, 5, WORKER_ERROR),
        frame(Error, 0, b"garbage"),
    ];
    let count = alphabet.len();
    for number in 0..count.pow(4) {
        let mut relay = Relay::new(LIMIT);
        let (mut before, mut receipts, mut lasts) = (0, 0, 0);
        for place in 0..4 {
            match relay.step(alphabet[number / count.pow(place) % count].clone()) {
                Step::Receipt(_) => receipts += 1,
                Step::Last(_) => lasts += 1,
                Step::Forward(_) => assert_eq!(receipts, 0),
                Step::Wait | Step::Failed(_) | Step::Fault(_) => {}
            }
            assert!(before <= relay.completion() && relay.completion() <= LIMIT);
            before = relay.completion();
        }
        assert!(receipts <= 1 && lasts <= receipts, "sequence {number}");
    }
}
