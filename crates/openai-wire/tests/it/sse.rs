use cocoon_openai_wire::sse::{self, Decoder, Event, SseError};
use proptest::prelude::*;

fn event(data: &str) -> Event {
    Event { name: None, data: data.to_owned() }
}

/// All events of `stream`, pushed in pieces of `piece` bytes.
fn decode(stream: &[u8], piece: usize) -> Result<Vec<Event>, SseError> {
    let mut decoder = Decoder::new(10_000);
    let mut events = Vec::new();
    for bytes in stream.chunks(piece) {
        decoder.push(bytes);
        while let Some(event) = decoder.next_event()? {
            events.push(event);
        }
    }
    Ok(events)
}

#[test]
fn streams_of_other_servers_are_read() {
    let table: &[(&str, &[&str])] = &[
        ("data: a\n\ndata: b\n\n", &["a", "b"]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
        ("data: a\r\rdata: b\r\r", &["a", "b"]),
        ("data:a\n\n", &["a"]),
        ("data:  a\n\n", &[" a"]),
        (": comment\n\ndata: a\n\n", &["a"]),
        ("id: 1\nretry: 5\ndata: a\nfoo: bar\n\n", &["a"]),
        ("data: a\ndata: b\n\n", &["a\nb"]),
        ("data\n\n", &[""]),
        ("\n\n\n", &[]),
        ("\u{feff}data: a\n\n", &["a"]),
        ("data: a\n\ndata: unfinished\n", &["a"]),
    ];
    for (stream, expected) in table {
        let expected: Vec<_> = expected.iter().map(|data| event(data)).collect();
        for piece in 1..=stream.len() {
            let events = decode(stream.as_bytes(), piece).unwrap();
            assert_eq!(events, expected, "{stream:?} in pieces of {piece}");
        }
    }
}

#[test]
fn an_event_has_its_name() {
    let events = decode(b"event: error\ndata: {}\n\ndata: [DONE]\n\n", 100).unwrap();
    assert_eq!(events[0].name.as_deref(), Some("error"));
    assert!(events[1].is_done() && events[1].name.is_none());
}

#[test]
fn the_bound_holds_for_lines_and_for_events() {
    let mut long_line = Decoder::new(100);
    long_line.push(&[b'x'; 200]);
    assert_eq!(long_line.next_event(), Err(SseError::TooLarge(100)));
    let mut long_event = Decoder::new(100);
    long_event.push("data: aaaaaaaaaaaaaaaaaaaa\n".repeat(6).as_bytes());
    assert_eq!(long_event.next_event(), Err(SseError::TooLarge(100)));
    long_event.push(b"data: a\n\n");
    assert_eq!(long_event.next_event(), Err(SseError::TooLarge(100)), "an error is final");
}

#[test]
fn text_that_is_no_text_is_an_error() {
    assert_eq!(decode(b"data: \xff\n\n", 100), Err(SseError::NotUtf8));
}

#[test]
fn comments_stay_on_their_line() {
    assert_eq!(sse::comment("keep\nalive"), b": keep alive\n\n");
    assert_eq!(decode(&sse::comment("x"), 100).unwrap(), []);
}

proptest! {
    #[test]
    fn what_is_encoded_comes_back_however_it_is_cut(
        data in prop::collection::vec("[ -~é]{1,30}", 0..8),
        piece in 1_usize..20,
    ) {
        let mut stream = Vec::new();
        for text in &data {
            sse::encode(&mut stream, text.as_bytes());
            stream.extend_from_slice(&sse::comment("tick"));
        }
        let expected: Vec<_> = data.iter().map(|text| event(text)).collect();
        prop_assert_eq!(decode(&stream, piece).unwrap(), expected);
    }

    #[test]
    fn cutting_never_changes_the_outcome(stream in "[a\u{feff}:\r\n d]{0,40}|(data|event|:| |\r|\n|\r\n|x){0,30}", piece in 1_usize..9) {
        prop_assert_eq!(decode(stream.as_bytes(), piece), decode(stream.as_bytes(), 1000));
    }

    #[test]
    fn arbitrary_bytes_never_panic(stream in prop::collection::vec(any::<u8>(), 0..400), piece in 1_usize..50) {
        drop(decode(&stream, piece));
    }
}
