use proptest::prelude::*;

use super::*;
use crate::{FRAME_DATA_BYTES_MAX, KEEP_ALIVE, PAYLOAD_BYTES_MAX, PREAMBLE_BYTES, SealError};

const DATA: [&[u8]; 3] = [b"one", b"two", b"three"];

#[test]
fn whoever_answers_the_client_reads_it() {
    for number in 1..=4 {
        let (payloads, keys) = payloads(number, &DATA);
        let mut opener = keys.opener();
        assert_eq!((opener.worker_id(), opener.params_salt()), (None, None));
        opener.push(&payloads.concat());
        let mut frames = Vec::new();
        while let Some(frame) = opener.next_frame().unwrap() {
            frames.push(frame);
        }
        assert_eq!(opener.finish(), Ok(()));
        let worker = Worker::numbered(number);
        assert_eq!(opener.worker_id(), Some(worker.id));
        let kinds: Vec<_> = frames.iter().map(|frame| (frame.kind, frame.is_final)).collect();
        let (head, data) = (FrameKind::Head, FrameKind::Data);
        assert_eq!(kinds, [(head, false), (data, false), (data, false), (data, true)]);
        assert_eq!(frames[0].data, answer_head());
        assert!(frames[1..].iter().map(|frame| &frame.data[..]).eq(DATA));
        // What the receipt commits to, byte for byte.
        assert!(frames.iter().map(|frame| &frame.payload[..]).eq(payloads.iter().map(|p| &p[..])));
    }
}

#[test]
fn both_sides_have_the_salt_of_the_parameters() {
    let workers: Vec<Worker> = (1..=4).map(Worker::numbered).collect();
    let (keys, body, answer_keys) = sealed(b"{}", &workers);
    let opened = workers[2].open(&head(), &keys, &body).unwrap();
    let mut opener = answer_keys.opener();
    let first = opened.answer.sealer(NONCE).frame(FrameKind::Head, b"{}", true).unwrap();
    opener.push(&first);
    assert!(opener.next_frame().unwrap().is_some());
    assert_eq!(opener.params_salt(), Some(opened.params_salt));
}

#[test]
fn a_refusal_is_one_frame() {
    let (mut sealer, keys) = answering(2);
    let wire = sealer.frame(FrameKind::Error, b"{\"status\":400}", true).unwrap();
    let frames = read(&keys, &wire).unwrap();
    assert_eq!((frames[0].kind, frames[0].is_final), (FrameKind::Error, true));
    assert_eq!(sealer.frame(FrameKind::Data, b"", true), Err(SealError::Ended));
}

#[test]
fn kinds_have_their_places() {
    let refused = [(FrameKind::Data, false), (FrameKind::Data, true), (FrameKind::Error, false)];
    for (kind, is_final) in refused {
        let (mut sealer, _) = answering(1);
        assert_eq!(sealer.frame(kind, b"", is_final), Err(SealError::Kind));
    }
    for kind in [FrameKind::Head, FrameKind::Error] {
        let (mut sealer, _) = answering(1);
        sealer.frame(FrameKind::Head, b"", false).unwrap();
        assert_eq!(sealer.frame(kind, b"", true), Err(SealError::Kind));
    }
}

#[test]
fn keep_alives_are_no_part_of_an_answer() {
    let (payloads, keys) = payloads(1, &DATA);
    let mut wire = KEEP_ALIVE.repeat(2);
    for payload in &payloads {
        wire.extend_from_slice(payload);
        wire.extend_from_slice(&KEEP_ALIVE.repeat(3));
    }
    let frames = read(&keys, &wire).unwrap();
    assert!(frames.iter().map(|frame| &frame.payload[..]).eq(payloads.iter().map(|p| &p[..])));
    // Half of one is not the end of an answer.
    assert_eq!(read(&keys, &wire[..wire.len() - 1]), Err(OpenError::Trailing));
}

#[test]
fn frames_that_were_moved_left_out_or_doubled_are_found() {
    let (sent, keys) = payloads(1, &DATA);
    let of = |places: &[usize]| {
        let wire: Vec<u8> = places.iter().flat_map(|place| sent[*place].clone()).collect();
        read(&keys, &wire).map(|frames| frames.len())
    };
    assert_eq!(of(&[0, 1, 2, 3]), Ok(4));
    assert_eq!(of(&[0, 2, 1, 3]), Err(OpenError::Frame(1)));
    assert_eq!(of(&[0, 2, 3]), Err(OpenError::Frame(1)));
    assert_eq!(of(&[0, 1, 1, 2, 3]), Err(OpenError::Frame(2)));
    assert_eq!(of(&[0, 1, 2, 3, 3]), Err(OpenError::Trailing));
    assert_eq!(of(&[0, 1, 2]), Err(OpenError::Truncated));
    assert_eq!(of(&[]), Err(OpenError::Truncated));
    assert_eq!(of(&[1, 2, 3]), Err(OpenError::Preamble));
    // The answer to the same request, sent again: its frames are of another nonce.
    let (again, _) = payloads(2, &DATA);
    let mixed = [&sent[0][..], &again[1]].concat();
    assert_eq!(read(&keys, &mixed), Err(OpenError::Frame(1)));
}

#[test]
fn every_cut_is_found() {
    let (sent, keys) = payloads(1, &DATA);
    let wire = sent.concat();
    for end in 0..wire.len() {
        assert_eq!(read(&keys, &wire[..end]), Err(OpenError::Truncated), "{end}");
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let (sent, keys) = payloads(1, &DATA);
    let wire = sent.concat();
    for bit in 0..wire.len() * 8 {
        let mut changed = wire.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&keys, &changed).is_err(), "bit {bit}");
    }
}

#[test]
fn the_final_flag_cannot_be_forged() {
    let (sent, keys) = payloads(1, &DATA);
    let flags = 4;
    // An early end.
    let mut wire = sent[..2].concat();
    wire[sent[0].len() + flags] = 1;
    assert_eq!(read(&keys, &wire), Err(OpenError::Frame(1)));
    // An end that is none.
    let mut wire = sent.concat();
    wire[sent[..3].concat().len() + flags] = 0;
    assert_eq!(read(&keys, &wire), Err(OpenError::Frame(3)));
    wire[sent[0].len() + flags] = 2;
    assert_eq!(read(&keys, &wire), Err(OpenError::Malformed(1)));
}

#[test]
fn lengths_are_judged_from_the_header() {
    let (sent, keys) = payloads(1, &[b""]);
    let bound = u32::try_from(PAYLOAD_BYTES_MAX).unwrap();
    for length in [0, 1, 16, 256, 271, 273, bound, bound - 256 + 16 + 256, u32::MAX] {
        let mut wire = sent[0].clone();
        wire.extend_from_slice(&length.to_be_bytes());
        wire.push(1);
        assert_eq!(read(&keys, &wire), Err(OpenError::Malformed(1)), "{length}");
    }
}

#[test]
fn a_reader_s_own_limit_is_judged_from_the_header() {
    let (payloads, keys) = payloads(1, &[&[1; 2000]]);
    let wide = payloads[1].len();
    for (limit, is_taken) in [(wide, true), (wide - 1, false)] {
        let mut opener = keys.opener().with_frame_max(limit);
        opener.push(&payloads[0]);
        assert!(opener.next_frame().unwrap().is_some());
        opener.push(&payloads[1][..5]);
        let expected = if is_taken { Ok(None) } else { Err(OpenError::Malformed(1)) };
        assert_eq!(opener.next_frame(), expected, "{limit}");
    }
}

#[test]
fn an_answer_of_nobody_is_refused() {
    let (sent, keys) = payloads(1, &DATA);
    let mut wire = sent.concat();
    wire[0] = 2;
    assert_eq!(read(&keys, &wire), Err(OpenError::Preamble));
    wire[..2].copy_from_slice(&[1, 4]);
    assert_eq!(read(&keys, &wire), Err(OpenError::Preamble));
    // Another recipient's place: its keys open nothing.
    wire[1] = 1;
    assert_eq!(read(&keys, &wire), Err(OpenError::Frame(0)));
}

#[test]
fn an_error_stays() {
    let (sent, keys) = payloads(1, &DATA);
    let mut opener = keys.opener();
    opener.push(&sent[0]);
    opener.push(&sent[2]);
    assert!(opener.next_frame().unwrap().is_some());
    for _ in 0..2 {
        assert_eq!(opener.next_frame(), Err(OpenError::Frame(1)));
        opener.push(&sent[1]);
    }
    assert_eq!(opener.finish(), Err(OpenError::Frame(1)));
}

#[test]
fn a_frame_shows_only_its_bucket() {
    let (mut sealer, _) = answering(1);
    let mut length = |kind, bytes| sealer.frame(kind, &vec![0; bytes], false).unwrap().len();
    assert_eq!(length(FrameKind::Head, 251), PREAMBLE_BYTES + 5 + 256 + 16);
    for (bytes, expected) in [(0, 256), (1, 256), (251, 256), (252, 512), (507, 512), (508, 768)] {
        assert_eq!(length(FrameKind::Data, bytes), 5 + expected + 16, "{bytes}");
    }
}

#[test]
fn the_widest_frame_fits_a_payload() {
    let data = vec![7; FRAME_DATA_BYTES_MAX];
    let (mut sealer, keys) = answering(1);
    let payload = sealer.frame(FrameKind::Head, &data, true).unwrap();
    assert!(payload.len() <= PAYLOAD_BYTES_MAX);
    assert_eq!(read(&keys, &payload).unwrap()[0].data, data);
    let (mut sealer, _) = answering(1);
    let over = vec![0; FRAME_DATA_BYTES_MAX + 1];
    assert_eq!(sealer.frame(FrameKind::Head, &over, true), Err(SealError::TooLong));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_survives_any_chunking(
        data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 1..6),
        chunk in 1_usize..600,
        alive in any::<u8>(),
    ) {
        let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let (sent, keys) = payloads(3, &data);
        let mut wire = Vec::new();
        for (place, payload) in sent.iter().enumerate() {
            if alive & (1 << place) != 0 {
                wire.extend_from_slice(&KEEP_ALIVE);
            }
            wire.extend_from_slice(payload);
        }
        let mut opener = keys.opener();
        let mut seen = Vec::new();
        for piece in wire.chunks(chunk) {
            opener.push(piece);
            while let Some(frame) = opener.next_frame().unwrap() {
                seen.push(frame);
            }
        }
        prop_assert_eq!(opener.finish(), Ok(()));
        prop_assert!(seen.iter().skip(1).map(|frame| &frame.data[..]).eq(data));
        prop_assert!(seen.iter().map(|frame| &frame.payload[..]).eq(sent.iter().map(|p| &p[..])));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..700),
        starts_well in any::<bool>(),
    ) {
        let (sent, keys) = payloads(1, &[b""]);
        let mut wire = if starts_well { sent[0].clone() } else { vec![1] };
        wire.extend_from_slice(&bytes);
        prop_assert!(read(&keys, &wire).is_err());
    }

    #[test]
    fn json_of_strangers_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = AnswerHead::from_json(&bytes);
        let _ = crate::SealedRefusal::from_json(&bytes);
    }
}

#[test]
fn head_and_refusal_are_read_as_they_were_written() {
    let read = AnswerHead::from_json(&answer_head()).unwrap();
    assert_eq!(read.to_json(), answer_head());
    assert_eq!((read.status, read.dropped_tools), (200, None));
    let json = br#"{"status":400,"body":{"error":{"message":"no"}}}"#;
    let refusal = crate::SealedRefusal::from_json(json).unwrap();
    assert_eq!((refusal.status, refusal.body.get()), (400, r#"{"error":{"message":"no"}}"#));
    assert_eq!(refusal.to_json(), json);
    assert!(AnswerHead::from_json(&vec![b' '; 70_000]).is_none());
}
